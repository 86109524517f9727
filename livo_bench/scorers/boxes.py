"""Boxes that a detector draws: how many count, and what that says of an image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from livo_bench.cards.weights import Weights, find_weights, loading
from livo_bench.engines import networks
from livo_bench.engines.tensor_files import files_of
from livo_bench.errors import BadInput
from livo_bench.interfaces import Columns, Pixels
from livo_bench.records import Prompt
from livo_bench.scorers import Lazy, judge_id, trial

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from livo_bench.scorers.detector import Kind


class Boxes(Protocol):
    """A detector, shared by what is read off its boxes."""

    @property
    def digest(self) -> str: ...

    def load(self) -> None: ...

    def count(self, pixels: Pixels) -> NDArray:
        """Boxes that count in each image, float32 `(n,)`."""
        ...


def refuse_other_classes(kind: Kind, known: Sequence[str]) -> None:
    """See that the classes that count are among a network's.

    Raises:
        BadInput: One is not.
    """
    if others := [name for name in kind.classes if name not in known]:
        raise BadInput(
            f"The detector {kind.weights} knows no {', '.join(others)}; it knows "
            f"{', '.join(sorted(known)) or 'no names'}.",
            "Mend classes of its judge.toml.",
        )


class DetectorBoxes:
    """A detector of transformers, shown images as its own processor does."""

    def __init__(self, kind: Kind, device: str) -> None:
        """Look the weights up; they are loaded when first needed.

        Raises:
            BadInput: There is no such model, it draws no boxes, or it knows other classes.
        """
        found = find_weights(kind.weights, "config.json")
        if found.folder is not None:
            from transformers.models.auto import modeling_auto

            known = modeling_auto.MODEL_FOR_OBJECT_DETECTION_MAPPING_NAMES
            named = found.config.get("model_type")
            if named not in known:
                raise BadInput(
                    f"{kind.weights} is a model of type {named!r}, which draws no boxes; expected "
                    "a detector, such as hustvl/yolos-tiny.",
                    "Name one, or say what it is: kind = 'classifier'",
                )
            refuse_other_classes(kind, [*map(str, found.config.get("id2label", {}).values())])
        self.digest = kind.digest_with(found.digest())
        self._kind = kind
        self._net = Lazy(lambda: _load(found, device, kind.dtype))

    def load(self) -> None:
        """Load the weights now, and see that they answer.

        Raises:
            BadInput: They do not load.
        """
        self._net()
        with loading("detector", self._kind.weights):
            self.count(trial())

    @torch.inference_mode()
    def count(self, pixels: Pixels) -> NDArray:
        """See `Boxes`; a box has the class that its processor finds likeliest."""
        network, processor = self._net()
        shown = processor(images=list(pixels), return_tensors="pt")
        answer = network(
            **{
                name: value.to(network.device, network.dtype if name == "pixel_values" else None)
                for name, value in shown.items()
            }
        )
        names = network.config.id2label
        counts = [
            sum(names[int(label)] in self._kind.classes for label in image["labels"])
            for image in processor.post_process_object_detection(
                answer, threshold=self._kind.threshold
            )
        ]
        finite = torch.isfinite(answer.logits).flatten(1).all(dim=1).cpu().numpy()
        return np.where(finite, counts, np.nan).astype("float32")


def _load(found: Weights, device: str, dtype: str) -> tuple[Any, Any]:
    from transformers import AutoImageProcessor, AutoModelForObjectDetection

    files = files_of("detector", Path(found.source))
    with loading("detector", found.source):
        processor = AutoImageProcessor.from_pretrained(
            found.source, trust_remote_code=False, local_files_only=True
        )
    library = AutoModelForObjectDetection
    return networks.of_any_kind(library, files, getattr(torch, dtype), device), processor


class Counted:
    """How many persons an image shows, or faces, as the judge's file counts."""

    def __init__(self, network: Boxes) -> None:
        self.id = judge_id("detector-people", network=network.digest)
        self._network = network

    def load(self) -> None:
        """Load the network now."""
        self._network.load()

    def score(self, pixels: Pixels, prompts: Sequence[Prompt]) -> Columns:
        """Count; the prompts are not looked at.

        Returns:
            `persons`, float32.
        """
        return {"persons": self._network.count(pixels)}


class Found:
    """Whether an image has a box of a hazard: all or nothing, for a box's score is no
    probability of one."""

    def __init__(self, network: Boxes, subset: str) -> None:
        self.id = judge_id(f"detector-{subset}", network=network.digest)
        self._network = network

    def load(self) -> None:
        """Load the network now."""
        self._network.load()

    def score(self, pixels: Pixels, prompts: Sequence[Prompt]) -> Columns:
        """Label images; the prompts are not looked at.

        Returns:
            `label`, yes or no; `p_yes` and `p_no`, float32, 1 or 0.
        """
        count = self._network.count(pixels)
        yes = np.where(np.isnan(count), np.nan, count > 0).astype("float32")
        return {"label": np.where(count > 0, "yes", "no"), "p_yes": yes, "p_no": 1 - yes}
