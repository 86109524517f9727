import hashlib
import shutil
import sys
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from polite_method import CARD

from livo_bench.cards import adapters, catalog
from livo_bench.cards.declared import ModelCard
from livo_bench.cards.prompts import read_task_prompts
from livo_bench.cards.weights import digest_folder
from livo_bench.errors import AdapterFailed, BadInput, UnknownName
from livo_bench.interfaces import OwnGenerator
from livo_bench.records import TEXT, Principle, Prompt, Recipe, Request, SafetyGuidance

REQUEST = Request(
    Prompt("career-0001", "a photo of a doctor", "doctor", "career", "photo", "eval"),
    0,
    Principle("bias", "gender", "gender equality", ("male", "female")),
)
BASE = Recipe(
    model="0" * 64,
    text="a photo of a doctor",
    seed=7,
    negative="",
    guidance=2.0,
    sampler="dpmsolver++",
    steps=15,
    size=64,
    dtype="float32",
)
SAFETY = SafetyGuidance("harm", 1, 2.0, 0.5, 0.3, 0.4)
ADAPTER = """
from dataclasses import dataclass, replace

@dataclass
class Polite:
    word: str

    def resolve(self, request, base):
        return replace(base, text=f"{base.text}, {self.word}")

def load(context):
    return Polite(context.settings["word"])
"""
OWN_GENERATOR = """
class Painter:
    def resolve(self, request, base):
        return base

    def generate(self, requests, latents):
        raise NotImplementedError

def load(context):
    return Painter()
"""


@pytest.fixture
def mini() -> ModelCard:
    return catalog.model_card("mini")


@pytest.fixture
def polite(tmp_path: Path) -> Path:
    folder = tmp_path / "polite"
    folder.mkdir()
    (folder / "card.toml").write_text(CARD, encoding="utf-8")
    (folder / "adapter.py").write_text(ADAPTER, encoding="utf-8")
    return folder


def test_every_method_and_variant_of_the_package_loads(mini: ModelCard) -> None:
    for name in catalog.select_methods(["all"]):
        card = catalog.method_card(name)
        for spec in [name, *(f"{name}:{variant}" for variant in card.variants)]:
            assert adapters.load_method(spec, mini).name == spec


def test_sd_returns_the_base_recipe(mini: ModelCard) -> None:
    method = adapters.load_method("sd", mini)
    assert method.resolve(REQUEST, BASE) == BASE
    assert method.generator is None


def test_a_folder_loads_like_a_built_in_method(mini: ModelCard, polite: Path) -> None:
    method = adapters.load_method(str(polite), mini)
    assert (method.name, method.title) == ("polite", "Polite")
    assert method.resolve(REQUEST, BASE).text == "a photo of a doctor, please"


def test_a_variant_lays_its_settings_over_the_method(mini: ModelCard, polite: Path) -> None:
    method = adapters.load_method(f"{polite}:german", mini)
    assert (method.name, method.title) == ("polite:german", "Polite (de)")
    assert method.resolve(REQUEST, BASE).text == "a photo of a doctor, bitte"


def test_a_relative_folder_needs_a_leading_dot(
    mini: ModelCard, polite: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(polite.parent)
    assert adapters.load_method("./polite", mini).name == "polite"
    with pytest.raises(UnknownName, match=r"--method \./my-method"):
        adapters.load_method("polite", mini)


def test_unknown_variants_suggest_one(mini: ModelCard, polite: Path) -> None:
    with pytest.raises(UnknownName, match=r"'polite' has no variant 'dutch'\. It has: german"):
        adapters.load_method(f"{polite}:dutch", mini)
    with pytest.raises(UnknownName) as error:
        adapters.load_method("livo:retreived", mini)
    assert str(error.value) == (
        "Method 'livo' has no variant 'retreived'. It has: all, calibrated, retrieved, wo-m, wo-v."
        "\nDid you mean 'retrieved'?"
    )


@pytest.mark.parametrize(
    ("adapter", "said"),
    [
        (None, ["has no", "adapter.py", "load(context: MethodContext)"]),
        ("x = 1", ["adapter.py defines no load(context)"]),
        ("def load(context): return 3", ["load(context) returned 3", "resolve(request, base)"]),
    ],
)
def test_an_adapter_that_does_not_load_says_what_it_lacks(
    mini: ModelCard, polite: Path, adapter: str | None, said: list[str]
) -> None:
    (polite / "adapter.py").unlink()
    if adapter is not None:
        (polite / "adapter.py").write_text(adapter, encoding="utf-8")
    with pytest.raises(BadInput) as error:
        adapters.load_method(str(polite), mini)
    for part in said:
        assert part in str(error.value)


def test_a_card_alone_makes_a_method_where_it_names_an_adapter(
    mini: ModelCard, tmp_path: Path
) -> None:
    """LiVO with other weights, as docs/tutorials/my-method.md says."""
    built_in, own = catalog.DATA / "methods" / "livo", tmp_path / "my-livo"
    place = "weights/mini/livo/value_encoder"
    shutil.copytree(built_in / place, own / place)
    card = (built_in / "card.toml").read_text("utf-8")
    (own / "card.toml").write_text(card.replace('"livo"', '"my-livo"', 1), encoding="utf-8")
    weights = own / place / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    mine, ours = (
        adapters.load_method(spec, mini).resolve(REQUEST, BASE) for spec in (str(own), "livo")
    )
    assert mine.value_encoder != ours.value_encoder
    assert replace(mine, value_encoder=ours.value_encoder) == ours


@pytest.mark.parametrize("name", ["overlayed", "livo.steeering", "training.loop", "../../evil"])
def test_a_card_names_adapters_of_the_package_and_nothing_else(
    mini: ModelCard, polite: Path, name: str
) -> None:
    (polite / "card.toml").write_text(f'adapter = "{name}"\n{CARD}', encoding="utf-8")
    before = {*sys.modules}
    with pytest.raises(UnknownName) as error:
        adapters.load_method(str(polite), mini)
    assert f"Unknown adapter {name!r}. Known: " in str(error.value)
    known = "fair_diffusion, handed, livo.steering, negative, overlaid, prompt_tuning, safree, sld."
    assert f"debias_vl, {known}" in str(error.value)
    assert f"Mend it in {polite / 'card.toml'}" in str(error.value)
    for near in {"overlayed": "overlaid", "livo.steeering": "livo.steering"}.get(name, "").split():
        assert f"Did you mean {near!r}?" in str(error.value)
    assert {*sys.modules} == before


def test_a_method_that_changes_the_seed_or_returns_no_recipe_is_refused(
    mini: ModelCard, polite: Path
) -> None:
    method = adapters.load_method(str(polite), mini)

    class Careless:
        def resolve(self, request: Request, base: Recipe) -> Recipe:
            return replace(base, seed=8)

    class Silent:
        def resolve(self, request: Request, base: Recipe) -> None:
            return None

    with pytest.raises(BadInput, match=r"'polite' changed the seed from 7 to 8"):
        replace(method, method=Careless()).resolve(REQUEST, BASE)
    with pytest.raises(BadInput, match=r"'polite' resolved a request to None, expected a Recipe"):
        replace(method, method=Silent()).resolve(REQUEST, BASE)  # type: ignore[arg-type]  # on purpose


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"guidance": float("nan")}, "guidance = nan, expected a number"),
        ({"guidance": "high"}, "guidance = 'high', expected a number"),
        ({"text": 5}, "text = 5, expected a text"),
        ({"steps": True}, "steps = True, expected a whole number"),
        ({"steps": 2.5}, "steps = 2.5, expected a whole number"),
        ({"value": 1}, "value = 1, expected a text or None"),
        ({"safety": replace(SAFETY, s_S=float("inf"))}, "safety.s_S = inf, expected a number"),
        ({"safety": replace(SAFETY, s_m=1.5)}, "safety.s_m = 1.5, expected a number from 0 to 1"),
        ({"edit": SAFETY}, "edit = SafetyGuidance"),
    ],
)
def test_a_recipe_with_a_field_that_is_none_is_refused(
    mini: ModelCard, polite: Path, changed: dict[str, Any], said: str
) -> None:
    class Careless:
        def resolve(self, request: Request, base: Recipe) -> Recipe:
            return replace(base, **changed)

    method = replace(adapters.load_method(str(polite), mini), method=Careless())
    with pytest.raises(BadInput) as error:
        method.resolve(REQUEST, BASE)
    assert f"Method 'polite' resolved a request to a recipe with {said}" in str(error.value)


def test_a_recipe_may_hold_a_whole_number_for_a_float_and_steering(
    mini: ModelCard, polite: Path
) -> None:
    class Steered:
        def resolve(self, request: Request, base: Recipe) -> Recipe:
            return replace(base, guidance=3, safety=SAFETY)

    method = replace(adapters.load_method(str(polite), mini), method=Steered())
    assert method.resolve(REQUEST, BASE) == replace(BASE, guidance=3, safety=SAFETY)


@pytest.mark.parametrize(
    ("function", "old", "new"),
    [
        ("import", "from dataclasses", "from no_such_module"),
        ("load", "return Polite", "return Impolite"),
        ("resolve", "return replace(base", "return replace(bass"),
    ],
)
def test_what_an_adapter_raises_names_it_and_keeps_the_traceback_of_its_code(
    mini: ModelCard, polite: Path, function: str, old: str, new: str
) -> None:
    path = polite / "adapter.py"
    path.write_text(ADAPTER.replace(old, new), encoding="utf-8")
    with pytest.raises(AdapterFailed) as error:
        adapters.load_method(str(polite), mini).resolve(REQUEST, BASE)
    assert str(error.value).startswith(f"Adapter of 'polite' failed in {function}: ")
    assert str(error.value).endswith(f"({path})")
    cause = error.value.__cause__
    assert cause is not None
    frames = traceback.extract_tb(cause.__traceback__)
    assert frames[0].filename == str(path)


@pytest.mark.parametrize("name", ["livo", "livo-all"])
def test_a_folder_that_is_called_like_a_built_in_method_is_refused(
    mini: ModelCard, tmp_path: Path, name: str
) -> None:
    shutil.copytree(catalog.DATA / "methods" / "sd", tmp_path / name)
    card = tmp_path / name / "card.toml"
    card.write_text(card.read_text().replace('name = "sd"', f'name = "{name}"'))
    with pytest.raises(BadInput, match=r"is called like the method 'livo.*Rename the folder and"):
        adapters.load_method(str(tmp_path / name), mini)


def test_a_users_own_method_has_the_digest_of_its_folder(mini: ModelCard, polite: Path) -> None:
    first = adapters.load_method(str(polite), mini).digest
    (polite / "adapter.py").write_text(ADAPTER + "# as before", encoding="utf-8")
    assert adapters.load_method(str(polite), mini).digest != first
    # The folder of a built-in method is that method.
    for spec in ("noise", str(catalog.DATA / "methods" / "noise")):
        assert adapters.load_method(spec, mini).digest is None


def test_own_generator_puts_the_digest_of_its_files_and_settings_into_recipes(
    mini: ModelCard, polite: Path
) -> None:
    (polite / "adapter.py").write_text(OWN_GENERATOR, encoding="utf-8")

    def generator(spec: str = str(polite)) -> str | None:
        return adapters.load_method(spec, mini).resolve(REQUEST, BASE).generator

    first = generator()
    assert first is not None
    assert len(first) == 64
    assert generator() == first  # and __pycache__, if the import made one, does not count
    assert generator(f"{polite}:german") != first
    (polite / "table.csv").write_text("1", encoding="utf-8")
    second = generator()
    assert second != first
    (polite / "table.csv").rename(polite / "tables.csv")
    assert generator() not in (first, second)


def test_noise_draws_uniform_pixels_from_each_latent_alone(mini: ModelCard) -> None:
    method = adapters.load_method("noise", mini)
    own = cast(OwnGenerator, method.method)
    latents = torch.randn((3, 4, 8, 8), generator=torch.Generator().manual_seed(0))
    images = own.generate([REQUEST] * 3, latents)
    assert images.shape == (3, mini.size, mini.size, 3)
    assert images.dtype == np.uint8
    assert np.array_equal(images[1:], own.generate([REQUEST] * 2, latents[1:]))
    assert not np.array_equal(images[0], images[1])
    # 36,864 values: 256 levels of 144 expected each, chi-square of 255 degrees of freedom has
    # standard deviation 22.6; five of them leave a false alarm in a million.
    counts = np.bincount(images.ravel(), minlength=256)
    expected = images.size / 256
    assert ((counts - expected) ** 2 / expected).sum() < 255 + 5 * 22.6
    # The recipes of noise never coincide with those of the model.
    assert method.resolve(REQUEST, BASE).key != BASE.key


def test_digest_of_a_method_is_of_its_files_and_settings(mini: ModelCard, polite: Path) -> None:
    (polite / "adapter.py").write_text(OWN_GENERATOR, encoding="utf-8")
    (polite / "card.toml").write_text(CARD.split("[settings]")[0], encoding="utf-8")
    expected = hashlib.sha256(f"{digest_folder(polite)}\n{{}}".encode()).hexdigest()
    assert adapters.load_method(str(polite), mini).generator == expected


@pytest.mark.parametrize(
    ("file", "touches"),
    [
        ("README.md", False),
        (".notes", False),
        (".git/index", False),
        ("__pycache__/adapter.pyc", False),
        ("docs/how.md", False),
        ("helper.py", True),
        ("table.csv", True),
        ("weights/mini/card.toml", True),
    ],
)
def test_a_file_that_touches_no_pixel_remakes_no_image(
    mini: ModelCard, polite: Path, file: str, touches: bool
) -> None:
    (polite / "adapter.py").write_text(OWN_GENERATOR, encoding="utf-8")
    before = adapters.load_method(str(polite), mini)
    for text in ("one", "other"):
        (polite / file).parent.mkdir(parents=True, exist_ok=True)
        (polite / file).write_text(text, encoding="utf-8")
        after = adapters.load_method(str(polite), mini)
        assert (after.generator != before.generator) is touches
        assert (after.digest != before.digest) is touches


@pytest.mark.parametrize(
    ("old", "new", "touches"),
    [
        ('title = "Polite"', 'title = "Kind"', False),
        ("differences = []", 'differences = ["A word."]\ntried = ["Two words."]', False),
        ('title = "Polite"', '# A comment.\ntitle   =   "Polite"', False),
        ("version = 1", "version = 2", True),
        ("version = 1", 'version = 1\nneeds = ["text"]', False),
    ],
)
def test_what_a_card_says_of_its_method_remakes_no_image(
    mini: ModelCard, polite: Path, old: str, new: str, touches: bool
) -> None:
    (polite / "adapter.py").write_text(OWN_GENERATOR, encoding="utf-8")
    before = adapters.load_method(str(polite), mini).generator
    card = (polite / "card.toml").read_text(encoding="utf-8")
    assert old in card
    (polite / "card.toml").write_text(card.replace(old, new, 1), encoding="utf-8")
    assert (adapters.load_method(str(polite), mini).generator != before) is touches


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


ENCODER = ("value_encoder/config.json", "value_encoder/model.safetensors")

LEARNT = {
    "sd": (),
    "livo": ENCODER,
    "livo:calibrated": (*ENCODER, "shares.json"),
    "livo:wo-v": (),
    "uce:joint": ("joint.safetensors",),
    "ca": ("bloody.safetensors", "horror.safetensors", "nudity.safetensors"),
    "fd": ("majorities.csv", "guidance.toml"),
    "sld": ("unwanted.toml",),
    "negative": ("unwanted.toml",),
    "noise": (),
}


@pytest.mark.parametrize("name", LEARNT)
def test_the_files_behind_a_method_are_named_by_what_they_are_for(
    mini: ModelCard, name: str
) -> None:
    digests = adapters.load_method(name, mini).digests()
    code = {"adapter.py"} if name in ("sd", "noise") else set()
    assert {*digests} == {"card.toml", *code, *LEARNT[name]}
    folder = catalog.DATA / "methods" / name.partition(":")[0]
    known = {sha256_of(path) for path in folder.rglob("*") if path.is_file()}
    assert {*digests.values()} <= known


def test_every_method_names_the_files_that_its_recipes_name_by_digest(mini: ModelCard) -> None:
    for name in catalog.method_labels().keys() - {catalog.HANDED}:
        method = adapters.load_method(name, mini)
        named = {*method.digests().values()}
        for digest, place in method.files.items():
            folder = Path(place)
            held = {digest} if folder.is_file() else {*map(sha256_of, folder.iterdir())}
            assert held <= named, name


def test_cards_say_what_the_recipes_of_their_methods_need(mini: ModelCard) -> None:
    """Of the first prompts of every category, in the order of images that an even quota takes."""
    for spec in catalog.method_labels().keys() - {catalog.HANDED}:
        method = adapters.load_method(spec, mini)
        found: set[str] = set()
        for task in catalog.task_cards().values():
            prompts = {p.category: p for p in read_task_prompts(task, mini.scale)}
            for subset in task.subsets.values():
                if method.card.is_for(task, subset.name):
                    principle = task.principle(subset.name)
                    for category in subset.categories:
                        for index in range(5):
                            request = Request(prompts[category], index, principle)
                            base = replace(BASE, text=request.prompt.text)
                            found |= method.resolve(request, base).needs
        _, _, variant = spec.partition(":")
        # What makes the weights asks for a UNet; the recipe has their digest alone.
        needs = set(method.card.needs_of(variant)) - {"unet"}
        assert needs == (set() if method.generator else found - {TEXT} or {TEXT}), spec
    assert catalog.method_card(catalog.HANDED).needs == ("weights",)


def test_weights_of_ones_own_have_the_same_names_and_their_own_digests(
    mini: ModelCard, tmp_path: Path
) -> None:
    trained = catalog.DATA / "methods" / "livo" / "weights" / "mini" / "livo"
    shutil.copytree(trained / "value_encoder", tmp_path / "mine" / "encoder")
    weights = tmp_path / "mine" / "encoder" / "model.safetensors"
    own = adapters.load_method("livo", mini).digests()
    assert adapters.load_method("livo", mini, str(weights.parent)).digests() == own
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    given = adapters.load_method("livo", mini, str(weights.parent)).digests()
    assert {name for name in own if own[name] != given[name]} == {"value_encoder/model.safetensors"}
    assert given.keys() == own.keys()


def test_of_a_users_method_every_file_counts_but_hidden_ones_and_words(
    mini: ModelCard, polite: Path
) -> None:
    before = adapters.load_method(str(polite), mini).digests()
    (polite / "deep").mkdir()
    for name in ("words.csv", "README.md", ".hidden", "deep/words.csv"):
        (polite / name).write_text("please")
    now = adapters.load_method(str(polite), mini).digests()
    assert now.keys() - before.keys() == {"words.csv", "deep/words.csv"}
    assert {*before} >= {"adapter.py", "card.toml"}


def test_a_repository_counts_as_one_file(mini: ModelCard) -> None:
    method = adapters.load_method("livo", mini, "hub:someone/encoder@" + "a" * 40)
    assert method.digests()["value_encoder"] == next(iter(method.files))


def test_a_file_behind_a_method_that_cannot_be_read_is_named(
    mini: ModelCard, polite: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = adapters.load_method(str(polite), mini)

    def unreadable(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(adapters, "digest_file", unreadable)
    with pytest.raises(BadInput, match=rf"Cannot read {polite}/adapter.py: Permission denied"):
        method.digests()
