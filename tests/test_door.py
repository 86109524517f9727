"""`import livo_bench` is the door: cheap, whole, and the same to a type checker."""

import ast
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from places import REFERENCE

import livo_bench
from livo_bench.results.check import check
from livo_bench.results.compare import compare


def imported_for_type_checkers() -> dict[str, str]:
    tree = ast.parse(Path(livo_bench.__file__).read_text("utf-8"))
    [block] = [one for one in tree.body if isinstance(one, ast.If)]
    return {
        name.asname or name.name: f"{one.module}"
        for one in block.body
        if isinstance(one, ast.ImportFrom) and one.module != "livo_bench"
        for name in one.names
    }


def test_the_door_gives_what_a_type_checker_sees() -> None:
    assert set(livo_bench.__all__) == {"__version__", "plot", *imported_for_type_checkers()}
    assert callable(livo_bench.plot.trade_off)
    for name, home in imported_for_type_checkers().items():
        assert livo_bench._HOME_OF[name] == home.removeprefix("livo_bench.")
        assert getattr(livo_bench, name) is not None
        assert name in dir(livo_bench)
    assert (Path(livo_bench.__file__).parent / "py.typed").is_file()


def test_what_it_has_not_it_says() -> None:
    with pytest.raises(AttributeError, match="'livo_bench' has no attribute 'frob'"):
        livo_bench.frob  # noqa: B018


def test_importing_the_door_loads_no_library() -> None:
    code = (
        "import sys, livo_bench\n"
        "assert not {'torch', 'pandas', 'numpy', 'click', 'rich'} & sys.modules.keys()\n"
        "import livo_bench.report.tables\nassert livo_bench.report.__name__ == 'report'"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_what_was_compared_and_checked_becomes_data_frames(few_methods: Path) -> None:
    found = compare(["sd", "livo"], "bias/race", runs=few_methods)
    frame = pd.DataFrame(found.metrics)
    assert {"metric", "difference", "low", "high", "verdict"} <= {*frame}
    assert len(frame) == len(found.metrics)
    held = check(few_methods, few_methods, methods=["sd"], tasks=["bias/race"])
    assert not pd.DataFrame(held.metrics)["regression"].any()


def test_results_come_as_a_data_frame() -> None:
    rows = livo_bench.load_results(REFERENCE)
    assert {"method", "metric", "value", "low", "high", "n", "floor"} <= {*rows}
