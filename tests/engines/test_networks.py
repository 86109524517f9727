"""Networks that are not what they say, and folders that would run code: each is refused, by name.

Damage is made up from seeds, one kind at a time, for every place where tensors enter a network.
"""

from __future__ import annotations

import json
import random
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file
from transformers import AutoTokenizer, LlavaForConditionalGeneration
from written_networks import LOADERS, UNET, Loader, Tensors, make_models, save

from livo_bench.cards.catalog import DATA, model_card
from livo_bench.cards.weights import ELSEWHERE, find_weights
from livo_bench.cli import main
from livo_bench.engines import (
    diffusion,
    overlay,
    projection,
    schedule,
    soft_tokens,
    value_encoder,
)
from livo_bench.engines.networks import PREFIXES
from livo_bench.errors import BadInput
from livo_bench.methods.retrieval import embeddings
from livo_bench.scorers.clip_encoder import ClipEncoder
from livo_bench.scorers.featurenet import FeatureNet
from livo_bench.scorers.features import FeatureNetwork
from livo_bench.scorers.hazards import Llava

WHOLE_MODEL = Loader("UNet", UNET, lambda root: diffusion.load(root / "sd", "cpu", "float32").unet)
every_loader = pytest.mark.parametrize("loader", LOADERS.values(), ids=LOADERS)


@pytest.fixture(scope="module")
def models(tiny_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_models(tiny_weights, tmp_path_factory.mktemp("models") / "all")


@pytest.fixture
def root(models: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return shutil.copytree(models, tmp_path / "models")


def _chosen(tensors: Tensors, draw: random.Random) -> list[str]:
    names = sorted(name for name in tensors if "num_batches" not in name)
    return draw.sample(names, draw.randint(1, min(5, len(names) - 1)))


def drop(tensors: Tensors, draw: random.Random) -> Tensors:
    gone = _chosen(tensors, draw)
    return {name: tensor for name, tensor in tensors.items() if name not in gone}


def drop_all(tensors: Tensors, draw: random.Random) -> Tensors:
    return {}


def rename(tensors: Tensors, draw: random.Random) -> Tensors:
    other = _chosen(tensors, draw)
    ending = draw.choice(["2", "_old", ".weight", ".0"])
    return {(n + ending if n in other else n): t for n, t in tensors.items()}


def add(tensors: Tensors, draw: random.Random) -> Tensors:
    name = draw.choice(sorted(tensors)) + draw.choice(["_ema", ".scale", "x"])
    return tensors | {name: torch.zeros(draw.randint(1, 4))}


def prefix(tensors: Tensors, draw: random.Random) -> Tensors:
    before = draw.choice([*PREFIXES, "net.", "model.inner."])
    return {before + name: tensor for name, tensor in tensors.items()}


def prefix_some(tensors: Tensors, draw: random.Random) -> Tensors:
    some = _chosen(tensors, draw)
    return {("module." if n in some else "") + n: t for n, t in tensors.items()}


def reshape(tensors: Tensors, draw: random.Random) -> Tensors:
    other = [name for name in _chosen(tensors, draw) if tensors[name].dim()]
    other = other or [name for name in tensors if tensors[name].dim()][:1]
    return {n: torch.cat([t, t[:1]]) if n in other else t for n, t in sorted(tensors.items())}


def not_finite(tensors: Tensors, draw: random.Random) -> Tensors:
    name = draw.choice([n for n, t in sorted(tensors.items()) if t.is_floating_point()])
    changed = tensors[name].clone()
    changed.view(-1)[draw.randrange(changed.numel())] = draw.choice(
        [float("nan"), float("inf"), float("-inf")]
    )
    return tensors | {name: changed}


def quantise(tensors: Tensors, draw: random.Random) -> Tensors:
    other = [n for n in _chosen(tensors, draw) if tensors[n].is_floating_point()]
    other = other or [n for n, t in sorted(tensors.items()) if t.is_floating_point()][:1]
    return {n: (t.to(torch.int8) if n in other else t) for n, t in tensors.items()}


SAID: dict[Callable[[Tensors, random.Random], Tensors], str] = {
    drop: r"lacks \d+ of \d+ tensors, e\.g\. .*save_pretrained",
    drop_all: r"lacks \d+ of \d+ tensors, e\.g\. ",
    rename: r"has \d+ that it should not have, e\.g\. ",
    add: r"has 1 that it should not have, e\.g\. .*save_pretrained",
    prefix: r"Names begin with '\S+\.', .*removeprefix",
    prefix_some: r"e\.g\. .*module\.",
    reshape: r"tensors of another shape, e\.g\. \S+ \(\d.*\); expected \(\d",
    not_finite: r"holds NaN or infinity .*in 1 tensors, e\.g\. ",
    quantise: r"tensors of another kind of number, e\.g\. .*quantised",
}


@every_loader
def test_a_network_has_exactly_the_tensors_of_its_file(loader: Loader, models: Path) -> None:
    network = loader.load(models)
    if network is not None:
        own = network.state_dict()
        held = {
            n.removeprefix("text_model."): t for n, t in load_file(models / loader.weights).items()
        }
        spelt = {name.removeprefix("text_model."): tensor for name, tensor in own.items()}
        same = [name for name in held if name in spelt]
        assert len(same) == len(held) or loader.what == "LLaVA"
        for name in same:
            assert torch.equal(spelt[name], held[name].to(spelt[name].dtype)), name
        assert not any(tensor.is_meta or tensor.requires_grad for tensor in own.values())
        assert not network.training or loader.what == "overlay"


@every_loader
@pytest.mark.parametrize("damage", SAID, ids=lambda damage: damage.__name__)
def test_damage_is_refused_with_names_and_the_likely_cause(
    loader: Loader, damage: Callable[[Tensors, random.Random], Tensors], root: Path
) -> None:
    path = root / loader.weights
    draw = random.Random(f"{loader} {damage.__name__}".split("<")[0])
    overlay: dict[Callable[[Tensors, random.Random], Tensors], str] = {
        drop: r"lacks 1 of \d+ tensors, e\.g\. .*by the names that diffusers has",
        drop_all: "is empty: no tensor",
        add: r"has 1 that it should not have, e\.g\. .*by the names that diffusers has",
    }
    said = overlay.get(damage, SAID[damage]) if loader.what == "overlay" else SAID[damage]
    save(damage(load_file(path), draw), path)
    with pytest.raises(BadInput, match=said) as caught:
        loader.load(root)
    message = str(caught.value)
    assert message.startswith(f"The {loader.what} of {root}"), message


@pytest.mark.parametrize("part", ["text encoder", "unet", "vae"])
def test_an_engine_is_not_made_of_damaged_parts(part: str, root: Path) -> None:
    path = root / LOADERS[part].weights
    save(rename(load_file(path), random.Random(part)), path)
    with pytest.raises(BadInput, match=r"has \d+ that it should not have"):
        diffusion.load(root / "sd", "cpu", "float32")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_in_half_precision_no_tensor_is_as_it_was_initialised(
    dtype: torch.dtype, models: Path
) -> None:
    name = str(dtype).removeprefix("torch.")
    engine = diffusion.load(models / "sd", "cpu", name)
    held = load_file(models / UNET)
    for own, tensor in engine.unet.state_dict().items():
        assert torch.equal(tensor, held[own].to(dtype)), own
    judge = Llava(str(models / "llava"), "cpu", name)._model().llava
    expected = LlavaForConditionalGeneration.from_pretrained(models / "llava", dtype=dtype)
    for own, tensor in expected.state_dict().items():
        assert torch.equal(judge.state_dict()[own], tensor), own


def test_numbers_that_half_precision_does_not_have_are_refused(root: Path) -> None:
    tensors = load_file(root / UNET)
    save(tensors | {"conv_in.bias": tensors["conv_in.bias"] + 1e5}, root / UNET)
    diffusion.load(root / "sd", "cpu", "float32")
    with pytest.raises(BadInput, match=r"infinity as float16, .*conv_in\.bias.*--dtype float32"):
        diffusion.load(root / "sd", "cpu", "float16")


def test_tensors_that_are_one_may_stand_once(root: Path) -> None:
    folder = root / "llava"
    config = json.loads((folder / "config.json").read_text())
    tied = config | {
        "tie_word_embeddings": True,
        "text_config": config["text_config"] | {"tie_word_embeddings": True},
    }
    path = folder / "model.safetensors"
    tensors = load_file(path)
    [head] = [name for name in tensors if "lm_head" in name]
    save({name: tensor for name, tensor in tensors.items() if name != head}, path)
    with pytest.raises(BadInput, match=r"LLaVA .* lacks 1 of \d+ tensors, e\.g\. lm_head"):
        Llava(str(folder), "cpu", "float32").load()
    (folder / "config.json").write_text(json.dumps(tied))
    judge = Llava(str(folder), "cpu", "float32")._model().llava
    assert torch.equal(judge.lm_head.weight, judge.get_input_embeddings().get_parameter("weight"))
    save({n: t for n, t in load_file(path).items() if "embed_tokens" not in n}, path)
    with pytest.raises(BadInput, match=r"lacks 2 of \d+ tensors"):
        Llava(str(folder), "cpu", "float32").load()


def test_the_command_that_takes_a_prefix_off_does_so(root: Path) -> None:
    loader = LOADERS["text encoder"]
    path = root / loader.weights
    save(prefix(load_file(path), random.Random(0)), path)
    with pytest.raises(BadInput) as caught:
        loader.load(root)
    [_, code] = shlex.split(str(caught.value).partition("python ")[2])
    path.chmod(0o644)
    exec(code, {})
    loader.load(root)


# Value encoders and overlays


def test_only_what_was_frozen_is_taken_from_the_models_own_text_encoder(
    models: Path, root: Path
) -> None:
    folder = root / "value_encoder"
    config = json.loads((folder / "config.json").read_text())
    assert config[value_encoder.FROZEN] == ["embeddings."]
    loader = LOADERS["value encoder"]

    def with_field(value: object) -> None:
        (folder / "config.json").write_text(json.dumps(config | {value_encoder.FROZEN: value}))

    with_field([])
    with pytest.raises(BadInput, match=r"lacks 2 of \d+ tensors, e\.g\. embeddings"):
        loader.load(root)
    with_field(["encoder."])
    with pytest.raises(BadInput, match=r"lacks \d+ of \d+ tensors"):
        loader.load(root)
    with_field({"a": 1})
    with pytest.raises(BadInput, match=r"livo_frozen = .*expected a list"):
        loader.load(root)
    # All of them left out would be the text encoder itself, which has learnt nothing.
    with_field([""])
    save({}, folder / "model.safetensors")
    with pytest.raises(BadInput, match=r"lacks \d+ of \d+ tensors"):
        loader.load(root)


def test_a_run_refuses_a_value_encoder_before_it_samples(tmp_path: Path) -> None:
    shipped = DATA / "methods" / "livo" / "weights" / "mini" / "livo"
    encoder = shutil.copytree(shipped / "value_encoder", tmp_path / "encoder")
    path = encoder / "model.safetensors"
    save({f"module.{name}": tensor for name, tensor in load_file(path).items()}, path)
    runs = tmp_path / "runs"
    arguments = ["run", "--method", "livo", "--task", "bias/gender", "--images", "2"]
    made = CliRunner().invoke(main, [*arguments, "--weights", str(encoder), "--runs", str(runs)])
    assert made.exit_code == 2, made.output
    assert "Names begin with 'module.', as data-parallel training leaves it" in made.output
    assert not list(runs.rglob("*.parquet"))
    assert not list(runs.rglob("run.json"))


@pytest.mark.parametrize("longest", [25, 0, -1, 1e30, 24.0, "", ["a", 1], None])
def test_a_tokenizer_of_longer_texts_than_the_encoder_takes_is_refused(
    longest: object, root: Path
) -> None:
    path = root / "sd" / "tokenizer" / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model_max_length": longest}))
    with pytest.raises(BadInput, match=r"tokens of a text, and its text encoder takes up to 24"):
        LOADERS["retriever"].load(root)


# Samplers


def _schedule(root: Path, **changes: object) -> None:
    path = root / "sd" / "scheduler" / "scheduler_config.json"
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({name: value for name, value in config.items() if value != "gone"}))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"_class_name": "FlowMatchEulerDiscreteScheduler"}, r"is a FlowMatch.*expected one of: D"),
        ({"_class_name": "MyScheduler"}, "is a MyScheduler, whose noise levels"),
        ({"_class_name": "gone"}, "is a None"),
        ({"_class_name": ["x", "Y"]}, "expected one of"),
        ({"beta_schedule": "linear_something"}, r"Cannot load the scheduler .*linear_something"),
        ({"beta_schedule": "gone"}, "has no beta_schedule; expected the noise levels"),
        ({"beta_start": "gone", "beta_end": "gone"}, "has no beta_start, beta_end"),
        ({"beta_start": -0.1}, "Cannot load the scheduler"),
        ({"beta_end": 2.0}, "needs one each, between 0 and 1"),
        ({"beta_end": "x"}, "Cannot load the scheduler"),
        ({"beta_start": float("nan")}, "Cannot load the scheduler"),
        ({"num_train_timesteps": 0}, "Cannot load the scheduler"),
        ({"num_train_timesteps": 10.5}, "Cannot load the scheduler"),
        ({"trained_betas": [0.1, 0.2]}, "2 betas .*for 1000 timesteps"),
        ({"prediction_type": "flow_prediction"}, "prediction_type = 'flow_prediction'"),
        ({"prediction_type": "sample"}, "epsilon, v_prediction"),
        ({"algorithm_type": "sde-dpmsolver++"}, "Its algorithm_type is"),
        ({"use_flow_sigmas": True}, "use_flow_sigmas"),
        ({"solver_order": "x"}, "Cannot load the scheduler"),
        ({"timestep_spacing": "sometimes"}, "Cannot load the scheduler"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_sampler_that_cannot_be_followed_is_refused_as_the_model_loads(
    changes: dict[str, object], said: str, root: Path
) -> None:
    _schedule(root, **changes)
    with pytest.raises(BadInput, match=said):
        diffusion.load(root / "sd", "cpu", "float32")


@pytest.mark.parametrize(
    "kind",
    ["DDIMScheduler", "PNDMScheduler", "EulerDiscreteScheduler", "LMSDiscreteScheduler"],
)
def test_samplers_of_stable_diffusion_are_followed(kind: str, root: Path) -> None:
    _schedule(root, _class_name=kind)
    schedule.read(root / "sd" / "scheduler")


# Code


CODE = """\
from pathlib import Path
Path(__file__).with_name("marker").touch()
Path({marker!r}).touch()
from transformers import PreTrainedTokenizerFast, CLIPTextConfig
class Own(PreTrainedTokenizerFast): pass
class OwnConfig(CLIPTextConfig): pass
"""
TRUSTING = ("HF_HUB_TRUST_REMOTE_CODE", "TRUST_REMOTE_CODE", "TRANSFORMERS_TRUST_REMOTE_CODE")
AUTO_MAP = {
    "AutoTokenizer": ["own.Own", "own.Own"],
    "AutoConfig": "own.OwnConfig",
    "AutoModel": "own.Own",
    "AutoProcessor": "own.Own",
    "AutoImageProcessor": "own.Own",
}
FOREIGN = {
    "auto_map": AUTO_MAP,
    "custom_pipeline": "own",
    "trust_remote_code": True,
    "tokenizer_kwargs": {"trust_remote_code": True},
}


def _with_code(folder: Path) -> Path:
    """Lay code beside every configuration; returns the file that it would write."""
    marker = folder / "it-ran"
    for place in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
        (place / "own.py").write_text(CODE.format(marker=str(marker)))
    return marker


def _configurations(folder: Path) -> list[Path]:
    return sorted([*folder.rglob("*config.json"), *folder.rglob("model_index.json")])


@pytest.fixture
def trusting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in TRUSTING:
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))


def test_the_code_of_these_tests_would_run_if_it_were_let(root: Path) -> None:
    marker = _with_code(root / "clip")
    path = root / "clip" / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"auto_map": AUTO_MAP}))
    AutoTokenizer.from_pretrained(root / "clip", trust_remote_code=True)
    assert marker.exists()


FOLDERS = {
    "sd": lambda root: diffusion.load(root / "sd", "cpu", "float32"),
    "sd, retriever": lambda root: embeddings._load(find_weights(root / "sd", "model_index.json")),
    "clip": lambda root: ClipEncoder(str(root / "clip"), "cpu", "float32").load(),
    "llava": lambda root: Llava(str(root / "llava"), "cpu", "float32").load(),
    "features": lambda root: FeatureNetwork(str(root / "features"), "cpu").load(),
    "features, annotator": lambda root: FeatureNet.load(root / "features"),
    "value_encoder": LOADERS["value encoder"].load,
}


@pytest.mark.usefixtures("trusting")
@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_that_names_code_is_refused_and_its_code_is_not_run(name: str, root: Path) -> None:
    folder = root / name.partition(",")[0]
    marker = _with_code(folder)
    FOLDERS[name](root)  # a file of code that nothing names is no harm
    for path in _configurations(folder):
        kept = path.read_text()
        for key, value in FOREIGN.items():
            at_depth = {"model_cfg": {**json.loads(kept).get("model_cfg", {}), key: value}}
            for config in ({key: value}, at_depth):
                path.write_text(json.dumps(json.loads(kept) | config))
                with pytest.raises(BadInput, match=rf"{path.name} has {key} = "):
                    FOLDERS[name](root)
        path.write_text(kept)
    FOLDERS[name](root)
    assert not marker.exists()
    assert not list(root.rglob("marker"))


@pytest.mark.parametrize("key", sorted(ELSEWHERE))
def test_whatever_names_other_code_or_files_is_refused(key: str, root: Path) -> None:
    path = root / "llava" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"text_config": {key: {"a": "b"}}}))
    with pytest.raises(BadInput, match=rf"has {key} = "):
        Llava(str(root / "llava"), "cpu", "float32")


def test_configurations_behind_links_are_looked_at(root: Path) -> None:
    real = (root / "sd" / "tokenizer").rename(root / "tokenizer")
    (root / "sd" / "tokenizer").symlink_to(real)
    path = real / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"auto_map": AUTO_MAP}))
    with pytest.raises(BadInput, match="auto_map"):
        find_weights(root / "sd", "model_index.json")


@pytest.mark.parametrize(
    "changes",
    [
        {"_class_name": ["own", "Pipe"]},
        {"_class_name": "StableDiffusionXLPipeline"},
        {"unet": ["own", "UNet2DConditionModel"]},
        {"tokenizer": ["transformers", "AutoTokenizer"]},
        {"vae": [None, None]},
        {"text_encoder": "x"},
    ],
    ids=str,
)
def test_a_pipeline_of_other_parts_is_refused(changes: dict[str, object], root: Path) -> None:
    marker = _with_code(root / "sd")
    path = root / "sd" / "model_index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(BadInput, match="expected a "):
        diffusion.load(root / "sd", "cpu", "float32")
    assert not marker.exists()


def test_the_weights_that_ship_are_let_in() -> None:
    card = model_card("mini")
    engine = diffusion.load(card.pipeline, "cpu", "float32")
    weights = sorted((DATA / "methods").glob("*/weights/mini/**/*.safetensors"))
    assert weights
    for path in weights:
        if path.name == "model.safetensors":
            value_encoder.load(path.parent, engine.text_encoder)
        elif "debias-vl" in path.parts:
            projection.load(path, engine.embed(""))
        elif "prompt-tuning" in path.parts:
            soft_tokens.load(path, engine.embed(""))
        else:
            overlay.lay_over({"unet": engine.unet}, path)
    judges = {name: judge.weights for name, judge in card.judges.items()}
    ClipEncoder(judges["attributes"], "cpu", "float32").load()
    Llava(judges["hazards"], "cpu", "float32").load()
    FeatureNetwork(judges["features"], "cpu").load()
    FeatureNet.load(Path(judges["features"]).parent / "annotator")
