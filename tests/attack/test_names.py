"""Names of methods, models, tasks, prompts, judges and folders that are none."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from damage import COUNTS, string, survive

from livo_bench.cards import catalog, listing, prompts
from livo_bench.cards.weights import find_weights, repository_of
from livo_bench.results import reading
from livo_bench.runs import given_pictures, remake
from livo_bench.runs.store import Store

USES: dict[str, Callable[[str, Path], object]] = {
    "method": lambda name, _: catalog.method_card(name.partition(":")[0]),
    "card": lambda name, _: listing.card_text(name),
    "task": lambda name, _: catalog.select_tasks(name),
    "model": lambda name, _: catalog.model_digest(catalog.model_card(name)),
    "weights": lambda name, _: find_weights(name, "config.json").digest(),
    "repository": lambda name, _: (found := repository_of(name)) and found.file("config.json"),
    "results' model": lambda name, root: reading.load_results(root, name),
    "results": lambda name, root: reading.read_results(root / name, name),
    "pictures": lambda name, root: given_pictures.load(root, name, ()),
    "list": lambda name, root: prompts.list_name(root / name),
    "protocol": lambda name, _: catalog.protocol_card(name),
    "key": lambda name, root: remake.remake([name], runs=root / "runs"),
}


@COUNTS
@pytest.mark.parametrize("kind", USES)
def test_a_name_is_known_or_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, count: int
) -> None:
    monkeypatch.chdir(tmp_path)
    draw = random.Random(kind)

    def use(name: str) -> None:
        USES[kind](name, tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == []

    survive(f"name of a {kind}", (string(draw) for _ in range(count)), use)


@COUNTS
def test_no_name_leads_out_of_the_store(tmp_path: Path, count: int) -> None:
    draw = random.Random("store")
    names = [string(draw) for _ in range(count)]
    for name in names:
        try:
            folder = Store(tmp_path, name).folder
        except ValueError:
            continue
        assert folder.parent == tmp_path / "store"
        assert folder.name == name not in ("", ".", "..")
