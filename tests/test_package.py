"""The wheel, installed elsewhere, holds what the checkout holds."""

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
from places import ROOT


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    result = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder)
    [path] = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def program(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`livo-bench` in an environment of its own, with the dependencies of this one.

    They come by a path file, which does not follow the path files of the folder it names, so the
    checkout, installed there to be edited, stays out of sight.
    """
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", elsewhere)
    python = elsewhere / "bin" / "python"
    run(sys.executable, "-m", "uv", "pip", "install", "--no-deps", "--python", python, wheel)
    packages = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    dependencies = sysconfig.get_path("purelib")
    (Path(packages) / "dependencies.pth").write_text(dependencies + "\n", encoding="utf-8")
    return elsewhere / "bin" / "livo-bench"


def test_wheel_lists_the_same_methods_tasks_and_models(program: Path, tmp_path: Path) -> None:
    checkout = run(sys.executable, "-m", "livo_bench.cli", "list", "--format", "json")
    assert run(program, "list", "--format", "json", cwd=tmp_path) == checkout


def test_wheel_runs_from_its_own_files_and_loads_methods_from_them(
    program: Path, tmp_path: Path
) -> None:
    code = (
        "import livo_bench.cards.catalog as c, livo_bench.cards.adapters as a; "
        "m = c.model_card('mini'); print(c.DATA); "
        "[a.load_method(name, m) for name in c.select_methods(['all'])]"
    )
    data = run(program.with_name("python"), "-c", code, cwd=tmp_path).strip()
    assert data.endswith("livo_bench/_bundled")
    assert program.parents[1] in Path(data).parents


def test_wheel_holds_the_data_and_no_runs_tests_or_checkout_files(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    for name in (
        "livo_bench/cli/__main__.py",
        "livo_bench/cards/keywords.toml",
        "livo_bench/cards/value_free/mini.csv",
        "livo_bench/cards/models/mini.toml",
        "livo_bench/_bundled/methods/sd/adapter.py",
        "livo_bench/_bundled/tasks/bias/card.toml",
        "livo_bench/_bundled/results/paper/table2.csv",
    ):
        assert name in names
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"livo_bench"}
    assert not [name for name in names if "results/runs" in name or "__pycache__" in name]


def test_every_data_file_of_the_checkout_is_in_the_wheel(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    files = [
        path.relative_to(ROOT).as_posix()
        for folder in ("methods", "tasks", "results/paper", "results/mini")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    ]
    assert len(files) > 8
    assert "livo_bench/report/page/index.html.jinja" in names
    assert not [name for name in files if f"livo_bench/_bundled/{name}" not in names]
