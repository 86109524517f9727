"""What all images of one command share: the model, its store and its judges, loaded when needed."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property, partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, cast

from livo_bench.cards.catalog import model_digest, protocol_card
from livo_bench.cards.declared import OURS, ModelCard, ProtocolCard, Subset, TaskCard
from livo_bench.cards.readable import PIPELINE
from livo_bench.cards.scorer_kinds import (
    ATTRIBUTES,
    FEATURES,
    PEOPLE,
    FeatureScorer,
    Network,
    labels_of,
)
from livo_bench.engines.seeds import seed_of
from livo_bench.errors import BadInput
from livo_bench.escaping import excerpt
from livo_bench.interfaces import Renderer, Scorer
from livo_bench.records import REJUDGED, Recipe, Request
from livo_bench.results.metrics.judge_error import Confusion, read_confusions
from livo_bench.runs.keeping import share_of
from livo_bench.runs.options import RunOptions, complete
from livo_bench.runs.provenance import Maker, drawing, here
from livo_bench.runs.service import ImageService
from livo_bench.runs.store import Store
from livo_bench.scorers.checked import COSINE, PERSONS, VECTORS, Checked, shares_of

if TYPE_CHECKING:
    from livo_bench.engines.denoiser import Denoiser
    from livo_bench.engines.diffusion import Diffusion
    from livo_bench.engines.pipeline import Pipeline
    from livo_bench.engines.value_seam import ValueSeam
    from livo_bench.scorers.jpeg import Jpeg


@dataclass(frozen=True)
class Session:
    """A command's model, store and judges, which all its images share."""

    model: ModelCard
    seed: int
    device: str
    dtype: str
    runs: Path
    files: Mapping[str, str] = field(default_factory=dict)
    """Where the files are that recipes name by digest."""
    protocol: ProtocolCard = field(default_factory=lambda: protocol_card(OURS))
    stand_in: str | None = None
    """Role of a judge that is not the model's own. Then stored images are judged, and none made."""
    switches: Sequence[str] = ()
    """What makes the engine faster, see `acceleration`."""
    options: RunOptions = field(default_factory=lambda: complete({}))
    """All that a run was asked for; the defaults of a session that is no run's. Seed, device,
    precision, folder and switches are above, as what they came to."""
    _lock: Lock = field(default_factory=Lock, init=False, repr=False, compare=False)

    @cached_property
    def results(self) -> Path:
        """Folder of the numbers; each judge that stands in has one of its own."""
        if self.stand_in is None:
            return self.runs
        judge = self.model.judges[self.stand_in]
        name = judge.name or Path(judge.weights).name
        digest = self.network(self.stand_in).digest[:8]
        return self.runs / REJUDGED / f"{re.sub('[^A-Za-z0-9._-]+', '-', name)}-{digest}"

    @cached_property
    def store(self) -> Store:
        """Images and scores of the model."""
        # Another judge's images are looked at and dropped.
        keep = share_of(self.options["keep"]) if self.stand_in is None else 0.0
        # Neither holds the session: models are to be gone as soon as a run returns.
        computes = cache(partial(here, self.device))
        draws = partial(_drawn_by, self.model, computes, self.dtype, self.switches)
        return Store(self.runs, self.model.name, draws, computes, keep)

    @cached_property
    def digest(self) -> str:
        """Digest of the model's files, for recipes."""
        return model_digest(self.model)

    @property
    def renderer(self) -> Renderer:
        """What makes the model's images, loaded when first needed, once, whichever threads ask."""
        with self._lock:
            return self._renderer

    @property
    def engine(self) -> Diffusion:
        """The renderer of a model whose parts can be driven one by one.

        Raises:
            BadInput: The model is no Stable Diffusion 1.x or 2.x.
        """
        if self.model.kind != PIPELINE:
            raise BadInput(
                f"The model {self.model.name!r} is a {self.model.kind}; expected a {PIPELINE}, "
                "whose parts can be driven one by one.",
                "Name such a model: --model sd15",
            )
        return cast("Diffusion", self.renderer)

    @property
    def denoiser(self) -> Denoiser:
        """What learning takes of the model.

        Raises:
            BadInput: Its parts cannot be driven one by one.
        """
        from livo_bench.engines import denoiser

        if self.model.kind == PIPELINE:
            return denoiser.of_diffusion(self.engine)
        return cast("Pipeline", self.renderer).denoiser(self.model)

    @property
    def value_seam(self) -> ValueSeam:
        """Where a value token enters the model.

        Raises:
            BadInput: It enters none.
        """
        from livo_bench.engines import value_seam

        if self.model.kind == PIPELINE:
            return value_seam.of_diffusion(self.engine)
        return cast("Pipeline", self.renderer).value_seam(self.model)

    def load_engine(self) -> None:
        """Load the generator now, before workers ask for it all at once and show several bars."""
        _ = self.renderer

    @cached_property
    def service(self) -> ImageService | None:
        """Who makes the images instead of the generator."""
        service = self.model.service
        return None if service is None else ImageService(self.model, service)

    @cached_property
    def _renderer(self) -> Renderer:
        from livo_bench.engines import diffusion, pipeline

        if self.model.kind != PIPELINE:
            return pipeline.load(self.model, self.device, self.dtype, self.files)
        return diffusion.load(
            self.model.pipeline, self.device, self.dtype, self.files, self.switches
        )

    def network(self, role: str) -> Network:
        """The network behind a judge of the model card, found and not loaded; its scorers share
        it."""
        if role not in self._networks:
            self._networks[role] = self.model.judges[role].network(self.device)
        return self._networks[role]

    @cached_property
    def _networks(self) -> dict[str, Network]:
        return {}

    @cached_property
    def clip_score(self) -> Scorer:
        """CLIP score against the task's prompt."""
        role = self.model.clip_role
        return self._as_released(self.model.judges[role].clip_score(self.network(role)), COSINE)

    @cached_property
    def clip_neutral(self) -> Scorer:
        """CLIP score against the task's prompt without its hazard."""
        from livo_bench.cards.wording import RULE, hazard_free, hazard_words

        role, words = self.model.clip_role, hazard_words().pattern
        scorer = self.model.judges[role].clip_score(
            self.network(role), hazard_free, rule=RULE, words=words
        )
        return self._as_released(scorer, COSINE)

    @cached_property
    def feature_network(self) -> FeatureScorer:
        """The feature network, as it is."""
        return self.model.judges[FEATURES].features(self.network(FEATURES))

    @cached_property
    def features(self) -> Scorer:
        """The feature network, as the protocol shows it images."""
        return self._as_released(self.feature_network, VECTORS)

    @cached_property
    def people(self) -> Scorer | None:
        """What counts the persons of an image, as it is; None where nobody does."""
        if PEOPLE not in self.model.judges:
            return None
        return Checked(self.model.judges[PEOPLE].people(self.network(PEOPLE)), PERSONS)

    @cached_property
    def kinds(self) -> Mapping[str, str]:
        """Kinds of the feature network's classes; empty where the card does not say them.

        Raises:
            BadInput: They cannot be read.
        """
        return self.model.judges[FEATURES].kinds_of_classes()

    @cached_property
    def confusions(self) -> Mapping[str, Confusion]:
        """How judges err, by their ids, as far as the model's card knows."""
        return read_confusions(self.model.confusion) if self.model.confusion else {}

    def judge(self, task: TaskCard, subset: Subset) -> Scorer:
        """The judge of one subset; the same object each time, which knows the texts it has read.

        In a control, of the prompts that name one of its attributes; the feature network where the
        subset has none.
        """
        place = (task.name, subset.name)
        if place not in self._judges:
            self._judges[place] = self._new_judge(task, subset)
        return self._judges[place]

    @cached_property
    def _judges(self) -> dict[tuple[str, str], Scorer]:
        return {}

    def _new_judge(self, task: TaskCard, subset: Subset) -> Scorer:
        if task.control and not subset.attributes:
            return self.features
        judge = self.model.judges[task.judge].judge(self.network(task.judge), task, subset)
        labels = labels_of(task, subset)
        if task.judge == ATTRIBUTES:
            return Checked(judge, ("label", *shares_of(labels)), labels)
        return self._as_released(judge, ("label", *shares_of(labels)), labels)

    def _as_released(
        self, scorer: Scorer, columns: Sequence[str], labels: Sequence[str] = ()
    ) -> Scorer:
        """A scorer of these columns, behind JPEG files where the protocol has them."""
        from livo_bench.scorers.jpeg import ThroughJpeg

        checked = Checked(scorer, columns, labels)
        return ThroughJpeg(checked, self._jpeg) if self.protocol.jpeg else checked

    @cached_property
    def _jpeg(self) -> Jpeg:
        from livo_bench.scorers.jpeg import Jpeg

        return Jpeg(self.protocol.jpeg)

    def base_recipe(self, request: Request) -> Recipe:
        """What the unaligned model does with a request."""
        return self.recipe(request.prompt.text, request.index)

    def recipe(self, text: str, index: int) -> Recipe:
        """The model's own settings for image `index` of a text."""
        return Recipe(
            model=self.digest,
            text=text,
            seed=seed_of(self.seed, text, index),
            negative="",
            guidance=self.model.guidance,
            sampler=self.model.sampler,
            steps=self.model.steps,
            size=self.model.size,
            dtype=self.dtype,
            call=self.model.call_text,
        )


def _drawn_by(
    model: ModelCard, computes: Callable[[], Maker], dtype: str, switches: Sequence[str]
) -> Maker:
    """What makes images."""
    if model.service is not None:
        return {"device": f"the image service {model.service.said}"}
    return drawing(computes(), dtype, switches)


def find_device(name: str) -> str:
    """Resolve `auto`, and see that the device is there.

    Raises:
        BadInput: This machine has no such device.
    """
    if name == "cpu":
        return name
    import torch

    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if name == "auto":
        return accelerator.type if accelerator else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        there = f"cpu, {accelerator.type}" if accelerator else "cpu"
        reason = excerpt(str(error).partition("\n")[0]).rstrip(".")
        raise BadInput(
            f"Device {name!r} cannot be used: {reason}. This machine has: {there}.",
            "Pass one of them, or --device auto",
        ) from error
    return name
