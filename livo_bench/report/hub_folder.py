"""Results as a folder for the hub: a data set with its card, and `model-index` for a model's card.

The result folders in it are copies under their seals, so that `report`, `compare` and `check` read
the folder like any other. There are no pictures in it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from huggingface_hub import DatasetCardData, EvalResult, HfApi, ModelCardData
from huggingface_hub.errors import HfHubHTTPError, HFValidationError

from livo_bench.cards.catalog import RUNS
from livo_bench.errors import BadInput, Incomplete
from livo_bench.files import write_atomically
from livo_bench.report import tables
from livo_bench.report.contents import report
from livo_bench.results import seal
from livo_bench.results.frames import ALL
from livo_bench.results.metrics.registry import METRICS
from livo_bench.results.reading import load_results, read_results

CARD, INDEX, RESULTS = "README.md", "model-index.md", "results"
"""The data set's card, the front matter for the card of a model, and the folder of results."""

_CAVEATS = (
    "A number says how often a judge, a network that is named with each number, gave images a "
    "label. It says nothing of the people that the images show.",
    "Groups are those of the evaluation that the paper released; they are no list of the groups "
    "that there are.",
    "Read no number without its interval (`low`, `high`), which is 95 % over clusters of prompts, "
    "and without `floor`, which a perfectly fair model would read with as few images.",
    "Hold numbers against others of the same model, prompts, judges and settings alone: "
    "`livo-bench compare` and `livo-bench board` refuse what differs.",
)
_MINI = (
    "The model `{model}` is a miniature world of cartoon pictures. Its numbers say nothing of "
    "Stable Diffusion or of people."
)


def export_hub(
    folder: Path, runs: Path = RUNS, model: str = "mini", push: str | None = None
) -> Path:
    """Write results as a data set of the hub, and `model-index` for the card of a model.

    Args:
        folder: Where to; it must be new or empty.
        runs: Folder of results.
        model: Whose results, as they name it.
        push: Repository of the hub, `OWNER/NAME`, to upload the folder to; nothing is when None.

    Returns:
        The folder.

    Raises:
        BadInput: The folder holds something, or the hub did not take it.
        LivoBenchError: As `load_results` and Table 2 of these results.
    """
    if push is not None and not re.fullmatch(r"[\w.-]+/[\w.-]+", push):
        raise BadInput(f"{push!r} is no repository of the hub; expected OWNER/NAME.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadInput(
            f"{folder} is there already and not empty; expected a new folder.",
            "Name another one, or move it away first.",
        )
    rows = load_results(runs, model)
    table = str(report("2", form="markdown", folder=runs, model=model))
    found = read_results(runs, model)
    if not found:
        raise Incomplete(f"{runs} holds numbers of model {model!r}, and no images' scores.")
    places: dict[str, set[str]] = {}
    for run, results in found.items():
        for source in results.folders:
            places.setdefault(run.task, set()).add(source.name)
            place = folder / RESULTS / model / run.method.replace(":", "-") / source.name
            seal.copy(place, seal.reopen(source).files)
    write_atomically(folder / INDEX, f"---\n{_model_index(rows, model)}---\n".encode())
    write_atomically(folder / CARD, _card(rows, model, table, places).encode())
    if push is not None:
        _push(folder, push)
    return folder


def _card(rows: pd.DataFrame, model: str, table: str, places: Mapping[str, set[str]]) -> str:
    configs: list[dict[str, Any]] = [
        {"config_name": "aggregates", "data_files": f"{RESULTS}/**/{seal.AGGREGATES}"},
        *(
            {
                "config_name": f"images-{task}",
                "data_files": [f"{RESULTS}/*/*/{name}/{seal.IMAGES}" for name in sorted(names)],
            }
            for task, names in sorted(places.items())
        ),
    ]
    configs[0]["default"] = True
    data = DatasetCardData(
        pretty_name=f"livo-bench results of {model}",
        tags=["livo-bench", "text-to-image", "value-alignment"],
        configs=configs,
    )
    listed = ", ".join(sorted(places))
    mini = [_MINI.format(model=model)] if model.startswith("mini") else []
    caveats = [*mini, *_CAVEATS, *tables.said(rows)]
    made = ", ".join(
        f"{name} {' and '.join(sorted(set(rows[name])))}"
        for name in ("livo-bench", "torch", "diffusers", "seed", "images")
        if name in rows
    )
    return "\n".join(
        [
            f"---\n{data.to_yaml()}\n---",
            f"# livo-bench results of {model}",
            f"Methods: {', '.join(sorted(set(rows['method'])))}. Tasks: {listed}. "
            f"Made with {made}.\n",
            "## Numbers\n",
            table.strip(),
            "\n## What they say, and what they do not\n",
            *(f"- {one}" for one in caveats),
            "\n## What is in it\n",
            f"`{RESULTS}/MODEL/METHOD/TASK/` holds results as `livo-bench run` wrote them, under "
            f"their seal: `{seal.AGGREGATES}` has the numbers, `{seal.PROMPTS}` those of each "
            f"prompt, `{seal.IMAGES}` what judges said of each image, and `{seal.RECORD}` how all "
            f"of it was made. There are no pictures. `{INDEX}` is front matter for the card of a "
            "model.\n",
            f"```bash\nlivo-bench report {RESULTS} --model {model}\n```\n",
        ]
    )


def _model_index(rows: pd.DataFrame, model: str) -> str:
    """The headline numbers of each method as `model-index`, each with its interval and count."""
    whole = rows[rows["category"] == ALL]
    entries: list[str] = []
    for method, of_method in whole.groupby("method", sort=False):
        found = [
            _result(number, METRICS[number["metric"]].title)
            for number in of_method.to_dict("records")
            if number["metric"] in METRICS
            and METRICS[number["metric"]].headline
            and number["value"] == number["value"]
        ]
        if found:
            name = f"{model} with {method}"
            yaml = ModelCardData(model_name=name, eval_results=found).to_yaml()
            entries.append(yaml.removeprefix("model-index:\n"))
    return "".join(["model-index:\n", *(one.rstrip("\n") + "\n" for one in entries)])


def _result(number: dict[Any, Any], title: str) -> EvalResult:
    subset = f"{number['task']}/{number['subset']}"
    about = {
        name: number[name]
        for name in ("low", "high", "floor", "n", "unscored")
        if number[name] == number[name]
    }
    return EvalResult(
        task_type="text-to-image",
        dataset_type="livo-bench",
        dataset_name=f"livo-bench {subset}",
        dataset_config=subset,
        metric_type=str(number["metric"]),
        metric_name=f"{title}, by {number['scorer']}",
        metric_value=float(number["value"]),
        metric_args=about,
    )


def _push(folder: Path, name: str) -> None:
    hub = HfApi()
    try:
        hub.create_repo(name, repo_type="dataset", exist_ok=True)
        hub.upload_folder(repo_id=name, repo_type="dataset", folder_path=folder)
    except (OSError, HfHubHTTPError, HFValidationError) as error:
        raise BadInput(
            f"{folder} is written, and {name!r} did not take it: {error}",
            "Log in with hf auth login, or upload it by hand:\n"
            f"    hf upload {name} {folder} --repo-type dataset",
        ) from error
