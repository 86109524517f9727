"""The page on which people say what images show: one file to open from disk, pictures and all.

It holds no name of a method and nothing that a judge said. Its style and script stand in it and are
named by their digests in its content security policy, which allows nothing else and no network. All
texts are data: the script puts them in place as texts, so that none is markup.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jinja2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from livo_bench.cards.catalog import AUDIT, RUNS, model_cards, results_of, run_options
from livo_bench.errors import BadInput, Incomplete
from livo_bench.escaping import visible
from livo_bench.files import write_atomically
from livo_bench.results.compare import require_only_method_differs
from livo_bench.results.judged import Results
from livo_bench.results.raters import drawn
from livo_bench.results.raters.asked import choose, is_asked
from livo_bench.results.raters.drawn import Draw
from livo_bench.results.raters.ratings import FORMAT
from livo_bench.results.reading import read_results
from livo_bench.runs import keeping
from livo_bench.runs.store import Store

PAGE = "page.html"
SIDE = 512
"""Larger pictures are reduced to so many pixels."""
SMALL = 128
"""Up to so many pixels a picture is kept as it is, and shown with its pixels to be seen."""
_FILES = Path(__file__).parent / "page"


class Drawn(NamedTuple):
    """What was drawn."""

    page: Path
    rows: list[dict[str, object]]
    """How many questions of each kind, and of how many images they were drawn."""


def draw_audit(
    folder: Path = AUDIT,
    runs: Path = RUNS,
    model: str = "mini",
    methods: Sequence[str] = (),
    tasks: Sequence[str] = (),
    labels: int = drawn.LABELS,
    fits: int = drawn.FITTING,
    pairs: int = drawn.PAIRS,
    baseline: str = "sd",
    seed: int = 0,
) -> Drawn:
    """Draw images of runs for people to label, and write the page that asks them.

    The same results and seed give the same files, byte for byte.

    Args:
        folder: Folder to write `page.html`, which raters get, and `draw.json`, which they do not.
        runs: Folder of runs; their images lie in its store.
        model: Model, as results name it.
        methods: Names of methods; all with results by default.
        tasks: Tasks, `name` or `name/subset`; all of bias and toxicity and those like them by
            default.
        labels: Images to label, see `raters.stratified`.
        fits: Images to ask of whether they show their prompt.
        pairs: Pairs of which to ask which is better.
        baseline: Method that pairs hold the others against.
        seed: Seed of all choices.

    Raises:
        Incomplete: There are no such results, or their images are not stored here.
        NotComparable: Results were made under different conditions.
        BadInput: A number is too small, a method is unknown, or the folder holds another draw.
    """
    sides = _select(runs, model, methods, tasks)
    store = Store(runs, results_of(model)[0])

    def text_of(question: str, prompt: str, key: str) -> str:
        recipe = store.read_recipes([key]).get(key)
        return "" if recipe is None else visible(recipe.text)

    draw = choose(sides, model, labels, fits, pairs, baseline, seed, text_of)
    _refuse_other_draw(folder, draw)
    keys = sorted({key for item in draw.items for key in item.keys})
    pixels = store.read_samples(keys)
    if unkept := store.unkept(set(keys) - pixels.keys()):
        raise Incomplete(
            f"{len(unkept)} of the {len(keys)} images that were drawn were made, and their pixels "
            f"not kept in {store.folder}.",
            keeping.AGAIN,
        )
    if lost := len(keys) - len(pixels):
        raise Incomplete(
            f"{lost} of the {len(keys)} images that were drawn are not in {store.folder}; results "
            "that were committed or copied come without them.",
            f"Make them on this machine with\n    livo-bench run --method all --task all "
            f"{run_options(model)}",
        )
    card = model_cards().get(results_of(model)[0])
    cartoons = card is not None and card.scale == "mini"
    write_atomically(folder / drawn.FILE, draw.as_json(), "--out DIR")
    page = folder / PAGE
    write_atomically(page, _render(draw, pixels, cartoons).encode(), "--out DIR")
    return Drawn(page, _rows(draw))


def _select(runs: Path, model: str, methods: Sequence[str], tasks: Sequence[str]) -> list[Results]:
    found = read_results(runs, model).values()
    if unknown := sorted({*methods} - {side.run.method for side in found}):
        raise BadInput(
            f"There are no results of {', '.join(unknown)} in {runs}; there are some of "
            f"{', '.join(sorted({side.run.method for side in found})) or 'no method'}.",
            "Run it first: livo-bench run --method NAME --task all",
        )
    named = [side.only(tasks) for side in found if not methods or side.run.method in methods]
    sides = [side for side in named if len(side.images) and is_asked(side)]
    if not sides:
        raise Incomplete(
            f"{runs} has no judged images of model {model!r} of a task like bias or toxicity"
            f"{f' out of {chr(44).join(tasks)}' if tasks else ''}.",
            f"Make some with\n    livo-bench run --method sd --task bias {run_options(model)}",
        )
    for task in sorted({side.run.task for side in sides}):
        require_only_method_differs([side for side in sides if side.run.task == task])
    return sorted(sides, key=lambda side: (side.run.task, side.run.method))


def _refuse_other_draw(folder: Path, draw: Draw) -> None:
    if (folder / drawn.FILE).exists() and drawn.read(folder).digest != draw.digest:
        raise BadInput(
            f"{folder} holds another draw, and ratings of it could not be read any more.",
            "Name another folder: --out DIR",
        )


def _rows(draw: Draw) -> list[dict[str, object]]:
    asked = Counter(item.question for item in draw.items)
    return [
        {
            "question": question.id,
            "asked": asked[question.id],
            "of images": sum(one.images for one in draw.strata if one.question == question.id)
            or "-",
            "strata": sum(one.question == question.id for one in draw.strata) or "-",
            "judge": question.judge or "-",
        }
        for question in draw.questions
    ]


def _render(draw: Draw, pixels: Mapping[str, NDArray[np.uint8]], cartoons: bool) -> str:
    style, script = (
        (_FILES / name).read_text(encoding="utf-8") for name in ("audit.css", "audit.js")
    )
    place = {key: number for number, key in enumerate(pixels)}
    data = {
        "format": FORMAT,
        "draw": draw.digest,
        "questions": {
            one.id: {"kind": one.kind, "text": visible(one.text), "choices": one.choices}
            for one in draw.questions
        },
        "items": [
            {
                "id": item.id,
                "question": item.question,
                "pictures": [place[key] for key in item.keys],
                "text": item.text,
            }
            for item in draw.items
        ],
        "pictures": [_address(picture) for picture in pixels.values()],
        "small": [len(picture) <= SMALL for picture in pixels.values()],
    }
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FILES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("audit.html.jinja").render(
        style=_ours(style),
        script=_ours(script),
        style_digest=_digest(style),
        script_digest=_digest(script),
        # Data end where a tag would begin, so none does.
        data=_ours(json.dumps(data).replace("<", r"\u003c")),
        questions=len(draw.items),
        cartoons=cartoons,
    )


def _ours(text: str) -> jinja2.utils.markupsafe.Markup:
    """What stands in the page as it is: our own style and script, and data without a tag."""
    return jinja2.utils.markupsafe.Markup(text)


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _address(picture: NDArray[np.uint8]) -> str:
    """A picture as an address of its own, in WebP; small ones lose nothing."""
    small = len(picture) <= SMALL
    image = Image.fromarray(picture)
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "webp", lossless=small, quality=92)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"
