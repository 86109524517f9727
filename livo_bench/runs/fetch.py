"""Get the files that a model is loaded from, before a run needs them: `livo-bench fetch`.

Everything else resolves local files only. Repositories go to the Hugging Face cache, Inception's
weights to torch.hub's; both are other tools' folders and keep their form, so files that are there
already are used, a stopped download goes on, and HF_HOME, HF_ENDPOINT, HF_HUB_OFFLINE and
TORCH_HOME mean what they always do.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.filesize import decimal

from livo_bench.bars import status
from livo_bench.cards import readable
from livo_bench.cards.catalog import method_card, method_cards, model_card, model_cards
from livo_bench.cards.declared import Labeller, ModelCard
from livo_bench.cards.fields import place as existing
from livo_bench.cards.kinds import KINDS
from livo_bench.cards.weights import (
    Download,
    Need,
    Repository,
    find_weights,
    pipeline_need,
    repository_of,
    value_encoder_need,
)
from livo_bench.errors import BadInput
from livo_bench.escaping import excerpt
from livo_bench.files import digest_file
from livo_bench.scorers import clip_encoder
from livo_bench.scorers.substitute import judge_named

log = logging.getLogger(__name__)

UNNAMED = "see the page of the repository"
"""Licence of what no card speaks of."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Files that are needed, and on what terms they may be used."""

    need: Need | Download
    licence: str

    @property
    def place(self) -> str:
        """Place that the files come from, as messages say it."""
        return self.need.place


def wanted(
    card: ModelCard,
    roles: Iterable[str],
    annotator: bool = False,
    weights: Iterable[str] = (),
    pipeline: bool = True,
) -> list[Wanted]:
    """What a model's card names that is not a folder of one's own.

    Args:
        card: Card of the model.
        roles: Roles of its judges.
        annotator: Whether training data will be labelled.
        weights: Weights of methods, as recipes' files are named.
        pipeline: Whether the model itself is needed.
    """
    found: list[Wanted] = []
    repository = _remote(card.pipeline) if pipeline else None
    if repository is not None:
        found.append(Wanted(pipeline_need(repository, card.kind), card.licence))
    for judge in (card.judges[role] for role in roles):
        if (need := judge.need()) is not None:
            found.append(Wanted(need, judge.licence))
    if annotator and card.annotator is not None:
        found += _of_annotator(card.annotator)
    for place in weights:
        repository = _remote(place)
        if repository is not None:
            found.append(Wanted(value_encoder_need(repository), UNNAMED))
    return found


def repositories(listed: Iterable[Wanted]) -> dict[str, str | None]:
    """The commit of each repository that files come from, None where nobody knows it."""
    needs = [one.need for one in listed if isinstance(one.need, Need)]
    return {str(need.repository): need.commit for need in needs}


def warn_of_unpinned(listed: Iterable[Wanted]) -> None:
    """Say of each repository that is named without a commit that it may change under its name."""
    for one in listed:
        if not isinstance(one.need, Need) or one.need.repository.pinned is not None:
            continue
        repository = one.need.repository
        commit = one.need.commit
        pinned = str(replace(repository, revision=commit or "COMMIT"))
        log.warning(
            f"{one.place} is not pinned: {repository.revision or 'main'} is what its owner makes "
            f"of it, now {commit or 'unknown here'}. To mean these files for ever, name "
            f"{'hub:' if repository.subfolder else ''}{pinned}"
        )


def _of_annotator(annotator: Labeller) -> list[Wanted]:
    if existing(annotator.weights).is_dir():
        return []
    need = clip_encoder.need_of(annotator.weights)
    return [] if need is None else [Wanted(need, annotator.licence)]


def _remote(place: str) -> Repository | None:
    return None if existing(place).exists() else repository_of(place)


def require(model: str, listed: Sequence[Wanted], also: str = "") -> None:
    """See that all files are there, before a model is loaded.

    Args:
        model: Name of the model, as `--model` takes it.
        listed: What has to be there.
        also: Further options that `fetch` has to be given.

    Raises:
        BadInput: Names everything that is missing, and the command that gets it.
    """
    lacking = {one.place: one.need.missing() for one in listed}
    said = [_some(place, names) for place, names in lacking.items() if names]
    if said:
        raise BadInput(
            f"These files are not on this machine: {'; '.join(said)}. Nothing is downloaded "
            "unasked.",
            "Fetch them first, here or, for a machine without network, on another one "
            f"(see docs/sd15.md):\n    livo-bench fetch --model {model}{also}",
        )


def _some(place: str, names: Sequence[str]) -> str:
    shown = ", ".join(names[:4])
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return f"of {place} {shown}{more}"


def fetch(
    model: str,
    methods: Sequence[str] = (),
    weights: str | None = None,
    scorer: Sequence[str] = (),
) -> list[dict[str, str]]:
    """Get everything that `run`, `data build` and `train` need of a model.

    Args:
        model: Name, card, repository or folder.
        methods: Methods whose published weights to get besides; all of them when there is none.
        weights: A repository of weights, as `run` takes it.
        scorer: Judges to get as well, as `run` takes them: names, files, and places that say of
            which kind they are.

    Returns:
        A row for each model: what it is, where it comes from, its size and its licence.

    Raises:
        BadInput: Something cannot be had, is damaged, or has no room.
    """
    repository = None if model.endswith(".toml") else _remote(model)
    if repository is not None and model not in model_cards():
        # The card of a repository says the size of its images, which is in its files.
        kind = readable.kind_of(model, _index(repository, model), KINDS)
        _get([Wanted(pipeline_need(repository, kind), UNNAMED)])
    card = model_card(model)
    repository = _remote(card.pipeline)
    if repository is not None and card.kind != readable.PIPELINE:
        readable.require_kind(card.pipeline, _index(repository, card.pipeline), card.kind)
    chosen = [method_card(name) for name in methods] or method_cards().values()
    judges = [judge_named(card, one)[1] for one in scorer]
    places = [place for method in chosen for place in method.published_for(card.name)]
    places += [weights] if weights else []
    listed = wanted(card, card.judges, annotator=True, weights=places)
    listed += [Wanted(need, one.licence or UNNAMED) for one in judges if (need := one.need())]
    _get(listed)
    warn_of_unpinned(listed)
    return [
        {
            "what": one.need.what,
            "from": one.place,
            "size": decimal(sum(path.stat().st_size for path in one.need.files())),
            "licence": one.licence,
        }
        for one in listed
    ]


def _index(repository: Repository, name: str) -> Mapping[str, Any]:
    """What a pipeline is made of, got before gigabytes come that may be of no use."""
    _get([Wanted(Need("list of parts", repository, (readable.INDEX,)), UNNAMED)])
    return find_weights(name, readable.INDEX).config


def _get(listed: Sequence[Wanted]) -> None:
    left = [one for one in listed if one.need.missing()]
    sizes: Counter[Path] = Counter()
    for one in left:
        place = one.need.path.parent if isinstance(one.need, Download) else _cache()
        with _reaching(one.place):
            sizes[place] += _size(one.need)
    for folder, size in sizes.items():
        _require_room(folder, size)
    for one in left:
        with _reaching(one.place):
            _get_one(one.need)
        if names := one.need.missing():
            raise BadInput(
                f"{one.place} has no {', '.join(names)}; "
                f"expected files of those names for the {one.need.what}, weights in safetensors.",
                f"Name another repository or revision{_or_resave(one.need)}",
            )
    with status("checking digests"):
        for one in listed:
            for path in one.need.files():
                _check(path)


def _or_resave(need: Need | Download) -> str:
    """What else to do about a repository whose weights are pickles or in half precision alone."""
    if not isinstance(need, Need) or len(need.required) == 1 or need.what != "pipeline":
        return "."
    id, revision = need.repository.id, need.repository.revision
    return (
        ", or, if it has weights in another form and you trust it, save them anew (variant='fp16' "
        "takes those whose names say so), and pass --model ./converted: "
        f"{readable.resaved(id, '', revision)}"
    )


def _get_one(need: Need | Download) -> None:
    if isinstance(need, Download):
        need.path.parent.mkdir(parents=True, exist_ok=True)
        from torch.hub import download_url_to_file

        download_url_to_file(need.place, str(need.path))
    else:
        from huggingface_hub import snapshot_download

        repository = need.repository
        snapshot_download(repository.id, revision=repository.revision, allow_patterns=need.patterns)


def _size(need: Need | Download) -> int:
    """Count the bytes that are to come."""
    if isinstance(need, Download):
        return need.bytes
    from huggingface_hub import snapshot_download

    repository = need.repository
    infos = snapshot_download(
        repository.id, revision=repository.revision, allow_patterns=need.patterns, dry_run=True
    )
    return sum(info.file_size or 0 for info in infos if info.will_download)


def _check(path: Path) -> None:
    """Hold a file against the digest that its cache names it by, and delete it if it differs.

    In the Hugging Face cache a file is a link to one named by its SHA-256, or, for small ones, by
    git's SHA-1; torch.hub's names end in the first digits of the SHA-256. Where a file system knows
    no links, there is no name to check.
    """
    stored = path.parent / os.readlink(path) if path.is_symlink() else path
    name = stored.stem.rpartition("-")[2]
    if not re.fullmatch(r"[0-9a-f]{8}|[0-9a-f]{40}|[0-9a-f]{64}", name):
        return
    if len(name) == 40:
        content = path.read_bytes()
        digest = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    else:
        digest = digest_file(path)
    if not digest.startswith(name):
        stored.unlink()
        raise BadInput(
            f"{stored} is damaged: its digest is {digest}, not the one that it is named by. It was "
            "deleted; run the command again."
        )


def _require_room(folder: Path, size: int) -> None:
    there = next(place for place in [folder, *folder.parents] if place.is_dir())
    free = shutil.disk_usage(there).free
    if free < size:
        raise BadInput(
            f"{folder} has {decimal(free)} free, this needs {decimal(size)}.",
            "Make room, or set HF_HOME or TORCH_HOME to a folder elsewhere.",
        )


@contextmanager
def _reaching(place: str) -> Iterator[None]:
    """Turn what cannot be reached or read into one short error."""
    from huggingface_hub.errors import GatedRepoError, HFValidationError, OfflineModeIsEnabled

    try:
        yield
    except GatedRepoError as error:
        page = f"https://huggingface.co/{place.partition('@')[0]}"
        raise BadInput(
            f"Cannot get {place}: its owner gives it to those who accepted its terms, and no token "
            "of one was sent, or of one who did not.",
            f"Accept them on {page}, and pass a token of yours: HF_TOKEN=... livo-bench fetch, or "
            "log in once: hf auth login",
        ) from error
    except (OSError, HFValidationError, OfflineModeIsEnabled) as error:
        reason = excerpt(str(error.__cause__ or error)).rstrip(".")
        raise BadInput(
            f"Cannot get {place}: {reason}.",
            "Check the name and the network (HF_ENDPOINT names a mirror of the hub), or fetch on "
            "another machine and copy its caches: docs/sd15.md",
        ) from error


def _cache() -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)
