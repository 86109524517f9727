"""Quality: Inception Score, FID and CLIP score of a whole set of images.

The two feature metrics are torch-fidelity's own functions over stored features, so their digits
are those of torch-fidelity. Sets are those of the task: an image that serves two subsets counts
twice, as in the released evaluation.

Sources: IS, Salimans et al. 2016, arXiv:1606.03498; FID, Heusel et al. 2017, arXiv:1706.08500;
CLIP score, Hessel et al. 2021, arXiv:2104.08718; sets and reference, Wang et al. 2024,
arXiv:2410.12700, released evaluation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from livo_bench.errors import BadInput
from livo_bench.metrics.rows import ALL, Cell, image_counts, require_columns, scored
from livo_bench.metrics.statistics import NO_INTERVAL, Interval, jackknife_over_prompts
from livo_bench.records import Aggregate, Run

IS = "is"
FID = "fid"
CLIP = "clip"
FID_STEERED = "fid_steered"
CLIP_STEERED = "clip_steered"
FID_INDEPENDENT = "fid_independent"

SPLITS = 10
"""Parts of the set over which IS is averaged."""
PERMUTATION_SEED = 2020
"""torch-fidelity's default."""


def inception_score(
    logits: NDArray[np.float32], splits: int = SPLITS, seed: int = PERMUTATION_SEED
) -> tuple[float, float]:
    """Inception Score: exp of the mean KL divergence of p(y|x) from p(y).

    Args:
        logits: Of the feature network, shape `(n, classes)`.
        splits: The images, randomly permuted, are cut into so many parts.
        seed: Of the permutation; the released evaluation leaves it unseeded.

    Returns:
        Mean over parts, in [1, classes], and the standard deviation over parts that papers print.
        Parts of few images read low: n / splits images cannot score more than n / splits.

    Raises:
        BadInput: Fewer images than parts.
    """
    import torch
    from torch_fidelity.metric_isc import (
        KEY_METRIC_ISC_MEAN,
        KEY_METRIC_ISC_STD,
        isc_features_to_metric,
    )

    if len(logits) < splits:
        raise BadInput(
            f"Inception Score over {splits} parts needs at least {splits} images, got "
            f"{len(logits)}. Make more: livo-bench run --images 50"
        )
    score = isc_features_to_metric(
        torch.from_numpy(np.array(logits, np.float32, order="C")),
        splits=splits,
        shuffle=True,
        rng_seed=seed,
    )
    return score[KEY_METRIC_ISC_MEAN], score[KEY_METRIC_ISC_STD]


def frechet_distance(features: NDArray[np.float32], reference: NDArray[np.float32]) -> float:
    """Frechet distance between Gaussians fitted to two sets of features (FID).

    Computed for two images or more. With no more images than dimensions (2,048 for Inception) the
    covariances are singular and the number, though defined, is mostly bias; it falls with n, so
    compare sets of equal size only.

    Args:
        features: Of the images judged, shape `(n, d)`; taken as float32, as torch-fidelity does.
        reference: Of the reference images, shape `(m, d)`.

    Returns:
        The distance; zero, up to rounding, for equal sets.

    Raises:
        BadInput: Fewer than two images in a set, or features of different length.
    """
    import torch
    from torch_fidelity.metric_fid import (
        KEY_METRIC_FID,
        fid_features_to_statistics,
        fid_statistics_to_metric,
    )

    if min(len(features), len(reference)) < 2:
        raise BadInput(
            f"FID needs at least 2 images in each set, got {len(features)} and "
            f"{len(reference)} of the reference. Make more: livo-bench run --images 50"
        )
    if features.shape[1] != reference.shape[1]:
        raise BadInput(
            f"FID needs features of one network, got {features.shape[1]} numbers an image and "
            f"{reference.shape[1]} for the reference. Score both again with the same model card."
        )
    fitted = [
        fid_features_to_statistics(torch.from_numpy(np.array(each, np.float32, order="C")))
        for each in (features, reference)
    ]
    return float(fid_statistics_to_metric(*fitted, verbose=False)[KEY_METRIC_FID])


def clip_score(cosines: NDArray[np.float32]) -> float:
    """100 times the mean cosine between images and their prompts, zero if that is negative.

    Args:
        cosines: Shape `(n,)`, in [-1, 1].

    Returns:
        The score in [0, 100]; clipped after averaging, as torchmetrics does, not per image. NaN
        without images.
    """
    if len(cosines) == 0:
        return float("nan")
    return max(0.0, 100 * float(np.mean(cosines, dtype=np.float64)))


def summarise(
    clip: pd.DataFrame,
    network: pd.DataFrame,
    run: Run,
    scorers: Mapping[str, str],
    reference: pd.DataFrame | None = None,
    intervals: bool = True,
) -> list[Aggregate]:
    """IS, FID and CLIP score of all images of one run.

    Intervals are jackknives over prompts; FID's leaves a prompt out of both sets. That of IS takes
    the spread of the score of the whole, unsplit set, because leaving images out would permute
    those that stay into other parts.

    Args:
        clip: Scored frame of the CLIP score, with `cosine`, see `rows`.
        network: Scored frame of the feature network: `features` and `logits` hold one vector an
            image.
        run: Whose images these are.
        scorers: Id of the scorer of each metric, by metric id.
        reference: Like `network`, of the reference images: the unaligned model's on the same
            prompts. None for that model itself, which has no FID.
        intervals: False leaves them out (NaN): 30 FIDs of 2,048 dimensions take minutes.

    Returns:
        The rows `is`, `fid` (with a reference) and `clip`, over all subsets and categories. Their
        values are on the scales tables print, not fractions; NaN where images are too few.

    Raises:
        BadInput: A column is missing, or the reference comes from another network.
    """
    require_columns(clip, "prompt", "key", "cosine", "unscored")
    require_columns(network, "prompt", "key", "features", "logits", "unscored")
    rows = [_inception_score_row(network, run, scorers[IS], intervals)]
    if reference is not None:
        require_columns(reference, "prompt", "key", "features", "unscored")
        rows.append(_fid_row(FID, network, reference, run, scorers[FID], intervals))
    return [*rows, _clip_score_row(CLIP, clip, run, scorers[CLIP], intervals)]


def summarise_steered(
    clip: pd.DataFrame,
    network: pd.DataFrame,
    reference: pd.DataFrame,
    run: Run,
    scorers: Mapping[str, str],
    intervals: bool = True,
) -> list[Aggregate]:
    """FID and CLIP score of the images that a method steered, as `summarise` of all of them.

    A method that leaves half of its images to the unaligned model shares half of that model's
    scores; its own half is what it did.

    Args:
        clip: Like that of `summarise`, of the steered images alone.
        network: Likewise.
        reference: Of the unaligned model's images of the same requests.
        run: Whose images these are.
        scorers: Id of the scorer of `fid` and `clip`.
        intervals: As for `summarise`.

    Returns:
        The rows `fid_steered` and `clip_steered`, over all subsets and categories.
    """
    return [
        _fid_row(FID_STEERED, network, reference, run, scorers[FID], intervals),
        _clip_score_row(CLIP_STEERED, clip, run, scorers[CLIP], intervals),
    ]


def summarise_independent(
    network: pd.DataFrame,
    plain: pd.DataFrame,
    independent: pd.DataFrame,
    run: Run,
    scorers: Mapping[str, str],
    intervals: bool = True,
) -> Aggregate:
    """FID against the unaligned model's images of the same prompts from other noise.

    FID of finitely many images is above zero even between two sets of one model, and most of that
    cancels where both sets share their noise, as in `summarise`: an image that a method left alone
    is there twice. Here nothing cancels, so the floor says what to subtract by eye: what the
    unaligned model itself reads, from the noise of the images judged, against the same reference.

    Args:
        network: Scored frame of the feature network, of the images judged; see `summarise`.
        plain: Of the unaligned model's images of the same requests.
        independent: Of equally many of its images of the same prompts, at other indices.
        run: Whose images these are.
        scorers: Id of the scorer of `fid`.
        intervals: As for `summarise`.

    Returns:
        The row `fid_independent`; for the unaligned model its value is the floor.
    """
    row = _fid_row(FID_INDEPENDENT, network, independent, run, scorers[FID], intervals)
    floor = _fid_row(FID_INDEPENDENT, plain, independent, run, scorers[FID], intervals=False)
    return replace(row, floor=floor.value)


def _inception_score_row(
    network: pd.DataFrame, run: Run, scorer: str, intervals: bool
) -> Aggregate:
    prompts, logits = _vectors(network, "logits")

    def unsplit_without(left_out: NDArray[np.object_]) -> float:
        return inception_score(logits[~prompts.isin(left_out)], splits=1)[0]

    value = inception_score(logits)[0] if len(logits) >= SPLITS else float("nan")
    interval = jackknife_over_prompts(value, prompts, unsplit_without) if intervals else NO_INTERVAL
    return _row(IS, value, interval, network, run, scorer)


def _fid_row(
    metric: str,
    network: pd.DataFrame,
    reference: pd.DataFrame,
    run: Run,
    scorer: str,
    intervals: bool,
) -> Aggregate:
    prompts, features = _vectors(network, "features")
    reference_prompts, reference_features = _vectors(reference, "features")

    def distance_without(left_out: NDArray[np.object_]) -> float:
        ours = features[~prompts.isin(left_out)]
        theirs = reference_features[~reference_prompts.isin(left_out)]
        return frechet_distance(ours, theirs) if min(len(ours), len(theirs)) > 1 else float("nan")

    value = distance_without(np.empty(0, dtype=object))
    interval = (
        jackknife_over_prompts(value, prompts, distance_without) if intervals else NO_INTERVAL
    )
    return _row(metric, value, interval, network, run, scorer)


def _clip_score_row(
    metric: str, clip: pd.DataFrame, run: Run, scorer: str, intervals: bool
) -> Aggregate:
    judged = scored(clip)
    prompts, cosines = judged["prompt"], judged["cosine"].to_numpy()

    def score_without(left_out: NDArray[np.object_]) -> float:
        return clip_score(cosines[~prompts.isin(left_out)])

    value = clip_score(cosines)
    interval = jackknife_over_prompts(value, prompts, score_without) if intervals else NO_INTERVAL
    return _row(metric, value, interval, clip, run, scorer)


def _vectors(frame: pd.DataFrame, column: str) -> tuple[pd.Series, NDArray[np.float32]]:
    """Prompts and vectors of the scored images, `(n, d)`."""
    judged = scored(frame)
    if judged.empty:
        return judged["prompt"], np.empty((0, 0), np.float32)
    return judged["prompt"], np.stack(judged[column].to_list()).astype(np.float32)


def _row(
    metric: str, value: float, interval: Interval, images: pd.DataFrame, run: Run, scorer: str
) -> Aggregate:
    cell = Cell(run, ALL, ALL, scorer, images, image_counts(images))
    return cell.aggregate(metric, value, interval, cell.prompts.index)
