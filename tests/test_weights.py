"""Looking models up, and the digests that scores and images are stored under."""

import shutil
from pathlib import Path

import huggingface_hub.constants
import pytest

from livo_bench.errors import BadInput
from livo_bench.weights import digest_folder, find_weights, loading


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "unet").mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "llava"}')
    (folder / "unet" / "weights.safetensors").write_bytes(b"1234")
    return folder


def test_a_folder_is_found_with_its_config(folder: Path) -> None:
    found = find_weights(folder, "config.json")
    assert (found.source, found.revision) == (str(folder), None)
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


def test_a_fetched_repository_is_known_by_its_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = "0123456789" * 4
    cache = tmp_path / "models--owner--name"
    (cache / "snapshots" / commit).mkdir(parents=True)
    (cache / "snapshots" / commit / "config.json").write_text("{}")
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text(commit)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    newest = find_weights("owner/name", "config.json")
    pinned = find_weights(f"owner/name@{commit}", "config.json")
    assert newest == pinned
    assert (pinned.source, pinned.revision) == ("owner/name", commit)
    assert len(pinned.digest()) == 64

    with pytest.raises(BadInput, match=r"no folder 'owner/other', and no config\.json .* network"):
        find_weights("owner/other", "config.json")


def test_what_is_no_model_is_refused(folder: Path) -> None:
    with pytest.raises(BadInput, match=r"no model folder '.*nowhere'.*owner/name@revision"):
        find_weights(folder / "nowhere", "config.json")
    with pytest.raises(BadInput, match=r"model is not such a model: it has no model_index\.json"):
        find_weights(folder, "model_index.json")
    (folder / "config.json").write_text("{")
    with pytest.raises(BadInput, match=r"config\.json is not valid JSON"):
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
