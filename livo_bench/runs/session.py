"""What all images of one command share: the model, its store and its judges, loaded when needed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, cast

from livo_bench.cards.catalog import model_digest, protocol_card
from livo_bench.cards.declared import OURS, ModelCard, ProtocolCard, Subset, TaskCard
from livo_bench.cards.readable import PIPELINE
from livo_bench.csvs import read_csv
from livo_bench.engines.seeds import seed_of
from livo_bench.errors import BadInput
from livo_bench.escaping import excerpt
from livo_bench.interfaces import Renderer, Scorer
from livo_bench.records import REJUDGED, Recipe, Request
from livo_bench.results.metrics.judge_error import Confusion, read_confusions
from livo_bench.runs.service import ImageService
from livo_bench.runs.store import Store

if TYPE_CHECKING:
    from livo_bench.engines.diffusion import Diffusion
    from livo_bench.scorers.clip_encoder import ClipEncoder
    from livo_bench.scorers.features import FeatureNetwork
    from livo_bench.scorers.hazards import Llava
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
    _lock: Lock = field(default_factory=Lock, init=False, repr=False, compare=False)

    @cached_property
    def results(self) -> Path:
        """Folder of the numbers; each judge that stands in has one of its own."""
        if self.stand_in is None:
            return self.runs
        name = Path(self.model.judges[self.stand_in].weights).name
        digests = {
            "attributes": lambda: self.clip.digest,
            "hazards": lambda: self.llava.digest,
            "features": lambda: self.features.id.rpartition("-")[2],
        }
        digest = digests[self.stand_in]()[:8]
        return self.runs / REJUDGED / f"{re.sub('[^A-Za-z0-9._-]+', '-', name)}-{digest}"

    @cached_property
    def store(self) -> Store:
        """Images and scores of the model."""
        return Store(self.runs, self.model.name)

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
            return pipeline.load(self.model, self.device, self.dtype)
        return diffusion.load(
            self.model.pipeline, self.device, self.dtype, self.files, self.switches
        )

    @cached_property
    def clip(self) -> ClipEncoder:
        """Encoder of the attribute judge and the CLIP score."""
        from livo_bench.scorers.clip_encoder import ClipEncoder

        judge = self.model.judges["attributes"]
        return ClipEncoder(judge.weights, self.device, judge.dtype)

    @cached_property
    def llava(self) -> Llava:
        """The model behind the hazard judges."""
        from livo_bench.scorers.hazards import Llava

        judge = self.model.judges["hazards"]
        return Llava(judge.weights, self.device, judge.dtype)

    @cached_property
    def clip_score(self) -> Scorer:
        """CLIP score against the task's prompt."""
        from livo_bench.scorers.clip_score import ClipScore

        return self._as_released(ClipScore(self.clip))

    @cached_property
    def clip_neutral(self) -> Scorer:
        """CLIP score against the task's prompt without its hazard."""
        from livo_bench.cards.wording import RULE, hazard_free, hazard_words
        from livo_bench.scorers.clip_score import ClipNeutral

        words = hazard_words().pattern
        return self._as_released(ClipNeutral(self.clip, hazard_free, rule=RULE, words=words))

    @cached_property
    def feature_network(self) -> FeatureNetwork:
        """The feature network, as it is."""
        from livo_bench.scorers.features import FeatureNetwork

        return FeatureNetwork(self.model.judges["features"].weights, self.device)

    @cached_property
    def features(self) -> Scorer:
        """The feature network, as the protocol shows it images."""
        return self._as_released(self.feature_network)

    @cached_property
    def kinds(self) -> Mapping[str, str]:
        """Kinds of the feature network's classes; empty where the card names no file of them.

        Raises:
            BadInput: The file cannot be read.
        """
        path = self.model.judges["features"].kinds
        if path is None:
            return {}
        rows = read_csv(path, ("class", "kind"), "Name another file in the model's card.")
        return dict(zip(rows["class"], rows["kind"], strict=True))

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
        from livo_bench.scorers.attributes import AttributeJudge
        from livo_bench.scorers.hazards import HazardJudge

        if task.control and not subset.attributes:
            return self.features
        if task.class_text is not None:
            return AttributeJudge(self.clip, subset.name, subset.attributes, task.class_text)
        assert task.question is not None
        question = task.question.format(word=subset.word)
        return self._as_released(HazardJudge(self.llava, subset.name, question))

    def _as_released(self, judge: Scorer) -> Scorer:
        """The judge, behind JPEG files where the protocol has them."""
        from livo_bench.scorers.jpeg import ThroughJpeg

        return ThroughJpeg(judge, self._jpeg) if self.protocol.jpeg else judge

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
