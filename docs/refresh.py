"""Fill the tables in README.md and docs from results and cards: `python docs/refresh.py`.

A test fails when a table is stale.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import claims
import goals
import pandas as pd
from click.testing import CliRunner

from livo_bench.cards.catalog import model_card
from livo_bench.cli import main
from livo_bench.report import curves, glossary, tables
from livo_bench.report.printing import as_markdown
from livo_bench.report.trade_off import write_trade_off
from livo_bench.results import conditions
from livo_bench.results.compare import compare
from livo_bench.results.reading import load_results

ROOT = Path(__file__).resolve().parent.parent
MINI = ROOT / "results" / "mini"
FIGURE = "docs/comparison/trade_off.svg"
CURVES = ROOT / "docs" / "livo"
DEMO = ("D1", "fid_steered", "content_steered")
"""Metrics of the columns that README has room for."""


def _output(*arguments: str) -> str:
    result = CliRunner().invoke(main, list(arguments), catch_exceptions=False)
    if result.exit_code:
        raise RuntimeError(f"livo-bench {' '.join(arguments)}: {result.stderr}")
    return result.stdout.strip("\n")


def demo() -> str:
    """The scores of Table 2 that `make demo` ends with, and what they cost."""
    results = load_results(MINI, "mini")
    asked = results["method"].isin(["sd", "livo"]) & (results["task"] == "bias")
    _, [table] = tables.table_2(results[asked])
    places = [n for n, column in enumerate(table.columns) if column.metric in DEMO]
    heads = [f"{table.columns[n].group} {table.columns[n].title}" for n in places]
    return _own_markdown(
        [
            {"Method": row.title, "Told": row.told}
            | {
                head: str(replace(row.cells[n], n=""))
                for head, n in zip(heads, places, strict=True)
            }
            for row in table.rows
        ]
    )


def reference() -> str:
    """The committed reference."""
    return _output("report", str(MINI), "--format", "markdown")


def flow() -> str:
    """What the second miniature model gives."""
    folder = str(ROOT / "results" / "mini-flow")
    return _output("report", folder, "--model", "mini-flow", "--format", "markdown")


def ablation() -> str:
    """Table 3 of the committed reference."""
    folder = str(MINI)
    return _output("report", folder, "--table", "3", "--format", "markdown")


def reached() -> str:
    """What LiVO reaches, goal by goal."""
    return goals.goals(MINI).strip("\n")


def trade_off() -> str:
    """What methods gain, and what their steered images lose."""
    folder = str(MINI)
    return _output("report", folder, "--table", "trade-off", "--format", "markdown")


def overcorrection() -> str:
    """What methods do where they should do nothing."""
    folder = str(MINI)
    return _output("report", folder, "--table", "overcorrection", "--format", "markdown")


def differences() -> str:
    """Every method against the unaligned model, by D1 and Avg. R."""
    methods = sorted(set(load_results(MINI, "mini")["method"]) - {"sd"})
    metrics = compare(["sd", *methods], runs=MINI).metrics
    return as_markdown(
        [
            {
                "method": one.method,
                "on": f"{one.task}/{one.subset}",
                "metric": one.metric,
                "SD": f"{100 * one.before:.1f}",
                "method's": f"{100 * one.now:.1f}",
                "difference": f"{100 * one.difference:+.1f} "
                f"[{100 * one.low:.1f}, {100 * one.high:.1f}]",
                "detectable": f"{100 * one.detectable:.1f}",
                "effect": one.verdict if one.verdict != "unclear" else "no clear effect",
            }
            for one in metrics
            if one.metric in ("D1", "avg_r")
        ]
    ).strip("\n")


def quirks() -> str:
    """What the quirks of the released evaluation move."""
    return _output("report", "--explain", "--format", "markdown")


def parts(model: str) -> str:
    """What it took to train each network."""
    return as_markdown(
        [
            {
                "part": part.name,
                "parameters": f"{part.parameters:,}",
                "steps": f"{part.steps:,}",
                "minutes": part.minutes,
                "seed": part.seed,
            }
            for part in model_card(model).parts
        ]
    ).strip("\n")


def quality(model: str) -> str:
    """How good the networks are."""
    quality = model_card(model).quality
    return as_markdown(
        [{"measure": name, "per cent": f"{100 * value:.1f}"} for name, value in quality.items()]
    ).strip("\n")


def terms(of: Mapping[str, glossary.Term]) -> str:
    """What headings stand for, in Markdown of our own."""
    rows = [
        {
            "Heading": glossary.name_of(heading),
            "Stands for": term.means,
            "In CSV and JSON": term.metrics,
            "Source": term.source,
        }
        for heading, term in of.items()
    ]
    filled = [name for name in rows[0] if any(row[name] for row in rows)]
    return _own_markdown([{name: row[name] for name in filled} for row in rows])


def _own_markdown(rows: Sequence[Mapping[str, str]]) -> str:
    """A table of texts of ours, whose markup is meant."""
    lines = [[*rows[0]], ["---"] * len(rows[0]), *(row.values() for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def what_must_agree() -> str:
    """Which conditions must agree for which command, and why."""
    return _own_markdown(conditions.as_rows())


def coverage() -> str:
    """How often intervals hold the truth, and how often verdicts are false, as it was simulated."""
    found = pd.read_csv(ROOT / "docs" / "metrics" / "coverage.csv", dtype={"design": str})
    shares = found.assign(share=100 * found["share"]).pivot(
        index=["what", "score", "prompts"], columns="design", values="share"
    )[list(found["design"].unique())]
    rows = found.drop_duplicates(["what", "score", "prompts"])[["what", "score", "prompts"]]
    return _own_markdown(
        [
            row | {name: "-" if pd.isna(share) else f"{share:.1f}" for name, share in of.items()}
            for row in rows.to_dict("records")
            for of in [shares.loc[tuple(row.values())]]
        ]
    )


BLOCKS: dict[str, dict[str, Callable[[], str]]] = {
    "README.md": {"demo": demo},
    "docs/results.md": {"reference": reference, "ablation": ablation},
    "docs/mini.md": {
        "parts": partial(parts, "mini"),
        "quality": partial(quality, "mini"),
    },
    "docs/mini-flow.md": {
        "flow-parts": partial(parts, "mini-flow"),
        "flow-quality": partial(quality, "mini-flow"),
        "flow": flow,
    },
    "docs/metrics.md": {
        "scores": partial(terms, glossary.SCORES),
        "headings": partial(terms, glossary.HEADINGS),
        "counts": partial(terms, glossary.COUNTS),
    },
    "docs/statistics.md": {"coverage": coverage},
    "docs/check.md": {"conditions": what_must_agree},
    "docs/livo.md": {"goals": reached},
    "docs/comparison.md": {
        "trade-off": trade_off,
        "differences": differences,
        "overcorrection": overcorrection,
    },
    "docs/claims.md": {
        "claims": partial(claims.claims, MINI),
        "spread": partial(claims.spread, MINI),
        "by-fraction": partial(claims.by_fraction, MINI),
        "by-step": partial(claims.by_step, ROOT / "methods"),
    },
    "docs/quirks.md": {"quirks": quirks},
}
"""By file, what stands between `<!-- name -->` and `<!-- /name -->`."""


def refreshed(file: str) -> str:
    """The file's text with every block as it should be."""
    text = (ROOT / file).read_text(encoding="utf-8")
    for name, fill in BLOCKS[file].items():
        block = f"<!-- {name} -->\n\n{fill()}\n\n<!-- /{name} -->"
        pattern = rf"<!-- {name} -->.*?<!-- /{name} -->"
        text, count = re.subn(pattern, block.replace("\\", r"\\"), text, flags=re.DOTALL)
        if count != 1:
            raise ValueError(f"{file} has {count} blocks {name!r}, expected one.")
    return text


if __name__ == "__main__":
    write_trade_off(load_results(MINI, "mini"), ROOT / FIGURE)
    trained = curves.read_training_curves(ROOT / "methods", "mini")
    curves.convergence(trained, CURVES / "convergence.svg")
    if (MINI / curves.SWEEPS).exists():
        sweeps = curves.read_sweeps(MINI, "mini")
        curves.data_efficiency(sweeps, CURVES / "data_efficiency.svg")
        curves.margins(sweeps, CURVES / "margins.svg")
    for name in BLOCKS:
        (ROOT / name).write_text(refreshed(name), encoding="utf-8")
