"""The committed results are printed as they were, and their numbers come out again."""

import io
from itertools import product
from pathlib import Path

import pandas as pd
import pytest
import unchanged
from places import REFERENCE

from livo_bench.files import sha256
from livo_bench.report import contents
from livo_bench.report.printing import FORMS
from livo_bench.results import seal

LAST_BITS = 1e-9
"""By which a number may be another one on another processor; the command wants the very bytes."""


def test_every_table_is_printed_as_committed(monkeypatch: pytest.MonkeyPatch) -> None:
    unchanged.read_once(monkeypatch.setattr)
    known = unchanged.digests()
    shown = {*unchanged.TABLES, unchanged.EXPLAIN}
    assert known.keys() == {*product(shown, FORMS), (unchanged.PAGE, contents.HTML)}
    changed = [
        f"{table} as {form}"
        for table, form, text in unchanged.printed(REFERENCE, all_of_it=False)
        if sha256(text) != known[table, form]
    ]
    assert not changed, "What changed? python benchmarks/unchanged.py --against HEAD"


def test_what_judges_said_of_images_gives_the_committed_numbers(few_methods: Path) -> None:
    folders = {folder.path: folder for folder in seal.open_all(few_methods)}
    assert {path.name for path in folders} == {"bias", "toxicity", "overcorrection"}
    for path, opened in folders.items():
        unaligned = folders[few_methods / unchanged.UNALIGNED / path.name]
        (lines, prompts), (stored, per_prompt) = (
            unchanged.computed(opened, unaligned),
            unchanged.stored(opened),
        )
        for before, after in (
            ("\n".join(stored), "\n".join(lines)),
            (per_prompt.decode(), prompts.decode()),
        ):
            old, new = (pd.read_csv(io.StringIO(text)) for text in (before, after))
            pd.testing.assert_frame_equal(old, new, rtol=LAST_BITS, atol=LAST_BITS)


def test_a_table_that_changed_is_named_with_what_changed(tmp_path: Path) -> None:
    path = tmp_path / "printed.csv"
    unchanged.write_digests({("2", "csv"): "one", ("2", "json"): "other"}, path)
    assert unchanged.digests(path) == {("2", "csv"): sha256("one"), ("2", "json"): sha256("other")}
    before = {("2", "csv"): "method,D1\nsd,0.5", ("2", "json"): "[]"}
    after = {("2", "csv"): "method,D1\nsd,0.6", ("2", "json"): "[]", ("fid", "csv"): "method"}
    assert list(unchanged.printed_differences(before, after, "HEAD~1")) == [
        "--- 2 as csv, HEAD~1",
        "+++ 2 as csv",
        "@@ -1,2 +1,2 @@",
        " method,D1",
        "-sd,0.5",
        "+sd,0.6",
        "--- fid as csv, HEAD~1",
        "+++ fid as csv",
        "@@ -0,0 +1 @@",
        "+method",
    ]
