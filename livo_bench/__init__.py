"""livo-bench: compare text-to-image value-alignment methods on the same noise.

Each command of the program is one function here, and beside them stand the records that they take
and give and the interfaces that code of one's own fits::

    import livo_bench

    livo_bench.run(["sd", "livo"], "bias", images=5)
    results = livo_bench.load_results()  # a data frame
    livo_bench.plot.trade_off(results)

A name is imported when it is first asked for, so that `import livo_bench` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from livo_bench import plot as plot
    from livo_bench.errors import AdapterFailed as AdapterFailed
    from livo_bench.errors import BadInput as BadInput
    from livo_bench.errors import Incomplete as Incomplete
    from livo_bench.errors import LivoBenchError as LivoBenchError
    from livo_bench.errors import NotComparable as NotComparable
    from livo_bench.errors import NothingScored as NothingScored
    from livo_bench.errors import UnknownName as UnknownName
    from livo_bench.interfaces import Columns as Columns
    from livo_bench.interfaces import Method as Method
    from livo_bench.interfaces import MethodContext as MethodContext
    from livo_bench.interfaces import OwnGenerator as OwnGenerator
    from livo_bench.interfaces import Pixels as Pixels
    from livo_bench.interfaces import Scorer as Scorer
    from livo_bench.interfaces import WithFiles as WithFiles
    from livo_bench.interfaces import WithSources as WithSources
    from livo_bench.methods.training.training import train as train
    from livo_bench.records import Aggregate as Aggregate
    from livo_bench.records import Principle as Principle
    from livo_bench.records import Prompt as Prompt
    from livo_bench.records import Recipe as Recipe
    from livo_bench.records import Request as Request
    from livo_bench.records import SafetyGuidance as SafetyGuidance
    from livo_bench.records import SemanticGuidance as SemanticGuidance
    from livo_bench.report.audit_page import draw_audit as draw_audit
    from livo_bench.report.board import add_to_board as add_to_board
    from livo_bench.report.contents import report as report
    from livo_bench.report.hub_folder import export_hub as export_hub
    from livo_bench.report.view import view as view
    from livo_bench.results.check import Check as Check
    from livo_bench.results.check import check as check
    from livo_bench.results.compare import Comparison as Comparison
    from livo_bench.results.compare import Difference as Difference
    from livo_bench.results.compare import compare as compare
    from livo_bench.results.raters.audited import read_audit as read_audit
    from livo_bench.results.reading import load_results as load_results
    from livo_bench.runs.options import RunOptions as RunOptions
    from livo_bench.runs.plan import Estimate as Estimate
    from livo_bench.runs.runner import plan as plan
    from livo_bench.runs.runner import run as run

    __version__: str

_HOMES = {
    "errors": (
        "AdapterFailed",
        "BadInput",
        "Incomplete",
        "LivoBenchError",
        "NotComparable",
        "NothingScored",
        "UnknownName",
    ),
    "interfaces": (
        "Columns",
        "Method",
        "MethodContext",
        "OwnGenerator",
        "Pixels",
        "Scorer",
        "WithFiles",
        "WithSources",
    ),
    "methods.training.training": ("train",),
    "records": (
        "Aggregate",
        "Principle",
        "Prompt",
        "Recipe",
        "Request",
        "SafetyGuidance",
        "SemanticGuidance",
    ),
    "report.audit_page": ("draw_audit",),
    "report.board": ("add_to_board",),
    "report.contents": ("report",),
    "report.hub_folder": ("export_hub",),
    "report.view": ("view",),
    "results.check": ("Check", "check"),
    "results.compare": ("Comparison", "Difference", "compare"),
    "results.raters.audited": ("read_audit",),
    "results.reading": ("load_results",),
    "runs.options": ("RunOptions",),
    "runs.plan": ("Estimate",),
    "runs.runner": ("plan", "run"),
}
"""Names by the module that they are imported from, as a type checker reads them above."""

_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = ["__version__", "plot", *_HOME_OF]

# The room of this name would hide the function, were it imported later; imported, it is found by
# `from livo_bench.report import ...` all the same.
import_module("livo_bench.report")
del globals()["report"]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module("importlib.metadata").version("livo-bench")
    if name == "plot":
        return import_module("livo_bench.plot")
    if name not in _HOME_OF:
        raise AttributeError(f"module 'livo_bench' has no attribute {name!r}")
    return getattr(import_module(f"livo_bench.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
