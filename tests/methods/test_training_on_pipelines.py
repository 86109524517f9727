"""LiVO and DPO on pipelines of several text encoders, from data to images, by the loss of each."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import diffusers
import numpy as np
import originals
import pandas as pd
import pytest
import tiny_pipelines
import torch
from safetensors.torch import load_file
from short_trainings import PREFERENCES, ByPixels, shorten_lists, shortened

from livo_bench.cards.catalog import model_card, model_digest
from livo_bench.cards.declared import ModelCard, Subset, TaskCard
from livo_bench.cards.weights import digest_folder
from livo_bench.engines import towers, value_encoder
from livo_bench.engines.noising import UNIFORM
from livo_bench.engines.pipeline import Pipeline
from livo_bench.engines.value_call import ValueCalls
from livo_bench.interfaces import Pixels
from livo_bench.methods.livo import encoder_settings, pairs, preference, preference_data
from livo_bench.methods.livo.loss import Batch, loss
from livo_bench.methods.livo.train import Trainer
from livo_bench.methods.training.training import train
from livo_bench.records import Prompt, recipe_from_json
from livo_bench.runs.remake import SAME_BITS, remake
from livo_bench.runs.runner import run
from livo_bench.runs.session import Session
from livo_bench.runs.store import Store
from livo_bench.scorers import annotator
from livo_bench.scorers.annotator import Annotation

KINDS = ("sd3", "sdxl", pytest.param("flux", marks=pytest.mark.slow))


DOCS = Path(__file__).parents[2] / "docs" / "livo-elsewhere.md"


class Skewed(ByPixels):
    """Sees the first group more often than chance would."""

    id = "skewed-1"

    def annotate(
        self, task: TaskCard, subset: Subset, pixels: Pixels, prompts: Sequence[Prompt]
    ) -> Annotation:
        if not subset.attributes:
            return super().annotate(task, subset, pixels, prompts)
        labels = list(subset.attributes)
        drawn = [int(image.astype(np.int64).sum()) % (2 * len(labels)) for image in pixels]
        named = [labels[which] if which < len(labels) else labels[0] for which in drawn]
        return Annotation(np.array(named), np.full(len(pixels), True))


class Made(NamedTuple):
    """A training of LiVO on a tiny pipeline."""

    card: Path
    method: Path
    runs: Path
    settings: Path
    weights: Path

    @property
    def model(self) -> ModelCard:
        return model_card(str(self.card))

    def session(self) -> Session:
        return Session(self.model, 42, "cpu", "float32", self.runs)


@pytest.fixture(scope="module", params=KINDS)
def made(
    request: pytest.FixtureRequest,
    tiny_model: Path,
    tiny_weights: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Made]:
    """LiVO, trained as `livo-bench train --method livo` trains it, on each kind in turn."""
    folder = tmp_path_factory.mktemp(request.param)
    path = folder / f"tiny-{request.param}.toml"
    saved = tiny_pipelines.save(request.param, folder / request.param)
    text = tiny_pipelines.card(request.param, tiny_model, saved)
    note = f'\n[annotator]\nweights = "{tiny_weights}/clip"\ndtype = "float32"\n'
    path.write_text(text.replace('scale = "mini"', 'scale = "sd"') + note, encoding="utf-8")
    settings = folder / "preferences.toml"
    settings.write_text(PREFERENCES, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        (folder / "prompts").mkdir()
        shorten_lists(patch, folder / "prompts")
        patch.setattr(annotator, "load", lambda judge, device: Skewed())
        method, runs = shortened("livo", folder), folder / "runs"
        weights = train(str(method), str(path), device="cpu", runs=runs, settings=settings)
        yield Made(path, method, runs, settings, weights)


def test_training_writes_an_encoder_for_each_tower_and_one_digest(made: Made) -> None:
    towers_of = ["text_encoder"] + ["text_encoder_2"] * (made.model.kind != "FluxPipeline")
    assert sorted(path.name for path in made.weights.iterdir()) == towers_of
    record = json.loads((made.weights.parent / "training.json").read_text())
    assert record["files"]["value_encoder"] == digest_folder(made.weights)
    flow = made.model.kind != "StableDiffusionXLPipeline"
    assert record["settings"].get("density") == ("logit-normal" if flow else None)
    log = pd.read_csv(made.weights.parent / "log.csv")
    assert list(log["step"]) == [1, 2]
    assert np.isfinite(log.to_numpy()).all()
    own = made.session().renderer._own()  # type: ignore[attr-defined]
    before = towers.new(own).state_dict()
    for name in towers_of:
        learnt = load_file(made.weights / name / "model.safetensors")
        moved = {n for n, t in learnt.items() if not torch.equal(t, before[f"{name}.{n}"].half())}
        assert any("encoder.layers.0" in n for n in moved), name


def test_preference_data_clean_pictures_in_a_way_the_model_knows(made: Made) -> None:
    [folder] = preference_data.folder_of(made.runs, made.model.name).iterdir()
    rows = preference_data.read(folder)
    assert {"gender", "race", "nudity", "bloody", "horror"} <= set(rows["subset"])
    twins = [recipe_from_json(line) for line in rows.loc[rows["twin"] != "", "recipe"]]
    originals_of = {
        key: recipe_from_json(line) for key, line in zip(rows["key"], rows["recipe"], strict=True)
    }
    assert twins
    for twin, key in zip(twins, rows.loc[rows["twin"] != "", "twin"], strict=True):
        own = originals_of[key]
        assert twin.seed == own.seed
        assert twin.needs <= {*made.model.offers}
        assert twin.safety is not None or twin.negative or twin.text != own.text


def test_a_step_is_to_the_loss_written_out(made: Made) -> None:
    """Every number from the model's own parts, in float64 where it is arithmetic."""
    session, model = made.session(), made.model
    trainer = a_trainer(made, session)
    found = trainer.losses(trainer.batch(0), half=False)
    pipe = diffusers.DiffusionPipeline.from_pretrained(model.pipeline)
    [noisy, times, _] = trainer.batch(0).noised
    prompts = [trainer.pairs.prompts[row] for row in trainer.batch(0).prompts]
    values = [trainer.pairs.values[name] for name in trainer.batch(0).subsets]
    said = [
        said_by(pipe, model, trainer, noisy, times, list(zip(values, prompts, strict=True)), steer)
        for steer in (True, False)
    ]
    targets = trainer.batch(0).noised.targets
    errors = torch.cat([((s - targets) ** 2).mean(dim=(1, 2, 3)) for s in said])
    torch.testing.assert_close(torch.cat([*found]), errors, rtol=1e-4, atol=1e-6)
    if model.kind == "StableDiffusionXLPipeline":
        return
    # What was noised is (noisy - s noise) / (1 - s), and the target is noise less that.
    s = (times.double() / 1000).numpy().reshape(-1, 1, 1, 1)
    target = targets.double().numpy()
    clean = noisy.double().numpy() - s * target
    noise = clean + target
    w, l = np.split(clean, 2)  # noqa: E741
    shared, again = np.split(noise, 2)
    np.testing.assert_allclose(shared, again, atol=1e-4)
    each = [half.double().detach().numpy() for part in said for half in part.chunk(2)]
    c = (1000.0, 500.0, 1.0, 0.5)
    batch = Batch(*(torch.full((len(w),), value) for value in c))
    expected = originals.livo_by_flow([w, l], shared, each, *c)
    assert loss("livo", found, batch).item() == pytest.approx(expected, rel=1e-2)


def a_trainer(made: Made, session: Session) -> Trainer:
    chosen = encoder_settings.read(str(made.method), "sd", made.model.kind)
    [folder] = preference_data.folder_of(made.runs, made.model.name).iterdir()
    rows = preference_data.read(folder)
    rows = rows[rows["subset"].isin(chosen.coefficients)]
    formed = pairs.form(session, rows, chosen.coefficients, chosen.weight, folder)
    trainer = Trainer(session, chosen, formed, 0, made.runs / "out")
    learnt = towers.load(made.weights, session.renderer._own())  # type: ignore[attr-defined]
    trainer.encoder.load_state_dict(learnt.state_dict())
    return trainer


@torch.no_grad()
def said_by(
    pipe: Any,
    model: ModelCard,
    trainer: Trainer,
    noisy: torch.Tensor,
    times: torch.Tensor,
    told: Sequence[tuple[str, str]],
    steer: bool,
) -> torch.Tensor:
    """What the pipeline's own network says of noisy latents, called by hand."""
    most = int(model.call.get("max_sequence_length", 0))
    kind, encoders = model.kind, trainer.encoder
    contexts, pooled = [], []
    for value, text in told:
        if kind == "FluxPipeline":
            context, whole, _ = pipe.encode_prompt(text, max_sequence_length=most)
            first = most
        elif kind == "StableDiffusion3Pipeline":
            context, _, whole, _ = pipe.encode_prompt(text, None, None, max_sequence_length=most)
            first = pipe.tokenizer.model_max_length
        else:
            context, _, whole, _ = pipe.encode_prompt(text)
            first = pipe.tokenizer.model_max_length
        if steer:
            states = []
            for name in encoders:  # type: ignore[attr-defined]
                tokenizer = getattr(pipe, name.replace("text_encoder", "tokenizer"))
                ids = tokenizer(f"{value}, {text}", truncation=True, return_tensors="pt").input_ids
                out = encoders[name](ids, output_hidden_states=True)  # type: ignore[index]
                projected = kind == "FluxPipeline"
                states.append(out.text_embeds if projected else out.hidden_states[-2][:, -1])
            token = torch.cat(states, dim=1)
            token = torch.nn.functional.pad(token, (0, context.shape[-1] - token.shape[-1]))
            token = token + context[:, -1] if kind == "FluxPipeline" else token
            context = torch.cat([token[:, None], context[:, : first - 1], context[:, first:]], 1)
        contexts.append(context)
        pooled.append(whole)
    context, whole = torch.cat(contexts * 2), torch.cat(pooled * 2)
    if kind == "StableDiffusionXLPipeline":
        ids = torch.tensor([[model.size, model.size, 0, 0, model.size, model.size]] * len(noisy))
        besides = {"text_embeds": whole, "time_ids": ids}
        said: torch.Tensor = pipe.unet(noisy, times, context, added_cond_kwargs=besides).sample
        return said
    if kind == "StableDiffusion3Pipeline":
        told_of = {"encoder_hidden_states": context, "pooled_projections": whole}
        said = pipe.transformer(noisy, timestep=times, **told_of).sample
        return said
    n, channels, height, width = noisy.shape
    said = pipe.transformer(
        pipe._pack_latents(noisy, n, channels, height, width),
        encoder_hidden_states=context,
        pooled_projections=whole,
        timestep=times / 1000,
        guidance=torch.full((n,), model.guidance),
        txt_ids=torch.zeros(context.shape[1], 3),
        img_ids=pipe._prepare_latent_image_ids(n, height // 2, width // 2, "cpu", torch.float32),
    ).sample
    unpacked: torch.Tensor = pipe._unpack_latents(said, height, width, 1)
    return unpacked


def test_only_what_makes_the_token_learns(made: Made) -> None:
    trainer = a_trainer(made, made.session())
    losses = trainer.losses(trainer.batch(0), half=False)
    (losses.w.mean() - losses.l.mean()).backward()
    touched = {n for n, p in trainer.encoder.named_parameters() if p.grad is not None}
    assert touched == trainer.encoder.learning()  # type: ignore[operator]
    assert all(p.grad is None for p in trainer.network.parameters())


def test_times_are_drawn_as_the_settings_say(made: Made) -> None:
    path = made.method / "training.toml"
    text = path.read_text(encoding="utf-8")
    try:
        path.write_text(text.replace('density = "logit-normal"', f'density = "{UNIFORM}"'), "utf-8")
        chosen = encoder_settings.read(str(made.method), "sd", made.model.kind)
    finally:
        path.write_text(text, encoding="utf-8")
    flow = made.model.kind != "StableDiffusionXLPipeline"
    assert chosen.density == (UNIFORM if flow else None)
    assert encoder_settings.read(str(made.method), "sd").density is None


def test_a_run_that_broke_off_ends_as_one_that_did_not_and_is_made_again(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = tmp_path / "prompts.csv"
    prompts.write_text("text,category\na photo of a doctor,career\na photo of a nurse,career\n")
    options: dict[str, Any] = {"task": "bias/race", "model": str(made.card), "images": 7}
    options |= {"prompts": prompts, "device": "cpu", "weights": str(made.weights)}
    [whole] = run([str(made.method)], **options, runs=tmp_path / "whole")

    render, batches = Pipeline.render, []

    def break_off(self: Pipeline, recipes: Any) -> Any:
        batches.append(recipes)
        if len(batches) == 2:
            raise OSError("pulled the plug")
        return render(self, recipes)

    monkeypatch.setattr(Pipeline, "render", break_off)
    with pytest.raises(OSError, match="pulled the plug"):
        run([str(made.method)], **options, runs=tmp_path / "broken")
    monkeypatch.setattr(Pipeline, "render", render)
    [broken] = run([str(made.method)], **options, runs=tmp_path / "broken")
    for name in ("images.parquet", "aggregates.csv"):
        assert (whole / name).read_bytes() == (broken / name).read_bytes()
    found = value_encoder.find(made.weights, made.model).digest
    store = Store(tmp_path / "whole", made.model.name)
    recipes = list(store.read_recipes(store.sample_keys()).values())
    steered = [recipe for recipe in recipes if recipe.value is not None]
    assert {recipe.value_encoder for recipe in steered} == {found}
    # The even ones of 0 to 6 of two prompts, and all of them as the model itself draws them.
    assert (len(steered), len(recipes)) == (8, 22)
    again = {"share": 1.0, "model": str(made.card), "device": "cpu", "runs": tmp_path / "whole"}
    remade = remake(**again, methods=[str(made.method)], weights=str(made.weights))  # type: ignore[arg-type]
    assert [one.verdict for one in remade] == [SAME_BITS] * 22


def test_the_example_of_the_docs_gives_diffusers_own_pipeline_what_the_engine_gives_it(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if made.model.kind == "FluxPipeline":
        return  # the example is of the others
    example = next(
        code
        for code in re.findall(r"```python\n(.*?)```", DOCS.read_text("utf-8"), re.DOTALL)
        if "prompt_embeds" in code
    )
    for old, new in {
        '"value_encoder", "gender': f'"{made.weights}", "gender',
        "stabilityai/stable-diffusion-3.5-medium": made.model.pipeline,
        "pipe(**told)": 'pipe(**told, num_inference_steps=2, output_type="pil")',
    }.items():
        assert old in example
        example = example.replace(old, new)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    try:
        exec(compile(example, "docs/livo-elsewhere.md", "exec"), names)
    finally:
        torch.set_grad_enabled(True)
    assert (tmp_path / "nurse.png").is_file()
    session = made.session()
    recipe = replace(
        session.recipe(names["text"], 0),
        value=names["value"],
        value_encoder="of the docs",
        layout="pad77",
    )
    calls, own = ValueCalls(), session.renderer._own()  # type: ignore[attr-defined]
    calls.use("of the docs", towers.load(made.weights, own))
    with torch.no_grad():
        told = calls.told(own, [recipe], 256, guided=True)
    for name, given in told.items():
        torch.testing.assert_close(names["told"][name], given, rtol=1e-4, atol=1e-5)


def test_dpo_learns_from_the_same_data(made: Made, tmp_path: Path) -> None:
    method = shortened("dpo", made.method.parent)
    before = sorted((made.runs / "preferences").rglob("*.parquet"))
    weights = train(
        str(method), str(made.card), device="cpu", runs=made.runs, settings=made.settings
    )
    assert sorted((made.runs / "preferences").rglob("*.parquet")) == before
    assert value_encoder.find(weights, made.model).digest != digest_folder(made.weights)
    base = json.loads((weights / "text_encoder" / "config.json").read_text())["livo_base"]
    assert base == model_digest(made.model)
    assert preference.tasks_of(["race"]) == ["bias"]
