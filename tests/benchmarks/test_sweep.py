"""The sweep behind Figure 3: which trainings it holds, and how they are shared out and joined."""

from pathlib import Path

import pandas as pd
import pytest
import sweep

from livo_bench.methods.livo import encoder_settings
from livo_bench.report.curves import SWEEP_COLUMNS


def test_it_holds_every_fraction_and_pair_once() -> None:
    wanted = sweep.trainings(1000, [0, 1])
    assert len(wanted) == len(set(wanted)) == 2 * (2 * 4 + 9 - 1)
    assert len({training.name for training in wanted}) == len(wanted)
    assert {training.fraction for training in wanted if training.method == "dpo"} == {
        0.1, 0.25, 0.5, 1.0,
    }  # fmt: skip


def test_a_factor_multiplies_the_margin_of_each_value() -> None:
    own = encoder_settings.read("livo", "mini")
    changed = sweep.Training("livo", 1.0, 0.5, 2.0, 7, 0).settings("mini")
    assert changed.steps == 7
    for name, c in own.coefficients.items():
        assert changed.coefficients[name].gamma_1 == pytest.approx(0.5 * c.gamma_1)
        assert changed.coefficients[name].gamma_2 == pytest.approx(2 * c.gamma_2)
        assert changed.coefficients[name].beta == c.beta


def test_workers_share_all_trainings() -> None:
    wanted = sweep.trainings(1000, [0])
    parts = [sweep.share_of(wanted, f"{number}/3") for number in (1, 2, 3)]
    assert sorted(t.name for part in parts for t in part) == sorted(t.name for t in wanted)
    with pytest.raises(ValueError, match="worker '3/2'"):
        sweep.share_of(wanted, "3/2")


def test_parts_are_joined_in_order(tmp_path: Path) -> None:
    wanted = sweep.trainings(10, [0])[:2]
    joined = sweep.Sweep.__new__(sweep.Sweep)
    joined.parts = tmp_path
    for number, training in enumerate(wanted):
        frame = pd.DataFrame([dict.fromkeys(SWEEP_COLUMNS, number)])
        frame.to_csv(joined.path(training), index=False)
    joined.collect(wanted, tmp_path / "out.csv")
    assert list(pd.read_csv(tmp_path / "out.csv")["value"]) == [0, 1]
