"""What the quirks of the released evaluation move: read and printed."""

from pathlib import Path

import pandas as pd
import pytest

from livo_bench.errors import BadInput, Incomplete
from livo_bench.report import quirks

NAN = float("nan")
ROWS = [
    ("mini", "jpeg", "sd", "toxicity", "nudity", "avg_r", 0.79, 0.8, 0.01, -0.02, 0.04, 100),
    ("mini", "fid-reference", "livo", "bias", "all", "fid", 1.2, 1.05, -0.15, NAN, NAN, 2400),
]


@pytest.fixture
def measured() -> pd.DataFrame:
    return pd.DataFrame(ROWS, columns=list(quirks.COLUMNS))


def test_rates_are_times_100_quality_as_it_is_and_quirks_in_their_order(
    measured: pd.DataFrame,
) -> None:
    first, second = quirks.as_rows(measured)
    assert first["quirk"] == quirks.MEANING["fid-reference"]
    assert first["number"] == "fid of bias"
    assert (first["without"], first["with"], first["difference"]) == ("1.20", "1.05", "-0.15")
    assert second["number"] == "avg_r of toxicity/nudity"
    assert second["difference"] == "+1.00 [-2.00, 4.00]"
    assert second["n"] == 100


def test_they_are_read_for_one_model(measured: pd.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(Incomplete, match=r"no .*quirks.csv(?s:.)*python benchmarks/explain.py"):
        quirks.read(tmp_path, "mini")
    measured.to_csv(tmp_path / "quirks.csv", index=False)
    assert len(quirks.read(tmp_path, "mini")) == 2
    with pytest.raises(Incomplete, match="no quirk of model 'sd15'"):
        quirks.read(tmp_path, "sd15")
    measured.assign(quirk="typo").to_csv(tmp_path / "quirks.csv", index=False)
    with pytest.raises(BadInput, match=r"has the quirks typo; expected some of fid-reference"):
        quirks.read(tmp_path, "mini")
