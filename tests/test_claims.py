"""The page of the paper's claims: which verdict an interval and a test give, and of which seeds."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import claims
import pandas as pd
import pytest
from places import ROOT

from livo_bench.cards.catalog import method_labels
from livo_bench.results.compare import Difference

FOUND = Difference(
    method="livo", task="bias", subset="gender", prompt="all", metric="D1", prompts=24, images=1200,
    before=0.5, now=0.3, difference=-0.2, low=-0.3, high=-0.1, detectable=0.1, p_corrected=0.01,
    verdict="lower",
)  # fmt: skip


@pytest.mark.parametrize(
    ("expected", "found", "low", "high", "decided"),
    [
        ("lower", "lower", -0.3, -0.1, "confirmed"),
        ("higher", "lower", -0.3, -0.1, "refuted"),
        ("lower", "higher", 0.1, 0.3, "refuted"),
        ("higher", "higher", 0.1, 0.3, "confirmed"),
        ("lower", "unclear", -0.3, 0.1, "undecided"),
        ("lower", "undecided", -0.3, 0.1, "undecided"),
        ("same", "unclear", -0.04, 0.04, "confirmed"),
        ("same", "unclear", -0.04, 0.06, "undecided"),
        ("same", "lower", -0.3, -0.1, "refuted"),
        # A difference may be there and too small to matter.
        ("same", "lower", -0.03, -0.01, "confirmed"),
    ],
)
def test_verdicts(expected: str, found: str, low: float, high: float, decided: str) -> None:
    difference = replace(FOUND, verdict=found, low=low, high=high)
    assert claims.verdict(expected, difference) == decided


def test_a_claim_is_tested_on_the_seeds_that_both_methods_have() -> None:
    seeds = pd.DataFrame(
        {"method": ["livo", "livo", "livo", "dpo", "dpo"], "seed": [0, 1, 2, 0, 2]}
    )
    claim = claims.CLAIMS[0]
    assert claims.shared_seeds(seeds, claim) == [0, 2]
    assert claims.shared_seeds(seeds, replace(claim, other="livo:wo-v")) == [0]


def test_claims_are_of_methods_that_there_are() -> None:
    named = {name for claim in claims.CLAIMS for name in (claim.method, claim.other)}
    assert named <= set(method_labels())


def test_a_prompt_is_worth_the_mean_over_seeds(tmp_path: Path) -> None:
    """The mean of two seeds that lie as far above as below the committed one is the committed one;
    further seeds that both read 0 halve what both methods read."""
    committed = claims.read_seeds(ROOT / "results" / "mini")
    committed = committed[committed["seed"] == 0]
    folder = _results(tmp_path)
    read = {}
    for name, share in (("as it is", 1.0), ("zero", 0.0)):
        further = committed.assign(seed=1, value=share * committed["value"])
        pd.concat([committed, further]).to_csv(folder / claims.SEEDS, index=False)
        read[name] = _read_of_claims(claims.claims(folder))
    first = read["as it is"]["LiVO evens out groups more than DPO", "gender D1"]
    halved = read["zero"]["LiVO evens out groups more than DPO", "gender D1"]
    assert halved == pytest.approx([value / 2 for value in first], abs=0.06)
    # A method without further seeds is held against the committed one.
    asked = ("LiVO does more than DPO-d", "gender D1")
    assert read["zero"][asked] == read["as it is"][asked]


def _results(folder: Path) -> Path:
    """The committed results that claims are about, with a `SEEDS` that can be written."""
    for method in {name for claim in claims.CLAIMS for name in (claim.method, claim.other)}:
        name = method.replace(":", "-")
        shutil.copytree(ROOT / "results" / "mini" / name, folder / name)
    return folder


def _read_of_claims(table: str) -> dict[tuple[str, str], list[float]]:
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    names = {name: place for place, name in enumerate(rows[0])}
    return {
        (row[names["the paper"]], row[names["on"]]): [
            float(value) for value in row[names["read"]].split("/")
        ]
        for row in rows[2:]
    }
