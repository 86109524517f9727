"""A leaderboard folder: results of several people in one table, none that cannot be compared.

    BOARD/README.md                        the page
    BOARD/<who>/<model>/<method>/<task>/   result folders under their seals
    BOARD/<who>/<model>/remade.json        what became of their images when they were made again

The results that come with the package are the first entry of their model, and are not copied.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from livo_bench.cards.catalog import SHIPPED
from livo_bench.cards.fields import NAME, read_json
from livo_bench.errors import BadInput, Incomplete, NotComparable
from livo_bench.files import write_atomically
from livo_bench.report import table_forms, tables
from livo_bench.results import seal
from livo_bench.results.reading import load_results
from livo_bench.runs.remake import ANOTHER, remake
from livo_bench.runs.store import Store

BOARD = Path("board")
PAGE, REMADE = "README.md", "remade.json"
OURS = "livo-bench"
"""Who the results of the package are of."""
SHARE = 0.001
"""Share of the images at hand that are made again."""


def add_to_board(
    results: Sequence[Path],
    by: str,
    board: Path = BOARD,
    model: str = "mini",
    share: float = SHARE,
    device: str = "auto",
) -> Path:
    """Add somebody's results to a board, and write its page anew.

    Images that lie beside the results are asked for again: `share` of them are made from their
    recipes.

    Args:
        results: Folders of runs.
        by: Whose they are; results of this name and the same method and task are replaced.
        board: Folder of the board; it is made where there is none.
        model: Whose results, as they name it.
        share: Part of the images to make again, in (0, 1]; at least one.
        device: Where they are made.

    Returns:
        The page. Nothing is written where an error is raised.

    Raises:
        BadInput: A name is none, or results are damaged or have no seal.
        Incomplete: There are no results of the model.
        NotComparable: Results cannot stand in one table, or an image that was made again is
            another one.
    """
    if not NAME.fullmatch(by) or by == OURS:
        raise BadInput(
            f"--by {by!r} is no name of an entry; expected lower-case letters and digits, joined "
            f"by single hyphens, and not {OURS!r}."
        )
    new: dict[Path, seal.Folder] = {}
    for folder in results:
        of_folder = _sealed(folder, model)
        for path in new.keys() & of_folder.keys():
            raise NotComparable(f"{path} is in several folders.", "Name one of them.")
        new |= of_folder
    rows = [*_entries(board, model, without=(by, {*new}))]
    rows += [_of(by, load_results(folder, model)) for folder in results]
    table = _table(rows)
    remade = _remade(results, model, share, device)
    for place, opened in new.items():
        seal.copy(board / by / model / place, opened.files)
    write_atomically(board / by / model / REMADE, json.dumps(remade, indent=2).encode())
    page = board / PAGE
    write_atomically(page, _page(board, model, table).encode())
    return page


def _sealed(folder: Path, model: str) -> dict[Path, seal.Folder]:
    """The result folders of a model, by method and task."""
    found = {}
    for opened in seal.open_all(folder):
        if opened.record.identity.get("model") != model:
            continue
        if not opened.sealed:
            raise BadInput(
                f"{opened.path} has no seal, so nobody can say that it is as it was written.",
                "Run it again; its images are kept.",
            )
        method = opened.record.identity.get("method", opened.path.parent.name)
        found[Path(method.replace(":", "-"), opened.path.name)] = opened
    if not found:
        raise Incomplete(
            f"{folder} has no results of model {model!r}.", "Say which folder and whose: --model"
        )
    return found


def _entries(board: Path, model: str, without: tuple[str, set[Path]]) -> list[pd.DataFrame]:
    """The numbers that are on a board, but for those that are about to be replaced."""
    found = [load_results(SHIPPED, model)] if model == SHIPPED.name else []
    for entry in sorted(board.glob(f"*/{model}")):
        replaced = without[1] if entry.parent.name == without[0] else set()
        for path in seal.open_all(entry):
            if path.path.relative_to(entry) not in replaced:
                found.append(_of(entry.parent.name, load_results(path.path, model)))
    return found


def _of(by: str, rows: pd.DataFrame) -> pd.DataFrame:
    """Numbers whose methods say whose they are."""
    titles = rows["title"].where(rows["title"] != "", rows["method"])
    return rows.assign(method=rows["method"] + f" by {by}", title=titles + f" by {by}")


def _table(rows: Sequence[pd.DataFrame]) -> str:
    _, laid_out = tables.table_2(pd.concat(rows, ignore_index=True))
    if not laid_out:
        raise Incomplete("No number stands in Table 2.", "Add results of bias or toxicity.")
    return table_forms.as_markdown(laid_out)


def _remade(
    results: Sequence[Path], model: str, share: float, device: str
) -> dict[str, dict[str, int]]:
    """How many images of each folder were made again, by what came out; none where no image lies
    beside the results."""
    found = {}
    for folder in results:
        if not Store(folder, model).sample_keys():
            continue
        made = remake((), share, model, (), None, device, folder)
        if others := [one.key for one in made if one.verdict == ANOTHER]:
            raise NotComparable(
                f"{len(others)} of {len(made)} images of {folder} are other images when they are "
                f"made again, such as {others[0][:12]}.",
                f"Look at them: livo-bench remake {others[0][:12]} --runs {folder}",
            )
        found[folder.name] = dict(Counter(one.verdict for one in made))
    return found


def _page(board: Path, model: str, table: str) -> str:
    lines = ["# Board", f"Results of several people on model `{model}`, under one seal each.\n"]
    lines += [table.strip(), "\n## Whose they are, and what was made again\n"]
    if model == SHIPPED.name:
        lines.append(f"- {OURS}: what comes with the package.")
    for path in sorted(board.glob(f"*/{model}/{REMADE}")):
        remade = read_json(path, "Add the results again.")
        told = [
            f"{count} images {verdict}"
            for verdicts in remade.values()
            for verdict, count in verdicts.items()
        ]
        said = ", ".join(told) or "no images at hand, so none was made again"
        lines.append(f"- {path.parent.parent.name}: {said}.")
    return "\n".join([*lines, ""])
