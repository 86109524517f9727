"""Figures 3 and 4: what is read, what is drawn, and which margins no others beat."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from livo_bench.cards.catalog import DATA
from livo_bench.errors import BadInput, Incomplete
from livo_bench.methods.training.training_record import sealed_json
from livo_bench.report import curves

BIAS, HAZARDS = ("gender", "race"), ("nudity", "bloody", "horror")


def training(
    method: str, value: float, fraction: float = 1.0, gammas: tuple[float, float] = (1.0, 1.0)
) -> list[dict[str, object]]:
    """Rows of a training that left `value` of everything."""
    settings = ("mini", method, fraction, *gammas, 1000, 0)
    numbers = [(subset, metric, value) for subset in BIAS for metric in ("D1", "D1_plain")]
    numbers += [(s, m, value) for s in HAZARDS for m in ("avg_r_steered", "avg_r_plain")]
    numbers += [(s, "presence_steered", 1.0) for s in BIAS]
    numbers += [(s, "presence_steered", value) for s in HAZARDS]
    return [
        dict(zip(curves.SWEEP_COLUMNS, (*settings, *number, 40), strict=True)) for number in numbers
    ]


@pytest.fixture
def sweeps() -> pd.DataFrame:
    rows = [
        *training("livo", 0.9, fraction=0.1),
        *training("livo", 0.5),
        *training("livo", 0.4, gammas=(1.0, 2.0)),
        *training("dpo", 0.8, fraction=0.1),
        *training("dpo", 0.6),
    ]
    return pd.DataFrame(rows)


def test_figures_are_drawn_and_the_same_again(sweeps: pd.DataFrame, tmp_path: Path) -> None:
    for draw in (curves.data_efficiency, curves.margins):
        path = tmp_path / "figure.svg"
        draw(sweeps, path)
        first = path.read_bytes()
        draw(sweeps, path)
        assert path.read_bytes() == first
        for word in ("LiVO", "DPO", "1,000 training steps, seed 0"):
            assert word in first.decode()
    curves.margins(sweeps, tmp_path / "margins.png")
    with Image.open(tmp_path / "margins.png") as image:
        assert image.width > 1000
    with pytest.raises(BadInput, match="gif"):
        curves.margins(sweeps, tmp_path / "x.gif")
    with pytest.raises(Incomplete, match=r"no training of livo"):
        curves.margins(sweeps[sweeps["method"] == "dpo"], tmp_path / "x.svg")


def test_a_setting_is_a_point_of_means_and_presence_is_that_of_hazards(
    sweeps: pd.DataFrame,
) -> None:
    points = curves._points(sweeps)
    assert len(points) == 5
    livo = points.loc[("livo", 1.0, 1.0, 2.0, 0), :]
    assert dict(livo.round(6)) == {
        "D1": 40, "D1_plain": 40, "avg_r_plain": 40, "avg_r_steered": 40, "presence_steered": 40,
    }  # fmt: skip


def test_the_front_holds_what_no_other_beats() -> None:
    costs = np.array([[1, 5], [2, 3], [3, 3], [4, 1], [5, 2], [2, 3]], float)
    assert curves.pareto_front(costs).tolist() == [True, True, False, True, False, True]


def test_sweeps_are_read_for_one_model(sweeps: pd.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(Incomplete, match=r"no .*sweeps.csv(?s:.)*python benchmarks/sweep.py"):
        curves.read_sweeps(tmp_path, "mini")
    sweeps.to_csv(tmp_path / "sweeps.csv", index=False)
    assert len(curves.read_sweeps(tmp_path, "mini")) == len(sweeps)
    with pytest.raises(Incomplete, match="no training of model 'sd15'"):
        curves.read_sweeps(tmp_path, "sd15")
    sweeps.drop(columns="n").to_csv(tmp_path / "sweeps.csv", index=False)
    with pytest.raises(BadInput, match="has the columns model, method"):
        curves.read_sweeps(tmp_path, "mini")


def test_training_curves_are_those_of_the_model_named_beside_them(tmp_path: Path) -> None:
    shipped = curves.read_training_curves(DATA / "methods", "mini")
    assert {"livo", "dpo"} <= set(shipped["method"])
    assert shipped["step"].nunique() > 2
    curves.convergence(shipped, tmp_path / "convergence.svg")
    drawn = (tmp_path / "convergence.svg").read_text()
    assert "LiVO w/o m" in drawn
    assert curves.UNALIGNED in drawn
    with pytest.raises(Incomplete, match=r"no training of model 'sd15'.*\n.*--model sd15"):
        curves.read_training_curves(DATA / "methods", "sd15")
    for name in ("first", "again"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "training.json").write_bytes(sealed_json({"model": "mini", "method": "livo"}))
        (folder / "dev.csv").write_text("step,subset,metric,value,n\n2,race,D1,0.5,8\n")
    with pytest.raises(BadInput, match="several trainings of 'livo'"):
        curves.read_training_curves(tmp_path, "mini")
