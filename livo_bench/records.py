"""The frozen records that flow through the house, from a request to an aggregate.

Nothing here imports torch or reads a disk; every record is plain data.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import lru_cache
from operator import attrgetter, is_
from typing import Annotated, Any

from livo_bench.errors import BadInput
from livo_bench.escaping import excerpt
from livo_bench.files import sha256
from livo_bench.schema import Factor, Share, between, kinds_of

Scalar = str | int | float | bool
"""A value that a settings table may hold."""

BIAS, TOXICITY, OVERCORRECTION = "bias", "toxicity", "overcorrection"
"""Kinds of tasks, each named after the package's own of it, see `TaskCard.kind`."""

LAYOUTS = ("pad77", "train78", "paper")
"""Token layouts of a context with a value token, see `engines.value_encoder`."""

PILOT = 1000
"""First image index that no evaluation uses: for choosing settings and for looking."""

TEXT = "text"
NEEDS = (TEXT, "negative", "weights", "unet", "value token", "context", "noise prediction")
"""What methods may ask of a model: to draw a text, to be guided away from another, to draw with
changed weights, to have a UNet to edit or fine-tune, to attend to one token more, to other states
than the text's own, and to join noise predictions in another way."""

IN_TRAINING = "in training"
"""Stands in a recipe for the digest of weights that are on no disk yet."""

ELSEWHERE = "elsewhere"
"""Stands in a recipe for a model and a sampler that nobody here knows."""

SERVICE = "service"
"""Stands in a recipe for the sampler of an image service, which draws its own noise."""

REJUDGED = "rejudged"
"""Folder of runs that holds the results of other judges than the model card's, a folder each."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """One row of a task's prompt list."""

    id: str
    """Unique in the task, used wherever a file or table needs a name."""
    text: str
    """What a user types."""
    concept: str
    """What the prompt is about; concepts are disjoint between splits."""
    category: str
    """`career`, `positive`, `negative`, or a hazard; of the over-correction task the attribute that
    the prompt names, or `harmless`."""
    template: str
    """Sentence form the text was made from; templates are disjoint between splits."""
    split: str
    """`train`, `dev` or `eval`."""
    cluster: str = ""
    """Which prompts are alike, so that they count as one in intervals and tests; where it is empty,
    those of one concept in one category are. No image depends on it."""

    @property
    def asked(self) -> dict[str, str]:
        """All but the cluster: what images and training data depend on."""
        return {name: value for name, value in asdict(self).items() if name != "cluster"}


@dataclass(frozen=True, slots=True)
class Principle:
    """The value a subset of a task asks for, and the groups it speaks of."""

    task: str
    """Folder name under `tasks/`."""
    subset: str
    """`gender`, `race`, `nudity`, `bloody`, `horror`."""
    value: str
    """The paper's short value string, e.g. `gender equality`."""
    attributes: tuple[str, ...] = ()
    """The N groups among which images should be even; empty for toxicity."""
    category: str = ""
    """What methods that are told a prompt's category hear instead of it; empty for its own."""


@dataclass(frozen=True, slots=True)
class Request:
    """One image a task asks of a method."""

    prompt: Prompt
    index: int
    """Which of the prompt's images, from 0; pilots use indices from 1000."""
    principle: Principle


@dataclass(frozen=True, slots=True)
class SafetyGuidance:
    """How far Safe Latent Diffusion steers an image away from a text.

    Source: Schramowski et al. 2023, arXiv:2211.05105; the symbols are theirs.
    """

    text: str
    """What to steer away from."""
    warmup: Annotated[int, between(0, 1000)]
    """Steps at the start that are not steered."""
    s_S: Factor
    """Scale of the difference between the predictions, before it is cut off at 1."""
    threshold: float
    """Lambda: places where the prompt's prediction exceeds the safety text's by this much stay."""
    s_m: Share
    """Scale of the momentum."""
    beta_m: Share
    """Decay of the momentum."""


@dataclass(frozen=True, slots=True)
class SemanticGuidance:
    """How far an image is steered from one text to another.

    Source: Brack et al. 2023, arXiv:2301.12247, for two concepts of one warm-up; the symbols are
    theirs.
    """

    remove: str
    """What to steer away from; empty for nothing."""
    add: str
    """What to steer towards; empty for nothing."""
    warmup: Annotated[int, between(0, 1000)]
    """Steps at the start that are not steered."""
    s_e: Factor
    """Scale of the edit; the guidance scale does not multiply it."""
    threshold: Share
    """Lambda: quantile below which an edit's differences are left out."""
    s_m: Share
    """Scale of the momentum."""
    beta_m: Share
    """Decay of the momentum."""


@dataclass(frozen=True, slots=True)
class ConceptFilter:
    """How far concepts are filtered from the states of a text.

    Source: Yoon et al. 2024, arXiv:2410.12761; the symbols are theirs.
    """

    texts: str
    """Phrases that span the concepts' subspace, joined by commas."""
    alpha: Factor
    """A token is filtered when the text without it is farther from that subspace than without
    others, on average, by this share."""
    steps: Annotated[int, between(0, 50)]
    """Out of 50, up to which tokens are filtered where the text is all about the concepts; fewer
    the less it is."""


class _Keyed:
    """A place for a recipe's key, which a plan asks for some five times, beside its fields."""

    __slots__ = ("_key",)
    _key: str


@dataclass(frozen=True, slots=True)
class Recipe(_Keyed):
    """Everything that touches the pixels of one image, and nothing else.

    Fields that are None are left out of the canonical form, so a new optional field leaves all
    stored keys valid.
    """

    model: str
    """SHA-256 of the model's files; `ELSEWHERE` where the image was made elsewhere."""
    text: str
    """The text the image is conditioned on."""
    seed: int
    """Seed of the initial noise, see `seeds.seed_of`; 0 where the image was made elsewhere. A
    service is told none; there it tells the images of a text apart."""
    negative: str
    """The text of the unconditional branch; where it is empty, a pipeline's own."""
    guidance: float
    """Classifier-free guidance scale; 1 switches it off."""
    sampler: str
    """`dpmsolver++`; `pipeline` for that of a pipeline of diffusers; `ELSEWHERE` for an image that
    was made elsewhere, or `SERVICE`, both with zero steps and guidance and no dtype."""
    steps: int
    size: int
    """Height and width in pixels."""
    dtype: str
    """`float32`, `float16` or `bfloat16`."""
    generator: str | None = None
    """SHA-256 of a method's folder, when the method renders by itself; `ELSEWHERE` where the image
    was made elsewhere."""
    value: str | None = None
    """What a value encoder reads before the text; None leaves the context as it is."""
    value_encoder: str | None = None
    """SHA-256 of the value encoder's files."""
    layout: str | None = None
    """How value token and text tokens are laid out, out of `LAYOUTS`."""
    safety: SafetyGuidance | None = None
    """Steering away from a text; None for plain classifier-free guidance."""
    overlay: str | None = None
    """SHA-256 of the weights that are laid over the model's own; None for those alone."""
    edit: SemanticGuidance | None = None
    """Steering from one text to another; None for plain classifier-free guidance."""
    projection: str | None = None
    """SHA-256 of the file of the matrix that the text's states are multiplied by; None for none."""
    tokens: str | None = None
    """SHA-256 of the file of the soft tokens that stand before the text's states; None for none."""
    concepts: ConceptFilter | None = None
    """Concepts that are filtered from the text's states; None for none."""
    pixels: str | None = None
    """SHA-256 of what an image shows that was made elsewhere, see `decoding.digest`; None for
    others."""
    call: str | None = None
    """What a pipeline of diffusers is called with besides, as canonical JSON; None for nothing."""

    def canonical(self) -> str:
        """The recipe as one line of JSON: sorted names, no spaces, None left out."""
        values = zip(_RECIPE_FIELDS, _values_of(self), strict=True)
        return _encode({name: value for name, value in values if value is not None})

    @property
    def around_seed(self) -> tuple[bytes, bytes]:
        """The canonical form before the seed and after it, in UTF-8: the same for all images that
        differ in it alone, and all that `digest_around` asks of them."""
        values = zip(_RECIPE_FIELDS, _values_of(self), strict=True)
        rest = [(n, value) for n, value in values if value is not None and n != "seed"]
        before = _encode({name: value for name, value in rest if name < "seed"})
        after = _encode({name: value for name, value in rest if name > "seed"})
        return f'{before[:-1]},"seed":'.encode(), f",{after[1:]}".encode()

    def reseeded(self, seed: int) -> Recipe:
        """The same recipe with another seed, faster than `dataclasses.replace`."""
        other = object.__new__(Recipe)
        for name, value in zip(_RECIPE_FIELDS, _values_of(self), strict=True):
            _set(other, name, value)
        _set(other, "seed", seed)
        return other

    @property
    def key(self) -> str:
        """SHA-256 of the canonical form: the image's address, the same for every method."""
        try:
            return self._key
        except AttributeError:
            key = sha256(self.canonical())
            _set(self, "_key", key)
            return key

    @property
    def needs(self) -> frozenset[str]:
        """What it takes of a model, out of `NEEDS`."""
        return frozenset({TEXT, *(need for name, need in _NEEDED.items() if getattr(self, name))})

    @property
    def noise(self) -> int | None:
        """Seed of the noise that the image started from; None where nobody here knows."""
        return None if self.sampler in (ELSEWHERE, SERVICE) else self.seed

    @property
    def stratum(self) -> str:
        """Digest of the recipe without what is each image's own, seed or pixels: images that share
        it are independent draws from one distribution."""
        return _stratum(_values_of_stratum(self))

    @property
    def family(self) -> Recipe:
        """The recipe without seed, pixels and the texts that each image has its own of: what must
        agree within one batch."""
        return _family(_values_of_family(self))


PARTS: Mapping[str, Any] = {
    "safety": SafetyGuidance,
    "edit": SemanticGuidance,
    "concepts": ConceptFilter,
}
"""Fields of a recipe that are records themselves."""

_NEEDED = {
    "negative": "negative",
    "overlay": "weights",
    "value": "value token",
    "projection": "context",
    "tokens": "context",
    "concepts": "context",
    "safety": "noise prediction",
    "edit": "noise prediction",
}
"""What a recipe needs of a model when a field of it holds something, by the field's name."""
_RECIPE_FIELDS = tuple(field.name for field in fields(Recipe))
_OF_STRATUM = tuple(name for name in _RECIPE_FIELDS if name not in {"seed", "pixels"})
_OF_FAMILY = tuple(name for name in _OF_STRATUM if name != "text")
_set = object.__setattr__
_values_of = attrgetter(*_RECIPE_FIELDS)
values_but_seed = attrgetter(*(name for name in _RECIPE_FIELDS if name != "seed"))
"""The fields of a recipe but its seed, as they are."""
_values_of_stratum = attrgetter(*_OF_STRATUM)
_values_of_family = attrgetter(*_OF_FAMILY)
_encode = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=True, default=asdict
).encode


def same_but_seed(values: tuple[object, ...], others: tuple[object, ...]) -> bool:
    """Whether what `values_but_seed` gave has one canonical form, as far as can be seen quickly.

    Numbers have to be the same objects, for 1 and 1.0 are equal and written in two ways.
    """
    if all(map(is_, values, others)):
        return True
    return all(
        one is other
        or (type(one) is str is type(other) and one == other)
        or (
            type(one) is type(other)
            and type(one) in PARTS.values()
            and same_but_seed(_values_of_part(one), _values_of_part(other))
        )
        for one, other in zip(values, others, strict=True)
    )


def _values_of_part(part: Any) -> tuple[object, ...]:
    return tuple(getattr(part, field.name) for field in fields(part))


def digest_around(before: bytes, seed: int, after: bytes) -> bytes:
    """The bytes of a recipe's key, of its canonical form around the seed."""
    return hashlib.sha256(b"%b%d%b" % (before, seed, after)).digest()


# Remembered, because a plan asks for each image's, and images share few.
@lru_cache(maxsize=4096)
def _stratum(values: tuple[Any, ...]) -> str:
    return Recipe(**dict(zip(_OF_STRATUM, values, strict=True)), seed=0).key[:16]


@lru_cache(maxsize=4096)
def _family(values: tuple[Any, ...]) -> Recipe:
    recipe = Recipe(**dict(zip(_OF_FAMILY, values, strict=True)), text="", seed=0)
    if recipe.edit is None:
        return recipe
    return replace(recipe, edit=replace(recipe.edit, remove="", add=""))


def wrong_field(record: Recipe | SafetyGuidance | SemanticGuidance | ConceptFilter) -> str | None:
    """Say which field does not hold what its annotation asks for, in a recipe or in a part."""
    of: Any = type(record)
    for name, kind in kinds_of(of).items():
        value = getattr(record, name)
        if not kind.holds(value):
            return f"{name} = {value!r}, expected {kind.expected}{' or None' * kind.optional}"
        if name in PARTS and value is not None and (wrong := wrong_field(value)):
            return f"{name}.{wrong}"
    return None


def recipe_from_json(line: str) -> Recipe:
    """Read a recipe back from its canonical form.

    Raises:
        BadInput: It is no such line, or a field is missing, unknown or mistyped.
    """
    try:
        values = json.loads(line)
        for name, kind in PARTS.items():
            if name in values:
                values[name] = kind(**values[name])
        recipe = Recipe(**values)
    except (TypeError, ValueError, RecursionError) as error:
        raise BadInput(f"{line!r:.200} is no recipe of an image: {excerpt(str(error))}.") from error
    if (wrong := wrong_field(recipe)) is not None:
        raise BadInput(f"{line!r:.200} is no recipe of an image: it has {wrong}.")
    return recipe


@dataclass(frozen=True, slots=True)
class Run:
    """Whose images a set of numbers speaks of; one folder under `results/runs/`."""

    model: str
    method: str
    task: str


@dataclass(frozen=True, slots=True)
class Aggregate:
    """One number of a table, with what it takes to judge it."""

    model: str
    method: str
    task: str
    subset: str
    """`gender` ... `horror`; `all` where a number spans the task (IS, FID, CLIP score; D1 of
    gender and race together)."""
    category: str
    """`career` ...; `all` over categories."""
    metric: str
    """`D1 D2 D2_pooled D2_unbiased avg_r avg_s max prob max_exact prob_exact overridden changed
    moved is fid clip clip_neutral content presence one_person`; of the steered images alone
    `fid_steered clip_steered clip_neutral_steered content_steered presence_steered
    one_person_steered`; corrected for judge error
    `D1_corrected D2_corrected avg_r_corrected`; where images were refused `refused
    avg_r_harmless`; against the unaligned model's images from other
    noise `fid_independent`."""
    value: float
    """Fractions in [0, 1] for rates; tables show them x100."""
    low: float
    """Lower end of the 95 % interval; NaN where there is none."""
    high: float
    floor: float
    """What a perfectly fair model reads under this row's design; of `fid_independent`, what the
    unaligned model itself reads; NaN for other metrics."""
    n: int
    """Images scored."""
    n_distinct: int
    """Distinct images (by key) among them."""
    unscored: int
    """Images a judge gave no answer for, those included that were refused."""
    scorer: str
    """Id of the judge, with the digest of its weights and texts; several are joined by `+`."""


AGGREGATE_COLUMNS = tuple(field.name for field in fields(Aggregate))
