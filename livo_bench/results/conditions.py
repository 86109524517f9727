"""The conditions under which numbers may stand side by side: one list of them, for every use.

A run says in `run.json` how its numbers were made. What must agree depends on what they are for:

- **Tables** (`livo-bench report`, its thresholds, page and figures): all methods under the same
  conditions. What moves last bits only, and how many images there are, may differ and is said.
- **Compare**: as in a table, for the method is to be the only difference. Prompts and images are
  matched one by one, so one side may have fewer of them.
- **Check**: what measures must agree, what is measured may change. A gate asks whether results got
  worse by a change of weights, steps or precision, so these may differ, and are said; of another
  task, other prompts or another judge no answer would be one.

A field that a side does not know (older results, pictures made elsewhere) differs from nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Literal, TypeAlias

from livo_bench.errors import NotComparable
from livo_bench.results.record import NOT_RECORDED, RunRecord

Use: TypeAlias = Literal["table", "compare", "check"]
USES: tuple[Use, ...] = ("table", "compare", "check")

UNKNOWN = ""
"""Text for a value that a missing record, or one that does not say, leaves unknown."""
DIGITS = 12
"""Digits of a digest that are said, as many as a reader needs to tell two of them apart."""
OWN_PROMPTS = "the task's own"
"""Stands for the list of a run without one of its user's."""
DEFAULTS = "all at their defaults"
"""Stands for the options of a run that asked for no others; so did runs from before there were
some."""
_DIGEST = re.compile("[0-9a-f]{40,}")


class Rule(StrEnum):
    """What a use asks of a field."""

    AGREE = "must agree"
    FINER = "looked at one by one"
    SAID = "may differ, and is said"
    FREE = "may differ"


AGREE, FINER, SAID, FREE = Rule.AGREE, Rule.FINER, Rule.SAID, Rule.FREE


@dataclass(frozen=True, slots=True)
class Condition:
    """One field of `run.json`, and what it may do to a comparison."""

    name: str
    """Name in tables and notes."""
    section: str
    field: str
    """Name within the section; empty for a field that stands alone."""
    table: Rule
    compare: Rule
    check: Rule
    why: str
    """The reason, in a sentence."""
    note: str = "different {name} ({found})"
    """What a table says where it may differ and does."""
    of_method: bool = False
    """Whether methods differ by it anyway, so that in a table it is looked at within each."""

    @property
    def place(self) -> str:
        """Section and field, as messages name them."""
        return f"{self.section} {self.field}".rstrip()

    def rule(self, use: Use) -> Rule:
        """What a use asks of the field."""
        rules = {"table": self.table, "compare": self.compare, "check": self.check}
        return rules[use]

    def value(self, record: RunRecord) -> str:
        """The value in a record as text; `UNKNOWN` where there is none."""
        found = getattr(record, self.section)
        if self.field:
            by_name = isinstance(found, Mapping)
            found = found.get(self.field) if by_name else getattr(found, self.field)
        if self.place == "prompts list" and found == "":
            return OWN_PROMPTS
        if self.section == "options" and not found:
            return DEFAULTS
        if self.section == "made_by":
            return " and ".join(sorted(found.keys() - {NOT_RECORDED}))
        return as_text(found)

    def said(self, values: Collection[str]) -> str:
        """The note on values of which there are several."""
        return self.note.format(name=self.name, found=", ".join(sorted(values)))


def as_text(value: object) -> str:
    """A recorded value for people and comparisons: the same number is the same text."""
    if value is None:
        return UNKNOWN
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, str | int | float):
        return str(value)
    if isinstance(value, Mapping):
        return json.dumps(value, sort_keys=True)
    return ", ".join(map(str, value)) or "none" if isinstance(value, Iterable) else str(value)


_BITS = "images of different {name} ({found}) differ in last bits"
_SCORES = "scores of different {name} ({found}) differ in last bits"
_SAMPLING = "Images made otherwise are other images; whether they are worse is what a gate asks."
_NAMES = "Methods go by it, so it differs between them, and results are looked up by it."
_TOLD = "It is the method's own; in a table one method's numbers of two kinds are named."

CONDITIONS = (
    Condition("model name", "model", "name", AGREE, AGREE, AGREE, "Results are of one model."),
    Condition(
        "model digest",
        "model",
        "digest",
        AGREE,
        AGREE,
        SAID,
        "Other weights are another model, whose next version a gate may judge.",
    ),
    Condition(
        "image service",
        "model",
        "service",
        AGREE,
        AGREE,
        SAID,
        "Another service is another model; which weights are behind one, nobody says.",
    ),
    Condition(
        "protocol",
        "protocol",
        "",
        AGREE,
        AGREE,
        AGREE,
        "Conventions of an evaluation decide what its numbers mean.",
    ),
    Condition("method name", "method", "name", FREE, FREE, FREE, _NAMES),
    Condition("method title", "method", "title", FREE, FREE, FREE, "It is a heading."),
    Condition("method asked", "method", "asked", FREE, FREE, FREE, "It is how a command names it."),
    *(
        Condition(f"method {field}", "method", field, SAID, FREE, SAID, _TOLD, of_method=True)
        for field in ("version", "told", "digest", "pictures")
    ),
    Condition(
        "method files",
        "method",
        "files",
        FINER,
        FINER,
        FINER,
        "The files that differ are named, of one method in a table.",
    ),
    Condition("task name", "task", "name", AGREE, AGREE, AGREE, "Results are of one task."),
    Condition(
        "task version",
        "task",
        "version",
        AGREE,
        AGREE,
        AGREE,
        "Another version asks the judges something else.",
    ),
    Condition(
        "prompts",
        "prompts",
        "list",
        AGREE,
        AGREE,
        SAID,
        "Another list has other prompts; a gate compares their texts themselves.",
    ),
    Condition(
        "prompts count",
        "prompts",
        "count",
        FREE,
        FREE,
        FREE,
        "The digest says whether they are the same; a run of one subset has fewer.",
    ),
    Condition(
        "prompts digest",
        "prompts",
        "digest",
        AGREE,
        FINER,
        FINER,
        "Of pairs, each prompt's text must agree (`text_digest` of `images.parquet`), and prompts "
        "that one side lacks are left out.",
    ),
    Condition(
        "prompts of the subset",
        "prompts",
        "subsets",
        AGREE,
        FINER,
        FINER,
        "Likewise, subset by subset, for a run may hold one of them alone.",
    ),
    Condition(
        "clusters of prompts",
        "prompts",
        "clusters",
        SAID,
        FINER,
        FINER,
        "Intervals count clusters. Of pairs, prompts are alike that are so on either side "
        "(`cluster` of `images.parquet`), and it is said where the sides differ.",
        note="different {name} ({found}), which intervals count",
    ),
    Condition(
        "images",
        "settings",
        "images",
        SAID,
        FREE,
        FREE,
        "D1, D2, IS and FID depend on how many there are; pairs are of shared images.",
    ),
    Condition(
        "seed",
        "settings",
        "seed",
        AGREE,
        AGREE,
        FINER,
        "Same noise is seen image by image (`seed` of `images.parquet`), of tables, too; a gate "
        "has a test for other noise.",
    ),
    *(
        Condition(field, "settings", field, AGREE, AGREE, SAID, _SAMPLING)
        for field in ("steps", "guidance", "sampler", "call", "dtype")
    ),
    Condition(
        "size",
        "settings",
        "size",
        AGREE,
        AGREE,
        AGREE,
        "Noise of another shape is other noise, and judges see other pixels.",
    ),
    *(
        Condition(
            field,
            "settings",
            field,
            SAID,
            SAID,
            SAID,
            "It moves last bits of images.",
            note=_BITS,
        )
        for field in ("block", "device", "switches")
    ),
    Condition(
        "options that change images",
        "options",
        "images",
        AGREE,
        AGREE,
        SAID,
        f"{_SAMPLING} Options at their defaults are left out.",
    ),
    Condition(
        "options that change how images are measured",
        "options",
        "measures",
        AGREE,
        AGREE,
        AGREE,
        "Measured otherwise, numbers mean something else. Options at their defaults are left out.",
    ),
    Condition(
        "scorers",
        "scorers",
        "",
        FINER,
        FINER,
        FINER,
        "Each number's scorer must agree (`scorer` of `aggregates.csv`), for a run may hold one "
        "subset alone.",
    ),
    Condition(
        "judges",
        "judges",
        "",
        FINER,
        FINER,
        FINER,
        "Ids of scorers hold the digests of these networks.",
    ),
    Condition(
        "repositories",
        "repositories",
        "",
        FREE,
        FREE,
        SAID,
        "The digest of the model and the scorers' ids say which files were used.",
    ),
    Condition(
        "livo-bench",
        "versions",
        "livo-bench",
        SAID,
        SAID,
        SAID,
        "A change that moves a number stands in the changelog.",
        note="numbers of different {name} ({found}) may differ as CHANGELOG.md says",
    ),
    *(
        Condition(
            package,
            "versions",
            package,
            SAID,
            SAID,
            SAID,
            "It moves last bits of images.",
            note=_BITS,
        )
        for package in ("torch", "diffusers", "transformers")
    ),
    *(
        Condition(
            package,
            "versions",
            package,
            SAID,
            SAID,
            SAID,
            "It moves last bits of scores.",
            note=_SCORES,
        )
        for package in ("open_clip_torch", "torch-fidelity")
    ),
    Condition("python", "versions", "python", FREE, FREE, SAID, "It computes no image."),
    Condition(
        "machine",
        "hardware",
        "machine",
        SAID,
        SAID,
        SAID,
        "Another processor moves last bits of images.",
        note=_BITS,
    ),
    Condition(
        "cores",
        "hardware",
        "cores",
        FREE,
        FREE,
        SAID,
        "The order of sums may follow it, by less than another machine's.",
    ),
    Condition(
        "devices and software",
        "made_by",
        "",
        SAID,
        SAID,
        SAID,
        "Each block says what made it; other devices and versions move last bits of images.",
        note=_BITS,
    ),
)
"""Every field of `run.json` but its format and seal: one that is not here fails a test."""

SEED = next(one for one in CONDITIONS if one.name == "seed")
IMAGE_SERVICE = next(one for one in CONDITIONS if one.name == "image service")
CLUSTERS = next(one for one in CONDITIONS if one.name == "clusters of prompts")
PROMPTS = next(one for one in CONDITIONS if one.name == "prompts digest")


def of(use: Use, rule: Rule) -> list[Condition]:
    """Conditions of which a use asks this."""
    return [condition for condition in CONDITIONS if condition.rule(use) is rule]


def refuse(
    records: Mapping[Path, RunRecord], conditions: Iterable[Condition], expected: str
) -> None:
    """See that records agree.

    Args:
        records: Records by file.
        conditions: The fields that must agree.
        expected: What the message ends with: a sentence, and the next command to type.

    Raises:
        NotComparable: A field differs; the message names it, its values and a file of each.
    """
    for condition in conditions:
        values = {condition.value(record): path for path, record in records.items()}
        values.pop(UNKNOWN, None)
        if len(values) > 1:
            found = ", ".join(f"{text} in {path}" for text, path in values.items())
            raise NotComparable(
                f"The results have different {condition.place}: {found}. {expected}"
            )


def notes(records: Iterable[RunRecord], use: Use) -> list[str]:
    """What is to be said of records that a use lets differ, a line each."""
    records = list(records)
    found = []
    for condition in of(use, SAID):
        values = {condition.value(record) for record in records} - {UNKNOWN}
        if len(values) > 1:
            found.append(condition.said(values))
    return found


def changes(
    before: Iterable[RunRecord], now: Iterable[RunRecord], which: Iterable[Condition]
) -> list[str]:
    """What a gate says of two sides that differ in conditions that may, a line each."""
    sides = [list(before), list(now)]
    found = []
    for condition in sorted(which, key=lambda one: one.place):
        old, new = (
            ", ".join(sorted({condition.value(record) for record in side} - {UNKNOWN}))
            for side in sides
        )
        if old and new and old != new:
            found.append(f"{condition.place}: {_short(old)}, now {_short(new)}")
    return found


def _short(text: str) -> str:
    return _DIGEST.sub(lambda digest: digest[0][:DIGITS], text)


def as_rows() -> list[dict[str, str]]:
    """The list as people read it: conditions with the same rules and reason in one row."""
    merged: dict[tuple[str, ...], list[str]] = {}
    for one in CONDITIONS:
        key = (*(one.rule(use).value for use in USES), one.why)
        field = ".".join(filter(None, (one.section, one.field)))
        merged.setdefault(key, []).append(f"`{field}`")
    return [
        {"in `run.json`": ", ".join(fields), **dict(zip((*USES, "why"), key, strict=True))}
        for key, fields in merged.items()
    ]
