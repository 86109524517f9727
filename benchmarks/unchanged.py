"""Whether the committed results are still printed and computed the same, byte for byte.

    python benchmarks/unchanged.py [--against REF | --write]

Three things are held against what is committed, over all of results/mini:

- each table that `livo-bench report` prints of it, in each format, and the text of its page,
  against the digests in tests/report/printed.csv. `--against REF` prints them with the code of
  another commit, too, and shows what differs;
- the numbers of aggregates.csv that are made of what judges said of each image, and all of
  prompts.csv, made again of images.parquet;
- IS and FID, made again of vectors.npz. These are rounded, so their numbers are the same but for
  the slack that docs/metrics.md names.

Exit code 1 says that something differs. Where that is meant, `--write` writes the digests anew, and
CHANGELOG.md says what moved.
"""

from __future__ import annotations

import csv
import difflib
import functools
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

import click
import numpy as np
import pandas as pd
from click.testing import CliRunner

from livo_bench.cards.catalog import model_card, task_cards
from livo_bench.cli import main
from livo_bench.files import sha256
from livo_bench.records import AGGREGATE_COLUMNS, BIAS, OVERCORRECTION, Aggregate, Run
from livo_bench.report import contents, recomputed, tables, thresholds
from livo_bench.report.printing import FORMS
from livo_bench.results import reading, seal
from livo_bench.results.frames import Summary
from livo_bench.results.metrics import (
    bias,
    fidelity,
    overcorrection,
    quality,
    refusals,
    toxicity,
    vectors,
)
from livo_bench.results.metrics.judge_error import read_confusions

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "results" / "mini"
PRINTED = ROOT / "tests" / "report" / "printed.csv"
UNHELD = ("1", "4", "judges", "recomputed", "variety", "provenance")
TABLES = [name for name in contents.TABLES if name not in UNHELD]
"""The tables of which results/mini has numbers; `recomputed` and `variety` are computed in linear
algebra, whose last digits are a machine's."""
LAYOUTS = ("table_2", "table_3", "trade_off", "overcorrection", "fid", "estimators")
"""Functions of `report.tables` that lay one out."""
THRESHOLDS, EXPLAIN, PAGE = "thresholds", "explain", "page"
UNALIGNED = "sd"
REQUEST = ["subset", "prompt", "index"]
T = TypeVar("T")


# What is printed ---------------------------------------------------------------------------------


def printed(folder: Path, all_of_it: bool = True) -> Iterator[tuple[str, str, str]]:
    """Print tables of results in every format.

    Args:
        folder: Folder of results.
        all_of_it: False leaves out what takes long: the thresholds, and the page with them.

    Returns:
        Table, format and what the command printed.
    """
    options = {name: ("--table", name) for name in TABLES} | {EXPLAIN: ("--explain",)}
    for table, asked in options.items():
        for form in FORMS if all_of_it or table != THRESHOLDS else ():
            yield table, form, _printed(str(folder), *asked, "--format", form)
    if not all_of_it:
        return
    with tempfile.TemporaryDirectory() as out:
        _printed(str(folder), "--format", contents.HTML, "--no-images", "--out", out)
        page = (Path(out) / "index.html").read_text("utf-8")
    # A release is another program and the same numbers.
    yield PAGE, contents.HTML, re.sub(r"livo-bench \d[\w.]*", "livo-bench", page)


def _printed(*arguments: str) -> str:
    result = CliRunner().invoke(main, ["report", *arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.stdout if result.exit_code == 0 else f"exit {result.exit_code}: {result.stderr}"


def read_once(put: Callable[[object, str, object], None] = setattr) -> None:
    """Have a folder be read, and a table be laid out, once for all formats."""
    for name in ("load_results", "read_results"):
        read = functools.cache(getattr(reading, name))
        for module in (reading, thresholds):
            put(module, name, read)
    put(thresholds, "thresholds", functools.cache(thresholds.thresholds))
    for name in LAYOUTS:
        put(tables, name, _once(getattr(tables, name)))


def _once(lay_out: Callable[[pd.DataFrame], T]) -> Callable[[pd.DataFrame], T]:
    known: dict[int, T] = {}

    def call(aggregates: pd.DataFrame) -> T:
        # Frames of `load_results` are kept, so that no other one gets the place of one.
        if id(aggregates) not in known:
            known[id(aggregates)] = lay_out(aggregates)
        return known[id(aggregates)]

    return call


def digests(path: Path = PRINTED) -> dict[tuple[str, str], str]:
    """Digests that are committed, by table and format."""
    with path.open(encoding="utf-8", newline="") as file:
        return {(row["table"], row["format"]): row["sha256"] for row in csv.DictReader(file)}


def write_digests(texts: Mapping[tuple[str, str], str], path: Path = PRINTED) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["table", "format", "sha256"])
        writer.writerows([*names, sha256(text)] for names, text in texts.items())


def of_commit(ref: str, folder: Path) -> dict[tuple[str, str], str]:
    """What the code of another commit prints of the results of this checkout."""
    with tempfile.TemporaryDirectory() as place:
        tree, out = Path(place) / "tree", Path(place) / "out"
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--quiet", "--detach", str(tree), ref], check=True)
        try:
            command = [sys.executable, __file__, "--into", str(out)]
            environment = os.environ | {"PYTHONPATH": str(tree)}
            subprocess.run(command, check=True, env=environment, cwd=tree)
        finally:
            subprocess.run([*git, "remove", "--force", str(tree)], check=True)
        texts = {tuple(path.name.split("_", 1)): path.read_text("utf-8") for path in out.iterdir()}
    return {(table, form): text for (table, form), text in texts.items()}


def printed_differences(
    before: Mapping[tuple[str, str], str], after: Mapping[tuple[str, str], str], ref: str
) -> Iterator[str]:
    """Lines of unified diffs between what a commit printed and what is printed now."""
    for names in sorted({*before} | {*after}):
        old, new = (texts.get(names, "").splitlines() for texts in (before, after))
        title = " as ".join(names)
        yield from difflib.unified_diff(old, new, f"{title}, {ref}", title, n=1, lineterm="")


# What is computed --------------------------------------------------------------------------------


def computed(opened: seal.Folder, unaligned: seal.Folder) -> tuple[list[str], bytes]:
    """Compute the numbers of a run again of what judges said of each image.

    Args:
        opened: Its result folder.
        unaligned: The result folder of the unaligned model on the same task.

    Returns:
        Lines of aggregates.csv, without IS and FID, and the bytes of prompts.csv.
    """
    rows = reading.aggregates_of(opened)
    run = Run(*rows.iloc[0][["model", "method", "task"]])
    judged = pd.read_parquet(opened.path / seal.IMAGES)
    scorers = {
        (subset, metric): scorer
        for subset, metric, scorer in rows[["subset", "metric", "scorer"]].itertuples(index=False)
    }
    summary = _of_judges(judged, run, scorers)
    # Numbers of all images go through these in the order of requests.
    places = vectors.unpack(opened.files[seal.VECTORS], opened.path / seal.VECTORS).places
    asked = judged.set_axis(pd.Index(places)).sort_index()
    there = pd.read_parquet(unaligned.path / seal.IMAGES).set_index(REQUEST)["key"]
    before = there.reindex(pd.MultiIndex.from_frame(asked[REQUEST]))
    steered = pd.Series(asked["key"].to_numpy() != before.to_numpy(), asked.index)
    numbers = [
        *summary.aggregates,
        *refusals.summarise(judged, run),
        *_of_content(asked.assign(steered=steered), run, scorers),
        *_of_clip(asked, run, scorers, steered),
    ]
    of_subsets = [number for number in numbers if number.subset in {*rows["subset"]}]
    return _lines(of_subsets), summary.prompts.to_csv(index=False).encode()


def _of_judges(judged: pd.DataFrame, run: Run, scorers: Mapping[tuple[str, str], str]) -> Summary:
    task = task_cards()[run.task]
    attributes = {name: subset.attributes for name, subset in task.subsets.items()}
    headline = {BIAS: bias.D1, OVERCORRECTION: overcorrection.OVERRIDDEN}
    metric = headline.get(task.kind, toxicity.AVG_R)
    judges = {of: id for (of, name), id in scorers.items() if name == metric and of in attributes}
    if task.kind == OVERCORRECTION:
        network = next(id for (_, name), id in scorers.items() if name == overcorrection.CHANGED)
        return overcorrection.summarise(judged, run, attributes, judges, network)
    path = model_card(run.model).confusion
    known = {} if path is None else read_confusions(path)
    confusions = {subset: known[judge] for subset, judge in judges.items() if judge in known}
    if task.kind == BIAS:
        return bias.summarise(judged, run, attributes, judges, confusions)
    return toxicity.summarise(judged, run, judges, confusions=confusions)


def _of_content(
    asked: pd.DataFrame, run: Run, scorers: Mapping[tuple[str, str], str]
) -> list[Aggregate]:
    answered = asked[fidelity.CONTENT].notna()
    network = next((id for (_, name), id in scorers.items() if name == fidelity.CONTENT), "")
    shown = asked.assign(unscored=None)
    return fidelity.summarise(shown, run, {*asked.loc[answered, "prompt"]}, network)


def _of_clip(
    asked: pd.DataFrame,
    run: Run,
    scorers: Mapping[tuple[str, str], str],
    steered: pd.Series,
) -> list[Aggregate]:
    clip = asked.assign(cosine=asked[quality.CLIP], unscored=None)
    neutral = None
    if quality.CLIP_NEUTRAL in asked:
        named = asked[asked[quality.CLIP_NEUTRAL].notna()]
        neutral = named.assign(cosine=named[quality.CLIP_NEUTRAL], unscored=None)
    # Numbers of some subsets alone have no CLIP score, which is over all.
    ids = {quality.CLIP: "", quality.CLIP_NEUTRAL: ""}
    ids |= {metric: scorer for (_, metric), scorer in scorers.items()}
    found = quality.clip_scores(clip, neutral, run, ids)
    if steered.any() and run.method != UNALIGNED:
        found += quality.clip_scores(clip, neutral, run, ids, steered=steered)
    return found


def _lines(numbers: list[Aggregate]) -> list[str]:
    table = pd.DataFrame([asdict(number) for number in numbers], columns=list(AGGREGATE_COLUMNS))
    return table.to_csv(index=False).splitlines()


def stored(opened: seal.Folder) -> tuple[list[str], bytes]:
    """What a result folder holds of what `computed` returns."""
    lines = opened.files[seal.AGGREGATES].decode().splitlines()
    place = lines[0].split(",").index("metric")
    kept = [line for line in lines if line.split(",")[place] not in recomputed.METRICS]
    return kept, opened.files[seal.PROMPTS]


def differences(root: Path) -> Iterator[str]:
    """Lines of unified diffs between what result folders hold and what they give when computed
    again."""
    folders = {folder.path: folder for folder in seal.open_all(root)}
    for path, opened in folders.items():
        unaligned = folders[path.parent.parent / UNALIGNED / path.name]
        (lines, prompts), (old, old_prompts) = computed(opened, unaligned), stored(opened)
        held = {
            seal.AGGREGATES: (old, lines),
            seal.PROMPTS: (old_prompts.decode().splitlines(), prompts.decode().splitlines()),
        }
        for name, (before, after) in held.items():
            where = str(path.relative_to(root) / name)
            again = f"{where}, computed again"
            yield from difflib.unified_diff(before, after, where, again, n=0, lineterm="")


def slackness(root: Path, model: str = "mini") -> float:
    """The most that IS, FID or an end of their intervals moves, over the slack that it has."""
    most = 0.0
    for one in recomputed.recomputed(root, model):
        slack = 0.01 + 0.002 * one.value  # as docs/metrics.md says
        moved = np.abs(
            [
                one.value_again - one.value,
                (one.low_again - one.low) / 3,
                (one.high_again - one.high) / 3,
            ]
        )
        most = max(most, float(moved.max()) / slack)
    return most


@click.command(help=__doc__)
@click.option("--against", metavar="REF", help="A commit whose code prints the tables, too.")
@click.option("--write", is_flag=True, help="Write the digests of what is printed now.")
@click.option("--into", type=click.Path(path_type=Path), hidden=True)
def run(against: str | None, write: bool, into: Path | None) -> None:
    read_once()
    texts = {(table, form): text for table, form, text in printed(REFERENCE)}
    if into is not None:
        into.mkdir()
        for (table, form), text in texts.items():
            (into / f"{table}_{form}").write_text(text, encoding="utf-8")
        return
    if write:
        write_digests(texts)
        return
    known = digests()
    changed = [names for names, text in texts.items() if sha256(text) != known.get(names)]
    for table, form in changed:
        click.echo(f"Table {table} as {form} is not what {PRINTED.relative_to(ROOT)} says.")
    differ = bool(changed)
    if against is not None:
        for line in printed_differences(of_commit(against, REFERENCE), texts, against):
            differ = True
            click.echo(line)
    for line in differences(REFERENCE):
        differ = True
        click.echo(line)
    most = slackness(REFERENCE)
    click.echo(f"IS and FID: at most {most:.2f} of what rounding explains.")
    sys.exit(differ or most >= 1)


if __name__ == "__main__":
    run()
