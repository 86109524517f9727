"""Cards of methods, tasks, models and protocols: damaged, and with other values."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from damage import COUNTS, mutated_toml, survive

from livo_bench.cards import catalog, listing, prompts
from livo_bench.cards.catalog import DATA
from livo_bench.cards.declared import read_protocol_card
from livo_bench.runs import fetch

MODELS = Path(catalog.__file__).parent / "models"


def use_method(folder: Path) -> None:
    card = catalog.method_card(str(folder))
    listing.card_text(str(folder))
    for variant in card.variants:
        listing.card_text(f"{folder}:{variant}")


def use_task(folder: Path) -> None:
    tasks = catalog.select_tasks(str(folder))
    prompts.of_tasks(tasks, "mini")
    listing.card_text(str(folder))


def use_model(folder: Path) -> None:
    card = catalog.model_card(str(folder / "card.toml"))
    catalog.model_digest(card)
    listing.card_text(str(folder / "card.toml"))
    fetch.wanted(card, ("hazards", "features"), annotator=False)


def use_protocol(folder: Path) -> None:
    read_protocol_card(folder / "card.toml")


CARDS: dict[str, tuple[Path, Callable[[Path], None]]] = {
    "method": (DATA / "methods" / "livo" / "card.toml", use_method),
    "task": (DATA / "tasks" / "bias" / "card.toml", use_task),
    "control": (DATA / "tasks" / "overcorrection" / "card.toml", use_task),
    "model": (MODELS / "mini.toml", use_model),
    "repository": (MODELS / "sd15.toml", use_model),
    "protocol": (MODELS.parent / "presets" / "released.toml", use_protocol),
}


@COUNTS
@pytest.mark.parametrize("kind", CARDS)
def test_a_card_is_read_or_refused(tmp_path: Path, kind: str, count: int) -> None:
    source, use = CARDS[kind]
    data = source.read_bytes()
    name = "card" if source.name != "card.toml" else "own"
    data = data.replace(f'name = "{source.parent.name}"'.encode(), b'name = "own"', 1)
    data = data.replace(f'name = "{source.stem}"'.encode(), f'name = "{name}"'.encode(), 1)
    data = data.replace(b'"./', f'"{MODELS}/'.encode())
    data = data.replace(b'"../', f'"{MODELS.parent}/'.encode())
    folder = tmp_path / "own"
    folder.mkdir()
    if source.name == "card.toml" and (source.parent / "prompts").is_dir():
        (folder / "prompts").symlink_to(source.parent / "prompts")
    draw = random.Random(kind)

    def read(made: bytes) -> None:
        (folder / "card.toml").write_bytes(made)
        use(folder)

    read(data)
    survive(f"card of a {kind}", (mutated_toml(data, draw) for _ in range(count)), read, 0.2)
