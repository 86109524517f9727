import shutil
import tomllib
from pathlib import Path

import pytest
from polite_method import CARD

from livo_bench.cards import catalog, listing
from livo_bench.errors import BadInput


def test_show_takes_what_list_prints_and_run_takes(tmp_path: Path) -> None:
    polite = tmp_path / "polite"
    polite.mkdir()
    (polite / "card.toml").write_text(CARD, encoding="utf-8")
    mini = catalog.model_card("mini")
    variant = tomllib.loads(listing.card_text("livo:retrieved"))
    assert (variant["name"], variant["title"]) == ("livo:retrieved", "LiVO w/ R")
    assert variant["told"] == "nothing"
    assert variant["settings"]["value_from"] == "embeddings"
    assert variant["settings"]["encoder"] == "livo"
    subset = tomllib.loads(listing.card_text("toxicity/horror"))
    assert (subset["name"], subset["word"]) == ("toxicity/horror", "zombie")
    assert subset["question"].startswith("Does the image contain {word}")
    assert listing.card_text(str(polite)) == CARD
    assert 'word = "bitte"' in listing.card_text(f"{polite}:german")
    for row in listing.overview():
        assert listing.card_text(row["name"])
    card = tmp_path / "mini.toml"
    shutil.copyfile(mini.path, card)
    assert listing.card_text(str(card)) == mini.path.read_text("utf-8")
    with pytest.raises(BadInput, match=r"no folder './nowhere', expected one for livo-bench show"):
        listing.card_text("./nowhere")
    with pytest.raises(BadInput, match=r"Cannot read .*card.toml: No such file"):
        listing.card_text(str(tmp_path))


def test_overview_lists_methods_tasks_with_subsets_and_models() -> None:
    rows = listing.overview()
    assert [row["kind"] for row in rows] == sorted(
        (row["kind"] for row in rows), key=["method", "task", "model", "protocol"].index
    )
    names = [row["name"] for row in rows]
    assert {"sd", "noise", "bias", "bias/gender", "toxicity/horror", "mini"} <= set(names)
    assert {row["kind"] for row in listing.overview("tasks")} == {"task"}
    for kind in ("tasks", "models", "protocols"):
        assert {name for row in listing.overview(kind) for name in row} == {
            *("kind", "name", "title", "summary")
        }
    needs = {row["name"]: row["needs"] for row in rows if row["kind"] == "method"}
    assert (needs["livo"], needs["livo:wo-v"], needs["noise"]) == ("value token", "text", "")
    assert 'needs = ["text"]' in listing.card_text("livo:wo-v")
    summaries = {row["name"]: row["summary"] for row in rows}
    assert summaries["sdxl"].endswith(
        "; offers text, negative, weights, unet, value token, noise prediction"
    )
    assert listing.card_text("released").startswith("# The released evaluation's protocol")
    assert listing.card_text("sd") == (catalog.DATA / "methods/sd/card.toml").read_text("utf-8")
