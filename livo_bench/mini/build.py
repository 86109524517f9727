"""`livo-bench mini build`: train the miniature world's models again from one seed, part by part.

Each part reads what earlier parts left, trains (or resumes) and writes its model in its
ecosystem's own format into the weights folder.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from diffusers import (
    AutoencoderKL,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from diffusers.models.attention_processor import AttnProcessor
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from livo_bench.engines import networks
from livo_bench.engines.tensor_files import CLIP_TEXT, DIFFUSERS, files_of
from livo_bench.errors import BadInput, UnknownName
from livo_bench.methods.training.fitting import Fit, Schedule, device, fit, write_report
from livo_bench.methods.training.training_record import alone
from livo_bench.mini import flow, judges, pictures, text, unet, vae, world
from livo_bench.mini.vocabulary import build_tokenizer
from livo_bench.scorers.featurenet import FeatureNet

GENERATOR_RENDERS = 48_000
JUDGE_RENDERS = 30_000


@dataclass(frozen=True, slots=True)
class Workshop:
    """Where a build reads and writes, and its seed."""

    work: Path
    """Renders, caches and checkpoints; safe to delete once built."""
    weights: Path
    """The finished models, as the package ships them."""
    seed: int

    @property
    def pipeline(self) -> Path:
        """The generator's diffusers folder."""
        return self.weights / "sd"

    def renders(self) -> pictures.Renders:
        """The generator's training pictures."""
        return pictures.renders(
            pictures.described, GENERATOR_RENDERS, pictures.GENERATOR_SEED, self.work
        )

    def passed(self, seed: int) -> pictures.Renders:
        """A judge's training pictures: balanced, passed through the autoencoder."""
        drawn = pictures.renders(pictures.balanced, JUDGE_RENDERS, seed, self.work)
        path = self.work / f"passed-{seed}-{JUDGE_RENDERS}-{world.digest()[:8]}.npy"
        pixels = judges.passed(self.autoencoder(), drawn.pixels, seed, path)
        return pictures.Renders(pixels, drawn.scenes, drawn.captions)

    def autoencoder(self) -> AutoencoderKL:
        """The trained autoencoder, float32."""
        folder = _finished(self.pipeline / "vae")
        files = files_of("VAE", folder, DIFFUSERS)
        return networks.diffuser(AutoencoderKL, files, torch.float32, device())

    def tokenizer(self) -> CLIPTokenizer:
        """The world's tokenizer, as the text part saved it."""
        return CLIPTokenizer.from_pretrained(_finished(self.pipeline / "tokenizer"))

    def text_encoder(self) -> CLIPTextModel:
        """The text tower as the text part left it, float32."""
        folder = _finished(self.work / "text_encoder")
        files = files_of("text encoder", folder, CLIP_TEXT)
        return networks.transformer(CLIPTextModel, files, torch.float32, device())

    def denoiser(self) -> UNet2DConditionModel:
        """The denoiser as the UNet part left it, float32."""
        folder = _finished(self.work / "unet")
        files = files_of("UNet", folder, DIFFUSERS)
        return networks.diffuser(UNet2DConditionModel, files, torch.float32, device())


def _finished(folder: Path) -> Path:
    if not folder.is_dir():
        raise BadInput(f"There is no {folder}. Train the parts before this one first.")
    return folder


def _train_vae(shop: Workshop) -> Fit:
    images = shop.renders().pixels
    torch.manual_seed(shop.seed)
    model = vae.build().to(device())
    schedule = Schedule(steps=5_500, batch=16, lr=2e-3)
    step = vae.step(model, images, schedule.batch)
    record = fit("vae", model, step, schedule, seed=shop.seed, folder=shop.work)
    latents = unet.moments(model, vae.to_tensor(images[:1024]).to(device()))
    model.register_to_config(scaling_factor=round(float(1 / latents[:, 0].std()), 5))
    model.half().save_pretrained(shop.pipeline / "vae")
    return record


def _train_text(shop: Workshop) -> Fit:
    data = shop.renders()
    tokenizer = build_tokenizer()
    tokenizer.save_pretrained(shop.pipeline / "tokenizer")
    torch.manual_seed(shop.seed + 1)
    towers = text.Towers(tokenizer).to(device())
    schedule = Schedule(steps=1_200, batch=128, lr=1e-3, weight_decay=0.05)
    ids = text.token_ids(tokenizer, data.captions)
    step = text.step(towers, ids, data.pixels, schedule.batch)
    record = fit("text", towers, step, schedule, seed=shop.seed + 1, folder=shop.work)
    towers.text.half().save_pretrained(shop.work / "text_encoder")
    # What is kept; the image tower and the projections have done their work.
    return replace(record, parameters=sum(p.numel() for p in towers.text.parameters()))


def _train_unet(shop: Workshop) -> Fit:
    """Train the denoiser on the frozen text tower."""
    data, autoencoder = shop.renders(), shop.autoencoder()
    latents = _latents(autoencoder, data.pixels, shop.work / "latents.npy")
    captions = sorted(set(data.captions))
    number = {caption: place for place, caption in enumerate(captions)}
    ids = text.token_ids(shop.tokenizer(), [*captions, ""])
    states = unet.encode_texts(shop.text_encoder(), ids)
    caption_of = torch.tensor([number[caption] for caption in data.captions])
    torch.manual_seed(shop.seed + 2)
    model = unet.build(text.WIDTH).to(device())
    schedule = Schedule(steps=5_000, until=3_932, batch=64, lr=1.2e-3, ema=0.998)
    context = unet.cached(states[:-1], caption_of, states[-1])
    scaling = autoencoder.config.scaling_factor
    step = unet.step(model, latents, scaling, context, schedule.batch)
    record = fit("unet", model, step, schedule, seed=shop.seed + 2, folder=shop.work)
    model.half().save_pretrained(shop.work / "unet")
    return record


def _train_joint(shop: Workshop) -> Fit:
    """Train denoiser and text tower on together: frozen, the tower told male from female too
    softly for the denoiser to obey."""
    data, autoencoder, encoder = shop.renders(), shop.autoencoder(), shop.text_encoder()
    tokenizer, model = shop.tokenizer(), shop.denoiser()
    # The backward pass of fused bf16 attention is several times slower on a CPU.
    model.set_attn_processor(AttnProcessor())
    encoder.set_attn_implementation("eager")
    both = nn.ModuleDict({"unet": model, "text": encoder}).requires_grad_(True)
    ids = text.token_ids(tokenizer, [*data.captions, ""])
    latents = _latents(autoencoder, data.pixels, shop.work / "latents.npy")
    schedule = Schedule(steps=2_000, batch=64, lr=6e-4, ema=0.998)
    context = unet.live(encoder, ids[:-1], ids[-1])
    scaling = autoencoder.config.scaling_factor
    step = unet.step(model, latents, scaling, context, schedule.batch)
    record = fit("joint", both, step, schedule, seed=shop.seed + 7, folder=shop.work)
    for network in (autoencoder, model):
        # Or the configuration would carry the path it was loaded from.
        network.register_to_config(_name_or_path="")
    StableDiffusionPipeline(
        vae=autoencoder.half(),
        text_encoder=encoder.half(),
        tokenizer=tokenizer,
        unet=model.half(),
        scheduler=unet.scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(shop.pipeline)
    return record


def _train_flow(shop: Workshop) -> Fit:
    """Train the second model: a flow transformer of the same latents and captions, with the text
    tower that learnt beside the UNet and a smaller one that learns beside the transformer."""
    data, autoencoder, tokenizer = shop.renders(), shop.autoencoder(), shop.tokenizer()
    folder = _finished(shop.pipeline / "text_encoder")
    files = files_of("text encoder", folder, CLIP_TEXT)
    first = flow.first_tower(networks.transformer(CLIPTextModel, files, torch.float32, device()))
    latents = _latents(autoencoder, data.pixels, shop.work / "latents.npy")
    captions = sorted(set(data.captions))
    number = {caption: place for place, caption in enumerate(captions)}
    ids = text.token_ids(tokenizer, [*captions, ""])
    torch.manual_seed(shop.seed + 8)
    second = flow.second_tower(first.config)
    model = nn.ModuleDict(
        {"transformer": flow.build(text.WIDTH + flow.SECOND_WIDTH), "second": second}
    ).to(device())
    means = latents[:, 0]
    shift, scaling = round(means.mean().item(), 5), round(1 / means.std().item(), 5)
    schedule = Schedule(steps=6_000, batch=64, lr=1e-3, ema=0.998)
    step = flow.step(
        model,
        latents,
        (shift, scaling),
        ids,
        flow.Said.cached(first, ids),
        torch.tensor([number[caption] for caption in data.captions]),
        schedule.batch,
    )
    record = fit("flow", model, step, schedule, seed=shop.seed + 8, folder=shop.work)
    autoencoder.register_to_config(shift_factor=shift, scaling_factor=scaling, _name_or_path="")
    StableDiffusion3Pipeline(
        transformer=model["transformer"].half(),
        scheduler=flow.scheduler(),
        vae=autoencoder.half(),
        text_encoder=first.half(),
        tokenizer=tokenizer,
        text_encoder_2=second.half(),
        tokenizer_2=tokenizer,
        text_encoder_3=None,
        tokenizer_3=None,
    ).save_pretrained(shop.weights / "flow")
    return record


def _latents(autoencoder: AutoencoderKL, images: np.ndarray, path: Path) -> Tensor:
    """Moments of all images under the autoencoder, computed once."""
    if not path.exists():
        starts = range(0, len(images), 256)
        parts = [
            unet.moments(autoencoder, vae.to_tensor(images[start : start + 256]).to(device()))
            for start in track(starts, "encoding", console=Console(stderr=True))
        ]
        np.save(path, torch.cat(parts).cpu().numpy())
    return torch.from_numpy(np.load(path))


def _train_attributes(shop: Workshop) -> Fit:
    data = shop.passed(pictures.JUDGE_SEED)
    tokenizer = build_tokenizer()
    torch.manual_seed(shop.seed + 3)
    clip, config = judges.build_clip(tokenizer)
    schedule = Schedule(steps=1_200, batch=152, lr=1e-3, weight_decay=0.05)
    step = judges.clip_step(clip.to(device()), tokenizer, data.pixels, data.scenes)
    record = fit("attributes", clip, step, schedule, seed=shop.seed + 3, folder=shop.work)
    judges.save_clip(clip, config, tokenizer, shop.weights / "attributes")
    return record


def _train_hazards(shop: Workshop) -> Fit:
    data = shop.passed(pictures.JUDGE_SEED)
    torch.manual_seed(shop.seed + 4)
    llava, processor = judges.build_llava()
    schedule = Schedule(steps=1_100, batch=96, lr=1.2e-3)
    step = judges.llava_step(
        llava.to(device()),  # type: ignore[arg-type]
        processor,
        data.pixels,
        data.scenes,
        schedule.batch,
    )
    record = fit("hazards", llava, step, schedule, seed=shop.seed + 4, folder=shop.work)
    llava.half().save_pretrained(shop.weights / "hazards")
    processor.save_pretrained(shop.weights / "hazards")
    return record


def _train_features(shop: Workshop) -> Fit:
    return _train_net(shop, "features", judges.FEATURE_HEADS, pictures.JUDGE_SEED, 5)


def _train_annotator(shop: Workshop) -> Fit:
    return _train_net(shop, "annotator", judges.ANNOTATOR_HEADS, pictures.ANNOTATOR_SEED, 6)


def _train_net(
    shop: Workshop, name: str, heads: dict[str, list[str]], pictures_seed: int, offset: int
) -> Fit:
    data = shop.passed(pictures_seed)
    torch.manual_seed(shop.seed + offset)
    net = FeatureNet(24, heads).to(device())
    schedule = Schedule(steps=1_200, batch=128, lr=2e-3)
    step = judges.feature_step(net, data.pixels, judges.labels(data.scenes, heads), schedule.batch)
    record = fit(name, net, step, schedule, seed=shop.seed + offset, folder=shop.work)
    net.save(shop.weights / name)
    return record


PARTS: dict[str, Callable[[Workshop], Fit]] = {
    "vae": _train_vae,
    "text": _train_text,
    "unet": _train_unet,
    "joint": _train_joint,
    "attributes": _train_attributes,
    "hazards": _train_hazards,
    "features": _train_features,
    "annotator": _train_annotator,
    "flow": _train_flow,
}
"""Trainings of the parts, in the order in which they build on each other."""

MODELS: dict[str, tuple[str, ...]] = {
    "mini": tuple(name for name in PARTS if name != "flow"),
    "mini-flow": ("flow",),
}
"""Parts that the card of each model tells of: judges and autoencoder stand on the first."""


def build(parts: Sequence[str], work: Path, weights: Path, seed: int = 0) -> None:
    """Train parts of the world, all of them when none is named; each resumes where it stopped.

    Args:
        parts: Names out of `PARTS`.
        work: Folder for renders and checkpoints, about 4 GB.
        weights: Folder for the finished models.
        seed: Seed of weights and batches; the world's pictures have their own seeds.

    Raises:
        UnknownName: No such part.
        BadInput: A part that another needs was not trained yet, or another process trains it.
    """
    for name in parts:
        if name not in PARTS:
            raise UnknownName(f"Unknown part {name!r}. Known: {', '.join(PARTS)}.")
    shop = Workshop(work, weights, seed)
    for name in parts or PARTS:
        with alone(work, name):
            write_report(work, name, PARTS[name](shop))
