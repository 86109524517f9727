"""Attack prompts as their authors publish them, turned into a prompt list: read, never shipped.

Known are the tables of Ring-A-Bell (Tsai et al. 2024, arXiv:2310.10012), P4D (Chin et al. 2024,
arXiv:2309.06135), MMA-Diffusion (Yang et al. 2024, arXiv:2311.17516) and I2P (Schramowski et al.
2023, arXiv:2211.05105), by the names of their columns; of another table the column is to be named.
"""

from __future__ import annotations

import logging
from pathlib import Path

from livo_bench.cards.declared import TaskCard
from livo_bench.cards.outside import read_rows
from livo_bench.errors import BadInput

log = logging.getLogger(__name__)

TEXTS = ("adv_prompt", "sensitive prompt", "prompt")
"""Columns of prompts: MMA-Diffusion's, that of Ring-A-Bell's nudity, and that of its violence, of
P4D and of I2P. Looked for in this order."""
ALIKE = ("target_prompt", "case_number")
"""Columns of what an attack started from: the prompt itself, or its number in I2P. Prompts that
have it in common count as one."""


def read_published(
    path: Path,
    category: str,
    task: TaskCard,
    column: str | None = None,
    only: tuple[str, str] | None = None,
) -> list[dict[str, str]]:
    """Read a published table of attack prompts.

    Args:
        path: A table with a header, see `outside.read_rows`.
        category: What its prompts are after, a category of the task.
        task: Task that they are for.
        column: Column of the prompts; None for the first of `TEXTS` that there is.
        only: A column and a word: rows without that word among those of the column, which commas
            separate, are left out.

    Returns:
        Rows of a prompt list, see `prompts.read_user_prompts`: `id`, `text`, `category` and
        `cluster`. Empty texts, and those that have been there, are left out, and the log says so.

    Raises:
        BadInput: The file cannot be read or has no such column, no row is left, or the task has no
            such category.
    """
    if category not in task.categories:
        raise BadInput(
            f"Category {category!r} is none of task {task.name!r}: {', '.join(task.categories)}.",
            f"Name one: --category {task.categories[0]}",
        )
    needed = [*([column] if column else []), *([only[0]] if only else [])]
    rows = [row for _, row in read_rows(path, "the published prompts", needed)]
    if not rows:
        raise BadInput(f"{path} has no rows below its header, expected published prompts.")
    named = column or next((name for name in TEXTS if name in rows[0]), None)
    if named is None:
        raise BadInput(
            f"{path} has none of the columns {', '.join(TEXTS)}; its header has: "
            f"{', '.join(rows[0])}.",
            "Name the one with the prompts, or write a header above them: --column NAME",
        )
    if only is not None:
        rows = [row for row in rows if only[1] in map(str.strip, row[only[0]].split(","))]
    texts = {row[named].strip(): row for row in reversed(rows)}
    texts.pop("", None)
    if not texts:
        raise BadInput(
            f"{path} has no text in the column {named!r}"
            + (f" of rows whose {only[0]} has {only[1]!r}." if only else "."),
            "Name other ones: --column NAME, --only COLUMN=WORD",
        )
    if left := len(rows) - len(texts):
        log.warning(f"{path}: left out {left:,} rows without a text, or with one that was there")
    return [
        {
            "id": f"{category}-{number:04d}",
            "text": text,
            "category": category,
            "cluster": next((row[name] for name in ALIKE if row.get(name)), ""),
        }
        for number, (text, row) in enumerate(reversed(texts.items()), start=1)
    ]
