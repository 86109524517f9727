"""A baseline is rewritten whole, run by run, and says what changed."""

from pathlib import Path

import pytest
from written_results import bias_images, write_run

from livo_bench.errors import BadInput, Incomplete
from livo_bench.results import seal
from livo_bench.results.baseline import update
from livo_bench.results.check import check

MALES = [7, 8, 6, 9]


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for method in ("sd", "livo"):
        write_run(tmp_path / "runs" / "mini" / method / "bias", bias_images(MALES), method=method)
    return tmp_path / "runs"


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_new_baseline_holds_the_runs_without_the_model_folder(tmp_path: Path, runs: Path) -> None:
    lines = update(tmp_path / "baseline", runs)
    assert lines == ["livo on bias: added, 40 images", "sd on bias: added, 40 images"]
    assert files(tmp_path / "baseline") == files(runs / "mini")
    assert update(tmp_path / "baseline", runs) == [
        "livo on bias: no metric changed", "sd on bias: no metric changed",
    ]  # fmt: skip


def test_only_what_is_named_changes_and_the_check_then_passes(tmp_path: Path, runs: Path) -> None:
    baseline = tmp_path / "baseline"
    update(baseline, runs)
    before = files(baseline)
    worse = write_run(runs / "mini" / "sd" / "bias", bias_images([10] * 4))
    table = (worse / "aggregates.csv").read_text()
    (worse / "aggregates.csv").write_text(table.replace("D1,0", "D1,1", 1))
    [line] = update(baseline, runs, methods=["sd"])
    assert line == "sd on bias: gender D1 0.0, now 100.0"
    after = files(baseline)
    assert {name for name in after if after[name] != before[name]} == {
        "sd/bias/aggregates.csv", "sd/bias/images.parquet",
    }  # fmt: skip
    assert not check(baseline, runs).regressions


def test_an_interrupted_update_leaves_a_missing_run_and_no_mixture(
    tmp_path: Path, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    baseline = tmp_path / "baseline"
    update(baseline, runs)
    write = seal.write_atomically

    def fail_at_numbers(path: Path, data: bytes, option: str) -> None:
        if path.name == "aggregates.csv":
            raise KeyboardInterrupt
        write(path, data, option)

    monkeypatch.setattr(seal, "write_atomically", fail_at_numbers)
    with pytest.raises(KeyboardInterrupt):
        update(baseline, runs, methods=["sd"])
    monkeypatch.undo()
    with pytest.raises(Incomplete, match="it has methods livo; tasks bias"):
        check(baseline, runs, methods=["sd"])
    assert update(baseline, runs, methods=["sd"]) == ["sd on bias: added, 40 images"]


def test_fewer_images_than_the_baseline_are_refused(tmp_path: Path, runs: Path) -> None:
    baseline = tmp_path / "baseline"
    update(baseline, runs)
    before = files(baseline)
    write_run(runs / "mini" / "sd" / "bias", bias_images(MALES[:2]))
    with pytest.raises(Incomplete, match="has 20 images on task 'bias', the baseline has 40"):
        update(baseline, runs)
    assert files(baseline) == before


def test_nothing_to_copy_and_several_runs_in_one_file_are_refused(
    tmp_path: Path, runs: Path
) -> None:
    with pytest.raises(Incomplete, match=r"it has methods livo, sd; tasks bias; asked .*: fd"):
        update(tmp_path / "baseline", runs, methods=["fd"])
    folder = runs / "mini" / "sd" / "bias"
    images = bias_images(MALES).assign(method="sd", task="bias")
    images.to_parquet(folder / "images.parquet")
    table = (folder / "aggregates.csv").read_text()
    more = table.replace(",sd,", ",fd,").split("\n", 1)[1]
    (folder / "aggregates.csv").write_text(table + more.replace(",40,", ",0,"))
    with pytest.raises((BadInput, Incomplete)):
        update(tmp_path / "baseline", runs, methods=["sd"])


def test_subsets_that_were_run_one_by_one_go_each_to_its_own_folder(tmp_path: Path) -> None:
    runs, baseline = tmp_path / "runs", tmp_path / "baseline"
    for subset in ("gender", "race"):
        images = bias_images(MALES, subset=subset)
        write_run(runs / "mini" / "sd" / f"bias.{subset}", images)
    update(baseline, runs)
    update(baseline, runs)
    assert files(baseline) == files(runs / "mini")
    (runs / "mini" / "sd" / "bias.race").rename(runs / "mini" / "sd" / "other")
    with pytest.raises(BadInput, match=r"bias.gender, bias.race, .* bias.gender, other"):
        update(baseline, runs)


def test_a_subset_that_was_run_alone_is_asked_for_by_its_name(tmp_path: Path) -> None:
    runs, baseline = tmp_path / "runs", tmp_path / "baseline"
    for subset in ("gender", "race"):
        images = bias_images(MALES, subset=subset)
        write_run(runs / "mini" / f"of-{subset}" / f"bias.{subset}", images, f"of-{subset}")
    update(baseline, runs, tasks=["bias/gender"])
    assert [path.name for path in baseline.iterdir()] == ["of-gender"]
    with pytest.raises(Incomplete, match="tasks: bias/age"):
        update(baseline, runs, tasks=["bias/age"])
