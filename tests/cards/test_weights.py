"""Looking models up, and the digests that scores and images are stored under."""

import json
import shutil
from pathlib import Path

import huggingface_hub.constants
import pytest

from livo_bench.cards.weights import (
    Need,
    Repository,
    digest_folder,
    find_weights,
    loading,
    repository_of,
)
from livo_bench.errors import BadInput


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "unet").mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "llava"}')
    (folder / "unet" / "weights.safetensors").write_bytes(b"1234")
    return folder


def test_a_folder_is_found_with_its_config(folder: Path) -> None:
    found = find_weights(folder, "config.json")
    assert (found.source, found.repository) == (str(folder), None)
    assert found.config == {"model_type": "llava"}
    assert found.digest() == digest_folder(folder)


def test_digest_is_of_names_and_contents_alone(folder: Path, tmp_path: Path) -> None:
    digest = digest_folder(folder)
    copy = shutil.copytree(folder, tmp_path / "elsewhere")
    (copy / "README.md").write_text("Words.")
    (copy / ".cache").mkdir()
    (copy / ".cache" / "lock").write_text("")
    assert digest_folder(copy) == digest

    (copy / "unet" / "weights.safetensors").write_bytes(b"1235")
    changed = digest_folder(copy)
    (copy / "unet" / "weights.safetensors").write_bytes(b"1234")
    (copy / "unet" / "weights.safetensors").rename(copy / "unet" / "other.safetensors")
    renamed = digest_folder(copy)
    assert len({digest, changed, renamed}) == 3


COMMIT = "0123456789" * 4


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Hugging Face cache that holds one repository."""
    cache = tmp_path / "models--owner--name"
    snapshot = cache / "snapshots" / COMMIT
    (snapshot / "encoder").mkdir(parents=True)
    for folder in (snapshot, snapshot / "encoder"):
        (folder / "config.json").write_text('{"model_type": "llava"}')
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text(COMMIT)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    return cache


def test_a_fetched_repository_is_a_folder_known_by_its_commit(cache: Path) -> None:
    newest = find_weights("owner/name", "config.json")
    pinned = find_weights(f"owner/name@{COMMIT}", "config.json")
    assert newest.source == pinned.source == str(cache / "snapshots" / COMMIT)
    assert newest.digest() == pinned.digest()
    assert len(pinned.digest()) == 64

    inside = find_weights("hub:owner/name/encoder", "config.json")
    assert inside.source == f"{pinned.source}/encoder"
    assert inside.digest() == find_weights(f"hub:owner/name/encoder@{COMMIT}", "x.json").digest()
    assert inside.digest() != pinned.digest()


def test_a_pinned_repository_has_its_digest_before_it_is_fetched(cache: Path) -> None:
    fetched = find_weights(f"owner/name@{COMMIT}", "config.json").digest()
    shutil.rmtree(cache)
    found = find_weights(f"owner/name@{COMMIT}", "config.json")
    assert found.folder is None
    assert found.digest() == fetched
    assert find_weights("owner/name", "config.json").digest() != fetched
    with pytest.raises(BadInput, match=r"owner/name@0123\d+ is not on this .*livo-bench fetch"):
        found.source  # noqa: B018
    with pytest.raises(BadInput, match=r"no config\.json of it in the Hugging Face cache"):
        found.config  # noqa: B018


def test_missing_files_are_named_and_parts_are_counted_by_their_index(cache: Path) -> None:
    need = Need("LLaVA", Repository("owner/name", "", COMMIT), ("config.json", "m.safetensors"))
    assert need.missing() == ["m.safetensors"]
    snapshot = cache / "snapshots" / COMMIT
    parts = {"a": "m-00001-of-00002.safetensors", "b": "m-00002-of-00002.safetensors"}
    (snapshot / "m.safetensors.index.json").write_text(json.dumps({"weight_map": parts}))
    (snapshot / parts["a"]).write_bytes(b"1")
    assert need.missing() == [parts["b"]]
    (snapshot / parts["b"]).write_bytes(b"2")
    (snapshot / "m.fp16.safetensors").write_bytes(b"3")
    assert need.missing() == []
    assert [path.name for path in need.files()] == [
        "config.json",
        *parts.values(),
        "m.safetensors.index.json",
    ]


@pytest.mark.parametrize(
    "name", ["./owner/name", "owner", "owner/name/encoder", "hub:owner", "owner/é", ""]
)
def test_names_of_folders_are_not_those_of_repositories(name: str) -> None:
    assert repository_of(name) is None


def test_what_is_no_model_is_refused(folder: Path) -> None:
    with pytest.raises(BadInput, match=r"no model folder '.*nowhere'.*owner/name@revision"):
        find_weights(folder / "nowhere", "config.json")
    with pytest.raises(BadInput, match=r"model is not such a model: it has no model_index\.json"):
        find_weights(folder, "model_index.json")
    (folder / "config.json").write_text("{")
    with pytest.raises(BadInput, match=r"Cannot read .*config\.json: Expecting property name"):
        find_weights(folder, "config.json")
    (folder / "config.json").write_text("[]")
    with pytest.raises(BadInput, match=r"holds a list; expected a JSON object"):
        find_weights(folder, "config.json")


def test_a_long_error_becomes_a_short_one() -> None:
    lines = "\n\t".join(["Error in loading:", "size mismatch for a", *["size mismatch for b"] * 50])
    with pytest.raises(BadInput) as caught, loading("CLIP", "./clip"):
        raise RuntimeError(lines)
    assert str(caught.value).startswith("Cannot load the CLIP of ./clip: Error in loading: size")
    assert len(str(caught.value)) < 300
