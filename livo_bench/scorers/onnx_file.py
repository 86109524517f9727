"""A network in an ONNX file: where it lies, which one it is, and what it answers to pictures.

The file is a path, one in a Hugging Face repository (`hub:owner/name/onnx/model.onnx`), or one that
an installed Python package has (`package:nudenet/320n.onnx`), which is not imported.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any

from livo_bench.cards.weights import Need, Repository, loading, not_fetched, repository_of
from livo_bench.errors import BadInput
from livo_bench.files import digest_file, sha256
from livo_bench.interfaces import Pixels
from livo_bench.schema import at_least, one_of
from livo_bench.scorers import Lazy, pixels_to_tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

SUFFIX = ".onnx"
PACKAGE = "package:"
COLOURS = ("red", "green", "blue")
CHANNELS = len(COLOURS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """How a network is shown pictures, which an ONNX file does not say: `[input]` of a judge."""

    size: Annotated[int, at_least(1)]
    """Pixels a side that a picture is resized to, bilinear."""
    crop: Annotated[int, at_least(0)] = 0
    """Pixels a side that are kept in its middle; 0 for all."""
    antialias: bool = True
    """Whether it is smoothed before it is made smaller, as Pillow does and OpenCV does not."""
    channels: Annotated[str, one_of(("rgb", "bgr"))] = "rgb"
    """Order of the colours."""
    mean: Mapping[str, float]
    """Level from 0 to 255 that is taken off each colour, by its name; 0 unless said."""
    std: Mapping[str, float]
    """What the rest is divided by; 1 unless said."""

    def refuse_wrong(self, weights: str) -> None:
        """See that sizes and colours can be meant.

        Raises:
            BadInput: They cannot.
        """
        others = sorted({*self.mean, *self.std} - {*COLOURS})
        if others or min(self.std.values(), default=1) <= 0 or self.crop > self.size:
            said = f"colours {', '.join(others)}" if others else f"{self}"
            raise BadInput(
                f"[input] of the judge with {weights} has {said}; expected mean and std of "
                f"{', '.join(COLOURS)}, std above 0 and a crop no larger than size.",
                "Mend [input] of its judge.toml, e.g. std = { red = 255, green = 255, blue = 255 }",
            )

    def tensor(self, pixels: Pixels, last: bool) -> Tensor:
        """Pictures as the network takes them, float32.

        Args:
            pixels: uint8, `(n, side, side, 3)`.
            last: Whether colours come last, and not before height and width.
        """
        import torch
        from torch.nn.functional import interpolate

        levels = pixels_to_tensor(pixels, torch.device("cpu")).float()
        if levels.shape[-2:] != (self.size, self.size):
            resized = interpolate(
                levels, (self.size, self.size), mode="bilinear", antialias=self.antialias
            )
            levels = resized.round().clamp(0, 255)  # libraries resize to whole levels
        kept = self.crop or self.size
        start = (self.size - kept) // 2
        levels = levels[..., start : start + kept, start : start + kept]
        mean, std = (
            torch.tensor([said.get(colour, usual) for colour in COLOURS]).reshape(3, 1, 1)
            for said, usual in ((self.mean, 0.0), (self.std, 1.0))
        )
        levels = (levels - mean) / std
        if self.channels == "bgr":
            levels = levels.flip(1)
        return (levels.permute(0, 2, 3, 1) if last else levels).contiguous()


def is_onnx(weights: str) -> bool:
    """Whether weights are an ONNX file, by their name."""
    repository = repository_of(weights)
    return (repository.subfolder if repository else weights).endswith(SUFFIX)


def need_of(weights: str) -> Need | None:
    """The file to fetch; None of one on this machine."""
    repository = repository_of(weights)
    if repository is None:
        return None
    inside = PurePosixPath(repository.subfolder)
    folder = str(inside.parent).removeprefix(".")
    return Need("ONNX", Repository(repository.id, folder, repository.revision), (inside.name,))


def path_of(weights: str) -> Path:
    """Where the file lies on this machine.

    Raises:
        BadInput: It does not.
    """
    if need := need_of(weights):
        found = need.repository.file(need.required[0])
        if found is None:
            raise not_fetched(str(need.repository), need.required[0])
        return found
    if weights.startswith(PACKAGE):
        package, _, name = weights.removeprefix(PACKAGE).partition("/")
        spec = find_spec(package) if package.isidentifier() else None
        if spec is None or spec.origin is None:
            raise BadInput(
                f"The Python package {package!r}, whose {name} judges, is not installed.",
                f"If its licence suits you: pip install {package}",
            )
        path = Path(spec.origin).parent / name
    else:
        path = Path(weights)
    if not path.is_file():
        raise BadInput(
            f"There is no ONNX file {path}, which weights of the judge name.",
            "Name one that is there, from the folder of its judge.toml: weights = './model.onnx'",
        )
    return path


def require(weights: str, shown: Shown | None) -> Shown:
    """See, without opening the file, that it can be read and shown pictures.

    Raises:
        BadInput: It cannot.
    """
    if shown is None:
        raise BadInput(
            f"The judge with {weights} does not say how it is shown pictures, and an ONNX file "
            "does not either.",
            'Add to its judge.toml: [input], size = 224, channels = "rgb" (docs/judges.md)',
        )
    shown.refuse_wrong(weights)
    if need_of(weights) is None:
        path_of(weights)
    if find_spec("onnxruntime") is None:
        raise BadInput(
            f"{weights} is an ONNX file, which onnxruntime reads, and that is not installed.",
            "Install it: pip install 'livo-bench[onnx]'",
        )
    return shown


class OnnxFile:
    """A network of one image input and one output of numbers."""

    def __init__(self, what: str, weights: str, shown: Shown, device: str) -> None:
        """Look the file up; it is loaded when first needed.

        Raises:
            BadInput: It is not there.
        """
        need = need_of(weights)
        if need is None:
            self.digest = digest_file(path_of(weights))
        else:
            commit = need.commit
            self.digest = sha256(f"{Repository(need.repository.id, '', commit)} {need.patterns[0]}")
        self._what, self._weights, self._shown = what, weights, shown
        self._session = Lazy(lambda: _open(what, weights, shown, device))

    def load(self) -> None:
        """Load the network now.

        Raises:
            BadInput: It does not load, or takes something else than pictures.
        """
        self._session()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of its classes as Ultralytics writes them into a file; none where it did not."""
        said = self._session().get_modelmeta().custom_metadata_map.get("names", "{}")
        with loading(self._what, self._weights):
            found = ast.literal_eval(said)
            return tuple(str(found[place]) for place in sorted(found))

    def answer(self, pixels: Pixels) -> NDArray:
        """The first output for pictures, float32, a row a picture."""
        import numpy as np

        session = self._session()
        [wanted] = session.get_inputs()
        shown = self._shown.tensor(pixels, last=_last(wanted.shape)).numpy()
        # Some files are of one picture at a time.
        parts = [shown] if not isinstance(wanted.shape[0], int) else np.split(shown, len(shown))
        with loading(self._what, self._weights):
            answers = [session.run(None, {wanted.name: part})[0] for part in parts]
        return np.concatenate(answers).astype("float32")


def _last(shape: list[Any]) -> bool:
    return len(shape) == 4 and shape[3] == CHANNELS


def _open(what: str, weights: str, shown: Shown, device: str) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # Blocks are done side by side, and the last bits do not depend on how many cores there are.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    wanted = ["CUDAExecutionProvider"] if device.startswith("cuda") else []
    there = onnxruntime.get_available_providers()
    providers = [one for one in (*wanted, "CPUExecutionProvider") if one in there]
    with loading(what, weights):
        # Its bytes, and not its path: what lies beside it is not in its digest.
        session = onnxruntime.InferenceSession(
            path_of(weights).read_bytes(), options, providers=providers
        )
    takes = [(one.name, one.shape, one.type) for one in session.get_inputs()]
    shapes = [shape for _, shape, kind in takes if kind == "tensor(float)" and len(shape) == 4]
    if len(takes) != 1 or not shapes or CHANNELS not in shapes[0][1::2]:
        raise BadInput(
            f"{weights} takes {takes}; expected one input of float32 pictures, "
            "(n, 3, height, width) or (n, height, width, 3).",
            "Export the network anew, without what prepares pictures.",
        )
    sides = {side for side in shapes[0][1:] if isinstance(side, int) and side != CHANNELS}
    if sides - {kept := shown.crop or shown.size}:
        raise BadInput(
            f"{weights} takes pictures of {max(sides)} pixels a side, and [input] of its judge "
            f"gives it {kept}.",
            f"Say in its judge.toml: size = {max(sides)}, or a crop of as many",
        )
    return session
