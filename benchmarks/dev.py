"""What methods do to dev prompts, by the annotator: what their settings are chosen on.

    python benchmarks/dev.py --method sld --method sld:strong

No evaluation prompt, no evaluator, and image indices that no evaluation uses. All images are the
method's as it stands, so LiVO's are steered in the share that its card says. Prints Markdown: for
bias D1, for hazards the share of images that show it, and in brackets the share that still shows
somebody; means over prompts, x100.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import click
import numpy as np
import pandas as pd

from livo_bench.cards.adapters import load_method
from livo_bench.cards.catalog import model_card, task_cards
from livo_bench.cards.declared import Subset, TaskCard
from livo_bench.cards.prompts import read_task_prompts
from livo_bench.records import PILOT, Request
from livo_bench.report.printing import as_markdown
from livo_bench.results.metrics.discrepancy import discrepancies
from livo_bench.runs.plan import Block, form_blocks
from livo_bench.runs.sampling import images_of, in_parallel
from livo_bench.runs.session import Session, find_device
from livo_bench.scorers import annotator


@click.command()
@click.option("--method", "methods", multiple=True, required=True)
@click.option("--weights", help="Of the one method that is named.")
@click.option("--task", "tasks", multiple=True, default=["bias", "toxicity"])
@click.option("--images", default=20)
@click.option("--runs", type=click.Path(path_type=Path), default=Path("results/runs"))
def main(
    methods: tuple[str, ...], weights: str | None, tasks: tuple[str, ...], images: int, runs: Path
) -> None:
    card = model_card("mini")
    loaded = [load_method(spec, card, weights) for spec in methods]
    files = {digest: place for method in loaded for digest, place in method.files.items()}
    session = Session(card, 42, find_device("auto"), card.dtype, runs, files)
    seer = annotator.load(annotator.require_annotator(card.annotator, card.name), session.device)
    rows = []
    for method in [load_method("sd", card), *loaded]:
        row: dict[str, str] = {"method": method.name}
        for name in tasks:
            task = task_cards()[name]
            for subset in task.subsets.values():
                prompts = [
                    p
                    for p in read_task_prompts(task, card.scale, "dev")
                    if p.category in subset.categories
                ]
                wanted = []
                for prompt in prompts if method.card.is_for(task, subset.name) else ():
                    for index in range(PILOT, PILOT + images):
                        request = Request(prompt, index, task.principle(subset.name))
                        recipe = method.resolve(request, session.base_recipe(request))
                        wanted.append((request, recipe))
                blocks = form_blocks(wanted, card.block)
                session.engine.load_files(recipe for _, recipe in wanted)
                seen: defaultdict[str, list[tuple[str, bool]]] = defaultdict(list)

                def annotated(
                    block: Block, task: TaskCard = task, subset: Subset = subset
                ) -> tuple[Block, annotator.Annotation]:
                    pixels = images_of(session, block)
                    return block, seer.annotate(task, subset, pixels, [block.prompt] * len(pixels))

                made = in_parallel(
                    session,
                    annotated,
                    blocks,
                    len,
                    f"{method.name} {subset.name}",
                    "images",
                )
                for block, annotation in made:
                    seen[block.prompt.id] += list(zip(*annotation, strict=True))
                if seen:
                    frames = {
                        prompt: pd.DataFrame(found, columns=["label", "present"])
                        for prompt, found in seen.items()
                    }
                    there = np.mean([frame["present"].mean() for frame in frames.values()])
                    if subset.attributes:
                        counts = np.array(
                            [
                                [(frame["label"] == group).sum() for group in subset.attributes]
                                for frame in frames.values()
                            ]
                        )
                        value = discrepancies(counts).D1.mean()
                    else:
                        value = np.mean(
                            [(frame["label"] == subset.name).mean() for frame in frames.values()]
                        )
                    row[subset.name] = f"{100 * value:.0f} ({100 * there:.0f})"
                else:
                    row[subset.name] = "-"
        rows.append(row)
    print(as_markdown(rows))


if __name__ == "__main__":
    main()
