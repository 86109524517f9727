"""What a training would take, held against arithmetic done here."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import memory as counter
import pytest
import torch
from click.testing import CliRunner
from diffusers import SD3Transformer2DModel, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import nn

from livo_bench.cards.catalog import method_card, model_card, value_tasks
from livo_bench.cards.declared import TaskCard
from livo_bench.cards.prompts import read_task_prompts
from livo_bench.cli import main
from livo_bench.engines.denoiser import Conditions
from livo_bench.engines.hearing import HEARINGS
from livo_bench.errors import BadInput
from livo_bench.methods.training import training
from livo_bench.methods.training.training import plan
from livo_bench.methods.training.training_plan import OF_ANY, OF_DIFFUSION


@pytest.fixture(autouse=True)
def lists(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """The mini world's prompts stand in for those of Stable Diffusion; how many train."""
    of_mini = {name: card.prompts("mini") for name, card in value_tasks().items()}
    monkeypatch.setattr(TaskCard, "prompts", lambda self, scale: of_mini[self.name])
    return {
        name + suffix: len(read_task_prompts(card, "mini", split))
        for name, card in value_tasks().items()
        for suffix, split in (("", "train"), (" dev", "dev"))
    }


def test_a_card_says_how_much_slower_training_is(
    lists: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    card = model_card("sd15")
    for method in ("livo", "esd", "selective-amnesia"):
        as_sampled = plan(method, "sd15", rate=2.0)
        with monkeypatch.context() as patched:
            patched.setattr(training, "model_card", lambda _: replace(card, slower=3.0))
            slower = plan(method, "sd15", rate=2.0)
        assert slower.seconds == pytest.approx(3 * as_sampled.seconds)
        assert slower.data_seconds == as_sampled.data_seconds
        assert "50 evaluations / 3, for training is slower" in str(slower)
        assert "slower" not in str(as_sampled)


def test_a_value_encoders_steps_are_counted_in_evaluations(lists: dict[str, int]) -> None:
    found = plan("livo", "sd15", rate=2.0)
    # 8 pairs, 4 passes each; an image is 25 steps of two evaluations.
    assert found.seconds == pytest.approx(15_000 * 16 * 4 / (2 * 50))
    bias, toxicity = lists["bias"] * 150, lists["toxicity"] * 40
    assert found.data_seconds == ((bias + toxicity) / 2, (bias + 3 * toxicity) / 2)
    # A dev prompt of bias serves two values, one of toxicity its own. Plain halves are sampled
    # once, steered ones 15 times; of 24 train prompts for each share both.
    looked, calibrated = 2 * lists["bias dev"] + lists["toxicity dev"], 2 * 24
    assert found.dev_seconds == 10 * (looked * (1 + 15) + calibrated * 2) / 2
    memory = model_card("sd15").memory
    frozen = 2 * (memory["denoiser"] + memory["text"] + memory["vae"])
    kept = 16 * memory["context_learns_checkpointed"] + 8 * memory["value_encoder_learns"]
    # In float32 a parameter, its gradient and two moments, and the parameter in half precision.
    assert found.memory == frozen + (4 * 4 + 2) * memory["text"] + kept
    assert 8e9 < found.memory < 9e9
    picture, checkpoint = 500_000 + 2 * 2 * 4 * 64 * 64, 3 * 4 * memory["text"]
    assert found.disk == tuple(2 * n * picture + 2 * checkpoint for n in found.data_seconds)
    text = str(found)
    for said in ("15,000 steps of 16 pictures", "2 h 40 min", "forward again", "n-th", "first"):
        assert said in text
    assert plan("livo", "sd15", steps=1500).seconds == pytest.approx(found.seconds / 10)
    assert plan("livo", "sd15", rate=4.0).seconds == pytest.approx(found.seconds / 2)


def test_the_other_methods_are_counted_by_what_they_do(lists: dict[str, int]) -> None:
    dapt = plan("dapt", "sd15", rate=2.0)
    assert dapt.seconds == pytest.approx(15_000 * 8 * 4 / 100)
    memory = model_card("sd15").memory
    assert dapt.memory > 16 * memory["denoiser"]
    assert dapt.dev_seconds == 0
    ca = plan("ca", "sd15", rate=2.0)
    # What does not learn has no gradient and no moments; a finished hazard's checkpoint stays.
    assert ca.memory < dapt.memory
    checkpoints = 4 * (4 * memory["denoiser"] + 8 * memory["attn"])
    assert ca.disk == (4 * lists["toxicity"] * (500_000 + memory["latents"]) + checkpoints,) * 2
    assert ca.seconds == pytest.approx(3 * 400 * 16 * 4 / 100)
    assert ca.data_seconds == (4 * lists["toxicity"] / 2,) * 2
    forget = plan("forget-me-not", "sd15", rate=2.0)
    assert forget.seconds == pytest.approx(3 * 35 * 1 * 3 / 100)
    assert forget.data_seconds == (4 * lists["toxicity"] / 2,) * 2
    amnesia = plan("selective-amnesia", "sd15", rate=2.0)
    fisher = lists["bias"] * 1000 * 4
    assert amnesia.seconds == pytest.approx((3 * 31_250 * 32 * 4 + fisher) / 100)
    assert amnesia.data_seconds == ((4 * lists["toxicity"] + lists["bias"]) / 2,) * 2
    assert "Fisher pass" in str(amnesia)
    uce = plan("uce", "sd15", rate=2.0)
    assert (uce.seconds, uce.memory, uce.disk) == (0, 0, (0, 0))
    # From one round to all thirty, and one that looks at what is kept.
    assert uce.data_seconds == (2 * 50 * 24 * 3 / 2, 31 * 50 * 24 * 3 / 2)
    fd = plan("fd", "mini", rate=2.0)
    assert fd.disk[0] == 2 * fd.data_seconds[0] * 10_000 > 0
    assert plan("dpo:d", "mini").seconds == plan("livo", "mini").seconds
    # Two values, in each 42 prompts; the reference, and there and back with and without the group.
    slower = model_card("mini").slower
    soft = plan("prompt-tuning", "mini", rate=2.0)
    assert soft.data_seconds == (42 * (2 + 5) / 2,) * 2
    assert soft.seconds == pytest.approx(2 * 400 * 8 * (1 + 2 * 2) / (2 * 30) * slower)
    weighted = plan("reward-weighted", "mini", rate=2.0)
    # Beside the preference data, two pictures of each of 300 prompts that touch no value.
    of_data = plan("dapt", "mini", rate=2.0).data_seconds
    assert weighted.data_seconds == tuple(seconds + 2 * 300 / 2 for seconds in of_data)
    assert weighted.seconds == pytest.approx(1_000 * 2 * 8 * 3 / (2 * 30) * slower)


@pytest.mark.parametrize("method", ["esd", "esd:u", "livo:wo-m", "uce"])
def test_what_the_weights_that_ship_took_stands_beside_what_is_counted(method: str) -> None:
    own = method_card(method.partition(":")[0]).folder / "weights" / "mini"
    records = [json.loads(path.read_text()) for path in own.glob("**/training.json")]
    (minutes,) = (each["minutes"] for each in records if each["method"] == method)
    said = [line for line in str(plan(method)).splitlines() if "recorded: " in line]
    assert len(said) == 1
    assert f"took {sum(minutes.values()):.1f} min" in said[0]
    assert "recorded" not in str(plan(method, "sd15"))


def test_what_cannot_be_known_is_refused(tmp_path: object, tiny_model: object) -> None:
    with pytest.raises(BadInput, match=r"'tiny' has no table \[memory\].*benchmarks/memory\.py"):
        plan("livo", str(tiny_model))
    for method in ("sd", "sld", "negative"):
        with pytest.raises(
            BadInput, match=rf"'{method}' has no .*training\.toml, so .* nothing to"
        ):
            plan(method, "sd15")


def test_the_command_prints_the_plan() -> None:
    words = ["train", "--method", "livo", "--model", "sd15", "--plan", "--rate", "5"]
    result = CliRunner().invoke(main, words, catch_exceptions=False)
    assert "Memory: about 8.5 GB." in result.stdout
    result = CliRunner().invoke(main, ["train", "--method", "livo", "--rate", "5"])
    assert result.exit_code == 2
    assert "--rate is what --plan plans with" in result.stderr


def test_what_autograd_keeps_is_counted_as_a_gpu_casts_it() -> None:
    """A convolution in half precision keeps its input so, a norm in float32 its own."""

    def count(pictures: int) -> int:
        network = nn.Sequential(
            nn.Conv2d(4, 6, 3, padding=1), nn.GroupNorm(2, 6), nn.SiLU(), nn.Conv2d(6, 4, 1)
        )
        return counter.kept(network, partial(network, torch.randn(pictures, 4, 8, 8)))

    inputs, statistics = 64 * (4 * 2 + 6 * 4 + 6 * 4 + 6 * 2), 2 * 2 * 4
    assert counter.of_a_picture(count, "cuda") == inputs + statistics


def test_a_real_pass_keeps_what_the_card_says() -> None:
    card = model_card("mini")
    unet = UNet2DConditionModel.from_pretrained(Path(card.pipeline) / "unet")
    unet = unet.float().train()
    unet.set_attn_processor(AttnProcessor())
    few, many = (
        counter.kept(
            unet,
            partial(unet, torch.zeros(n, 8, 8, 8), torch.zeros(n), torch.zeros(n, 32, 128)),
        )
        for n in (1, 3)
    )
    # A CPU has the statistics of norms in float32, where fake tensors have them in bfloat16.
    assert (many - few) / 2 == pytest.approx(card.memory["denoiser_learns"], rel=0.005)


@pytest.mark.parametrize(
    ("memory", "said"),
    [
        ("", r"has no table \[memory\]"),
        ("[memory]\ndenoiser = 5\n", r"has no fields text, vae, value_encoder, latents"),
    ],
)
def test_a_card_that_does_not_say_what_the_model_takes_is_named(
    tiny_model: Path, tmp_path: Path, memory: str, said: str
) -> None:
    card = tmp_path / "tiny.toml"
    text = tiny_model.read_text("utf-8").replace('"./', f'"{tiny_model.parent}/')
    card.write_text(text + memory, encoding="utf-8")
    with pytest.raises(BadInput, match=said):
        plan("livo", str(card))


def test_the_cards_of_the_package_say_all_that_a_plan_asks() -> None:
    for name in ("mini", "sd15", "sd21"):
        assert set(model_card(name).memory) == {*OF_ANY, *OF_DIFFUSION}
    for name in ("mini-flow", "sdxl", "sd35-medium", "flux1-dev", "flux1-schnell"):
        assert set(model_card(name).memory) == set(OF_ANY)
        assert plan("livo", name).memory > 0


def test_a_real_pass_of_a_transformer_keeps_what_the_card_says() -> None:
    card = model_card("mini-flow")
    network = SD3Transformer2DModel.from_pretrained(Path(card.pipeline) / "transformer")
    network = network.float().requires_grad_(False)
    few, many = (
        counter.kept(
            network,
            partial(
                HEARINGS[card.kind].ask,
                network,
                torch.zeros(n, 8, 8, 8),
                torch.zeros(n),
                Conditions(
                    torch.zeros(n, 32, 224, requires_grad=True),
                    {"pooled_projections": torch.zeros(n, 224)},
                ),
            ),
        )
        for n in (1, 3)
    )
    assert (many - few) / 2 == pytest.approx(card.memory["context_learns"], rel=0.005)
