"""Whether the fast tests see an error of one line, in what decides numbers and verdicts.

    python benchmarks/mutants.py --minutes 9

A mutant is the package with one line changed: another comparison, operator, number or truth value,
`and` for `or`, a `not` or a sign less, or two arguments swapped. 200 are drawn from all that these
modules allow and that can change what they do, and the tests of its module are run on each until
one fails. Prints how many were killed, and each survivor.

What changes nothing is no mutant, for no test could kill it: arguments swapped of a function that
does not look at their order (`SYMMETRIC`), and what only type checkers read (annotations, aliases
and variables of types), and `strict` of zip, which is for lengths that are never other ones. Nor
are documentation, decorators and the texts of messages.

What has been tried stands in --results, so a command that was stopped, or ran out of --minutes,
goes on where it was. Exit code 1: less than 95 % were killed; 4: some are yet to be tried.
"""

from __future__ import annotations

import ast
import copy
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from livo_bench.cards.weights import digest_folder

ROOT = Path(__file__).resolve().parent.parent
ROOM = Path("livo_bench") / "results"
"""Where the mutated modules lie."""
SHARE = 0.95
"""Of the mutants, what must be killed."""
LIMIT = 300
"""Seconds of processor time that the tests of a mutant may take, four times what they do; one that
never ends is killed, and none because the machine is busy."""

OF_PAIRS = ("results/check", "results/compare", "results/conditions", "report/check_report")
TESTS: Mapping[str, Sequence[str]] = {
    "metrics/bias.py": ("results/registry", "results/bias", "results/judge_error"),
    "metrics/discrepancy.py": ("results/bias", "results/judge_error", *OF_PAIRS),
    "metrics/fidelity.py": (
        "results/registry",
        "results/fidelity",
    ),
    "metrics/floors.py": ("results/floors", "results/bias", "results/judge_error"),
    "metrics/intervals.py": ("results/intervals", "results/compare", "results/quality"),
    "metrics/is_and_fid.py": ("results/is_and_fid", "results/quality"),
    "metrics/judge_error.py": ("results/judge_error", "results/bias", "results/toxicity"),
    "metrics/overcorrection.py": (
        "results/registry",
        "results/overcorrection",
    ),
    "metrics/quality.py": (
        "results/registry",
        "results/quality",
    ),
    "metrics/refusals.py": ("results/refusals", "results/registry"),
    "metrics/statistics.py": ("results/statistics", "results/intervals", *OF_PAIRS[:2]),
    "metrics/toxicity.py": ("results/registry", "results/toxicity", "results/judge_error"),
    "metrics/vendi.py": ("results/vendi", "report/variety"),
    "metrics/vectors.py": ("results/vectors", "report/recomputed"),
    "check.py": ("results/check", "report/check_report", "results/conditions", "results/seal"),
    "compare.py": ("results/compare", "results/conditions", "results/seal"),
    "conditions.py": ("results/conditions", "results/check", "results/compare"),
    "frames.py": (
        "results/frames",
        "results/bias",
        "results/toxicity",
        "results/fidelity",
        "results/conditions",
    ),
    "judged.py": ("results/judged", "results/check", "results/baseline", "results/compare"),
    "paired.py": ("results/paired", "results/check", "results/compare", "results/conditions"),
    "tallies.py": ("results/tallies", "results/check"),
    "reading.py": (
        "results/reading",
        "results/conditions",
        "report/tables",
        "results/check",
        "results/baseline",
        "results/compare",
    ),
}
"""By module of the room `results`, the files of tests that guard it: the nearest first, the slow
ones last."""

SYMMETRIC = frozenset(
    {"max", "min", "maximum", "minimum", "swapaxes"} | {"noise", "shared_clusters", "_same_prompts"}
)
"""Functions whose first two arguments may be swapped: the larger or smaller of two numbers, what
swaps two axes, and what two sides of a comparison share, as tests/results/test_paired.py shows."""
OF_TYPES = frozenset({"TypeVar", "TypeAlias"})
"""What is made by the first, or annotated as the second, is there for type checkers alone."""

COMPARISONS: Mapping[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
OPERATORS: Mapping[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Div,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}


@dataclass(frozen=True, order=True)
class Mutant:
    """One changed line."""

    module: str
    """Within the room `results`."""
    line: int
    column: int
    """Where the changed expression begins, in bytes, and where it ends."""
    end: int
    before: str
    now: str

    @property
    def name(self) -> str:
        """Says what is changed and where."""
        return f"{self.module}:{self.line}:{self.column}: {self.before} -> {self.now}"

    def applied(self, source: str) -> str:
        """The module's text with the line changed."""
        lines = source.splitlines(keepends=True)
        line = lines[self.line - 1].encode()
        changed = line[: self.column] + f"({self.now})".encode() + line[self.end :]
        lines[self.line - 1] = changed.decode()
        return "".join(lines)


# Making ------------------------------------------------------------------------------------------


def mutants_of(module: str, source: str) -> list[Mutant]:
    """All mutants of a module, in the order of its text."""
    found = {
        Mutant(
            module,
            node.lineno,
            node.col_offset,
            node.end_col_offset or 0,
            ast.unparse(node),
            ast.unparse(other),
        )
        for node in _expressions(ast.parse(source))
        if node.lineno == node.end_lineno
        for other in _changed(node)
        if ast.unparse(other) != ast.unparse(node)  # as of two arguments that are the same
    }
    return sorted(found)


def _expressions(node: ast.AST) -> Iterator[ast.expr]:
    """What computes something: no types, decorators, documentation, messages or formats."""
    if _name(getattr(node, "annotation", None)) in OF_TYPES:
        return
    skipped: list[object] = []
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        skipped += node.decorator_list
    if isinstance(node, ast.FunctionDef):
        skipped.append(node.returns)
    if isinstance(node, ast.arg | ast.AnnAssign):
        skipped.append(node.annotation)
    for child in ast.iter_child_nodes(node):
        if child in skipped or isinstance(child, ast.Raise | ast.JoinedStr):
            continue
        if isinstance(child, ast.keyword) and child.arg == "strict":
            continue
        if isinstance(child, ast.Call) and _name(child.func) in OF_TYPES:
            continue
        if isinstance(child, ast.expr):
            yield child
        yield from _expressions(child)


def _name(node: ast.AST | None) -> str:
    """The last part of a dotted name; empty for all else."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _changed(node: ast.expr) -> Iterator[ast.expr]:
    """The same expression, each time with one thing changed in it."""
    if isinstance(node, ast.Compare):
        for place, operator in enumerate(node.ops):
            other = copy.deepcopy(node)
            other.ops[place] = COMPARISONS[type(operator)]()
            yield other
    elif isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        yield ast.BinOp(node.left, OPERATORS[type(node.op)](), node.right)
    elif isinstance(node, ast.BoolOp):
        yield ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
    elif isinstance(node, ast.UnaryOp):
        yield node.operand
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield ast.Constant(not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        yield ast.Constant(node.value + 1)
    elif isinstance(node, ast.Call) and len(node.args) > 1 and _name(node.func) not in SYMMETRIC:
        first, second, *others = node.args
        if not any(isinstance(argument, ast.Starred) for argument in (first, second)):
            yield ast.Call(node.func, [second, first, *others], node.keywords)


def sample(room: Path, count: int, seed: int) -> list[Mutant]:
    """Draw mutants from those of all modules, in the order drawn.

    Each has a lot of its own by its line's text, so that a line that stays is drawn again when
    others change.
    """
    lots = []
    for module in TESTS:
        source = (room / module).read_text("utf-8")
        lines = source.splitlines()
        for one in mutants_of(module, source):
            text = f"{seed} {module} {lines[one.line - 1]} {one.column} {one.now}"
            lots.append((random.Random(text).random(), one))
    return [mutant for _, mutant in sorted(lots)[:count]]


# Trying ------------------------------------------------------------------------------------------


def copied(folder: Path) -> Path:
    """A copy of the package and its tests, beside links to all else that the tests look at."""
    for path in ROOT.iterdir():
        if path.name in ("livo_bench", "tests"):
            hidden = shutil.ignore_patterns("__pycache__")
            shutil.copytree(path, folder / path.name, ignore=hidden)
        elif path.name != ".git":
            (folder / path.name).symlink_to(path)
    return folder


def place_of(name: str) -> str:
    """Of tests as `TESTS` names them: room and feature."""
    room, _, feature = name.partition("/")
    return f"tests/{room}/test_{feature}.py"


def passes(folder: Path, tests: Iterable[str]) -> bool:
    """Whether all tests of some files pass on the package in a folder."""
    files = list(map(place_of, tests))
    options = ["-x", "-q", "-p", "no:cacheprovider"]
    threads = {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    result = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *files],
        cwd=folder,
        env={**os.environ, **threads, "PYTHONPATH": str(folder)},
        capture_output=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (LIMIT, LIMIT)),
        check=False,
    )
    return result.returncode == 0


def survives(folder: Path, mutant: Mutant) -> bool:
    """Whether the tests of its module pass on a mutant; the folder is left as it was."""
    path = folder / ROOM / mutant.module
    source = path.read_text("utf-8")
    try:
        path.write_text(mutant.applied(source), encoding="utf-8")
        return passes(folder, TESTS[mutant.module])
    finally:
        path.write_text(source, encoding="utf-8")


def require_sound(folder: Path, module: str, results: Path) -> None:
    """See that the tests of a module pass on the package as it is, or every mutant would die.

    That is noted like a mutant that survived, under the digest of the package.
    """
    name = f"{module} as it is, {digest_folder(folder / 'livo_bench')}"
    if name in read_results(results):
        return
    if passes(folder, TESTS[module]):
        note(results, name, True)
    else:
        raise click.ClickException(
            f"The tests of {module} fail without a mutant. Mend them first: "
            f"pytest {' '.join(map(place_of, TESTS[module]))}"
        )


def read_results(path: Path) -> dict[str, bool]:
    """Of each mutant that was tried, by name, whether it survived; a torn last line is none."""
    lines = path.read_text("utf-8").splitlines(keepends=True) if path.is_file() else []
    tried = (json.loads(line) for line in lines if line.endswith("\n"))
    return {one["mutant"]: one["survived"] for one in tried}


def note(path: Path, name: str, survived: bool) -> None:
    """Add a line to the results."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"mutant": name, "survived": survived}) + "\n")


def told(drawn: Sequence[Mutant], survived: Mapping[str, bool]) -> str:
    """What was found, in Markdown."""
    alive = [mutant for mutant in drawn if survived.get(mutant.name)]
    tried = sum(mutant.name in survived for mutant in drawn)
    killed = f"{tried - len(alive)} of {tried} mutants were killed"
    rest = f"; {len(drawn) - tried} are yet to be tried" if tried < len(drawn) else ""
    listed = "".join(f"\n- `{mutant.name}`" for mutant in alive)
    return f"{killed}{rest}.{' Survivors:' + chr(10) + listed if alive else ''}"


@click.command()
@click.option("--mutants", "count", default=200, show_default=True, help="How many are drawn.")
@click.option("--seed", default=0, show_default=True, help="Of the draw.")
@click.option("--minutes", default=float("inf"), help="After so many, begin no other mutant.")
@click.option(
    "--results",
    type=click.Path(path_type=Path),
    default=ROOT / "results" / "runs" / "mutants.jsonl",
    help="What has been tried.",
)
def main(count: int, seed: int, minutes: float, results: Path) -> None:
    """Draw mutants, try those that have not been, and say which survive."""
    drawn = sample(ROOT / ROOM, count, seed)
    survived = read_results(results)
    end = time.monotonic() + 60 * minutes
    with tempfile.TemporaryDirectory() as name:
        folder = copied(Path(name))
        for mutant in (mutant for mutant in drawn if mutant.name not in survived):
            if time.monotonic() > end:
                break
            require_sound(folder, mutant.module, results)
            survived[mutant.name] = survives(folder, mutant)
            note(results, mutant.name, survived[mutant.name])
            verdict = "survived" if survived[mutant.name] else "killed"
            click.echo(f"{verdict:8} {mutant.name}", err=True)
    click.echo(told(drawn, survived))
    if any(mutant.name not in survived for mutant in drawn):
        sys.exit(4)
    if sum(survived[mutant.name] for mutant in drawn) > (1 - SHARE) * count:
        sys.exit(1)


if __name__ == "__main__":
    main()
