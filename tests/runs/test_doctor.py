"""`livo-bench doctor`: what it says when all is well, and when something is lost."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from written_results import bias_images, seal_again, with_fidelity, write_run

from livo_bench.cli import main
from livo_bench.results import seal
from livo_bench.results.seal import RESULT_FILES
from livo_bench.runs import doctor
from livo_bench.runs.doctor import Broken


@pytest.fixture
def runs_that_write(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a run writes, in place of runs: the last word, to be changed by what breaks it."""
    words = ["sound"]

    def finish(bench: doctor._Bench, runs: Path) -> str:
        folder = runs / "mini" / "sd" / "bias.gender"
        folder.mkdir(parents=True)
        for name in RESULT_FILES:
            (folder / name).write_text(words[-1])
        return "" if words[-1] != "failed" else "Error: it failed"

    monkeypatch.setattr(doctor._Bench, "finish", finish)
    return words


def invoke(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["doctor", "--device", "cpu", *words])
    return result.exit_code, result.stdout


@pytest.mark.parametrize(
    ("word", "told", "said"),
    [
        ("other", True, "its results are NOT those of the undisturbed run"),
        ("failed", True, "then the run failed: Error: it failed"),
        ("sound", False, "the same, byte for byte"),
    ],
)
def test_what_is_lost_or_kept_from_the_user_is_a_failure(
    runs_that_write: list[str], monkeypatch: pytest.MonkeyPatch, word: str, told: bool, said: str
) -> None:
    def breaks(bench: doctor._Bench, runs: Path) -> Broken:
        runs_that_write.append(word)
        return Broken("broken", told)

    monkeypatch.setattr(doctor, "DEMONSTRATIONS", {"a trial": breaks})
    code, stdout = invoke("--format", "csv")
    assert code == 1
    [line] = [line for line in stdout.splitlines() if line.startswith("a trial")]
    assert said in line
    assert line.endswith(",NO")


def test_where_nothing_runs_nothing_is_demonstrated(runs_that_write: list[str]) -> None:
    runs_that_write.append("failed")
    code, stdout = invoke("--format", "csv")
    assert code == 1
    assert stdout.splitlines()[-1] == "a run that nothing disturbs,Error: it failed,NO"


def test_a_torn_file_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    torn = {"a torn file": doctor.DEMONSTRATIONS["a torn file"]}
    monkeypatch.setattr(doctor, "DEMONSTRATIONS", torn)
    code, stdout = invoke("--format", "csv")
    assert code == 0
    assert stdout.count(",yes") == 5
    assert "run again, its results are the same, byte for byte" in stdout


@pytest.mark.parametrize("name", ["a swapped result", "an unsealed baseline"])
def test_what_a_seal_finds_is_said(tmp_path: Path, name: str) -> None:
    bench = doctor._Bench(tmp_path, "cpu")
    for method in ("sd", "livo"):
        folder = bench.whole / "mini" / method / "bias.gender"
        images = with_fidelity(bias_images([7, 8, 6, 9]), [9, 9, 9, 9])
        write_run(folder, images, method=method, seed=42)
        (folder / "images.parquet").write_bytes(seal.as_parquet(images))
        record = json.loads((folder / "run.json").read_text())
        del record["seal"]
        record["method"]["files"] = {"card.toml": "a" * 64}
        seal_again(folder, record)
    broken = doctor.DEMONSTRATIONS[name](bench, tmp_path / "broken")
    assert broken.how.endswith(" said so"), broken
    assert broken.told


@pytest.mark.slow
def test_nothing_is_lost() -> None:
    code, stdout = invoke("--format", "csv")
    assert code == 0
    assert stdout.count("the same, byte for byte") == len(doctor.DEMONSTRATIONS) == 8
    assert stdout.count(" said so; run again") == 5


def test_a_device_that_is_not_there_is_refused() -> None:
    result = CliRunner().invoke(main, ["doctor", "--device", "cuda:99"])
    assert result.exit_code == 2
    assert "cannot be used" in result.stderr
