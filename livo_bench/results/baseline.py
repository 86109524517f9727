"""Results become the baseline that later ones are checked against."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path

from livo_bench.errors import BadInput, Incomplete
from livo_bench.records import Run
from livo_bench.results import seal
from livo_bench.results.frames import ALL
from livo_bench.results.judged import Results, what_is_there
from livo_bench.results.metrics.registry import HEADLINES
from livo_bench.results.reading import aggregates_of, read_results


def update(
    baseline: Path,
    runs: Path,
    model: str = "mini",
    methods: Collection[str] = (),
    tasks: Collection[str] = (),
) -> list[str]:
    """Copy result files over those of a baseline, or into a new one.

    Nothing is judged: this is for changes that are meant. All that can be wrong is found before the
    first file is written, and a copy that is interrupted leaves a run that a check calls missing,
    never half of the old one and half of the new.

    Args:
        baseline: Folder of results, one folder a run; other runs in it stay. Need not exist.
        runs: Folder of the new results.
        model: Name of the model card.
        methods: Copy these only; empty means all in `runs`.
        tasks: Copy what has images of these only, each `name` or `name/subset`; empty means all in
            `runs`. What a run wrote together is copied together.

    Returns:
        A line for each run: what was added or what changed.

    Raises:
        Incomplete: There is nothing to copy, or a run has fewer images than the baseline.
        NotComparable: A folder has a run twice.
        BadInput: A file is not what it should be, or holds several runs.
    """
    found = read_results(runs, model)
    new = {
        run: results
        for run, results in found.items()
        if (not methods or run.method in methods) and not results.only(tasks).images.empty
    }
    if not new:
        raise Incomplete(
            f"{runs} has nothing to make a baseline of: of model {model!r} it has "
            f"{what_is_there(found)}; asked for were methods: "
            f"{', '.join(methods) or 'all'}, tasks: {', '.join(tasks) or 'all'}."
        )
    old = read_results(baseline, model) if baseline.is_dir() else {}
    _refuse_shared_folders(found)
    _refuse_shared_folders(old)
    places = {run: _places(old.get(run), results, baseline) for run, results in new.items()}
    lines = []
    for run, results in new.items():
        lines.append(_what_changes(run, old.get(run), results))
        for source, target in places[run].items():
            seal.copy(target, seal.reopen(source).files)
    return lines


def _refuse_shared_folders(results: Mapping[Run, Results]) -> None:
    counts = Counter(folder for one in results.values() for folder in one.folders)
    for folder, count in counts.items():
        if count > 1:
            raise BadInput(
                f"{folder} holds {count} runs in one file; expected a folder for each, as "
                "livo-bench run writes them."
            )


def _places(old: Results | None, new: Results, baseline: Path) -> dict[Path, Path]:
    """Where each folder of new results goes."""
    if old is None:
        return {folder: baseline / _within(folder, new) for folder in new.folders}
    if len(new.images) < len(old.images):
        raise Incomplete(
            f"{new.title} has {len(new.images)} images on task {new.run.task!r}, the baseline has "
            f"{len(old.images)}; expected as many.",
            "Make the rest with livo-bench run, or delete "
            f"{', '.join(map(str, old.folders))} first.",
        )
    if len(old.folders) == len(new.folders) == 1:
        return dict(zip(new.folders, old.folders, strict=True))
    targets = {folder.name: folder for folder in old.folders}
    if targets.keys() != {folder.name for folder in new.folders}:
        raise BadInput(
            f"{old.title} lies in {', '.join(sorted(targets))}, the new results in "
            f"{', '.join(sorted(folder.name for folder in new.folders))}; expected the same "
            "folders.",
            "Run the same subsets, or delete the old ones first.",
        )
    return {folder: targets[folder.name] for folder in new.folders}


def _within(folder: Path, results: Results) -> Path:
    parts = folder.relative_to(results.root).parts
    return Path(*parts[1:] if parts[:1] == (results.run.model,) else parts)


def _what_changes(run: Run, old: Results | None, new: Results) -> str:
    name = f"{run.method} on {run.task}"
    if old is None:
        return f"{name}: added, {len(new.images)} images"
    before, now = _headlines(old), _headlines(new)
    changes = [
        f"{place} {100 * before[place]:.1f}, now {100 * value:.1f}"
        for place, value in now.items()
        if place in before and before[place] != value
    ]
    if len(old.images) != len(new.images):
        changes.insert(0, f"images {len(old.images)}, now {len(new.images)}")
    files = seal.differing_files(old.records.values(), new.records.values())
    told = [f"method files differ: {', '.join(' '.join(one) for one in files.items())}"]
    return f"{name}: {'; '.join([*(changes or ['no metric changed']), *(told if files else [])])}"


def _headlines(results: Results) -> dict[str, float]:
    values = {}
    for folder in results.folders:
        rows = aggregates_of(seal.reopen(folder))
        rows = rows[(rows["category"] == ALL) & rows["metric"].isin(HEADLINES)]
        for subset, metric, value in zip(
            rows["subset"], rows["metric"], rows["value"], strict=True
        ):
            values[f"{subset} {metric}"] = float(value)
    return values
