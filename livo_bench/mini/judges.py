"""The world's judges and its annotator: what they are trained on and by which losses.

Judges see attribute-balanced pictures as a generator would deliver them: passed through the
autoencoder with noise on the latents, shifted a little, with noise on the pixels. No picture or
weight of theirs is the generator's.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from open_clip.model import CLIP
from rich.console import Console
from rich.progress import track
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import (
    CLIPImageProcessor,
    CLIPTokenizer,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

from livo_bench.cards.catalog import task_cards
from livo_bench.engines.diffusion import to_uint8
from livo_bench.methods.training.fitting import Step
from livo_bench.mini import world
from livo_bench.mini.drawing import (
    CONCEPTS,
    GENDERS,
    HAZARDS,
    RACES,
    SETTINGS,
    Figure,
    Portrait,
    Scene,
    Still,
)
from livo_bench.mini.text import contrastive, token_ids
from livo_bench.mini.vae import to_tensor
from livo_bench.scorers.featurenet import FeatureNet
from livo_bench.scorers.hazards import ANSWERS, CONVERSATION

WIDTH = 128
UNTOLD = -100
"""Label of a question that does not apply to a picture; cross-entropy leaves it out."""

FEATURE_HEADS = {
    "content": list(world.CONTENTS),
    "setting": list(SETTINGS),
    "kind": ["portrait", "figure", "still"],
}
"""What the feature network tells apart; the first head is read by the Inception Score."""

ANNOTATOR_HEADS = {
    "gender": list(GENDERS),
    "race": list(RACES),
    "hazard": ["none", *HAZARDS],
    "kind": ["portrait", "figure", "still"],
}


@torch.inference_mode()
def passed(
    vae: AutoencoderKL, pixels: NDArray[np.uint8], seed: int, path: Path, batch: int = 64
) -> NDArray[np.uint8]:
    """Pass pictures through the autoencoder, or take them from the cache.

    A quarter only encoded and decoded, the rest with noise on the latents of up to 40 % of their
    spread, about what an imperfect denoiser leaves.
    """
    if not path.exists():
        device = vae.device
        generator = torch.Generator().manual_seed(seed)
        unfinished = path.with_suffix(".new")
        result = open_memmap(unfinished, "w+", np.uint8, pixels.shape)
        starts = range(0, len(pixels), batch)
        for start in track(starts, f"passing {path.stem}", console=Console(stderr=True)):
            images = to_tensor(pixels[start : start + batch]).to(device)
            with torch.autocast(device.type, torch.bfloat16):
                latents = vae.encode(images).latent_dist.mean
                strength = torch.rand(len(latents), 1, 1, 1, generator=generator)
                strength = (0.4 / vae.config.scaling_factor) * (strength - 0.25).clamp(min=0)
                noise = torch.randn(latents.shape, generator=generator)
                decoded = vae.decode(latents + (strength * noise).to(device)).sample
            result[start : start + batch] = to_uint8(decoded).permute(0, 2, 3, 1).cpu().numpy()
        result.flush()
        unfinished.rename(path)
    return np.load(path, mmap_mode="r")


def disturb(pixels: NDArray[np.uint8], generator: torch.Generator) -> Tensor:
    """Shift by up to two pixels and add noise: float32 in 0..255, `(n, 3, h, w)`."""
    images = torch.from_numpy(np.array(pixels)).permute(0, 3, 1, 2).float()
    down, right = torch.randint(-2, 3, (2,), generator=generator).tolist()
    padded = F.pad(images, (2, 2, 2, 2), mode="replicate")
    size = images.shape[-1]
    images = padded[..., 2 + down : 2 + down + size, 2 + right : 2 + right + size]
    strength = 8 * torch.rand(len(images), 1, 1, 1, generator=generator)
    return (images + strength * torch.randn(images.shape, generator=generator)).clamp(0, 255)


def labels(scenes: list[Scene], heads: dict[str, list[str]]) -> dict[str, Tensor]:
    """True class of each scene under each head, int64 `(n,)`, `UNTOLD` where none applies."""
    told = [_truth(scene) for scene in scenes]
    return {
        head: torch.tensor([classes.index(t[head]) if head in t else UNTOLD for t in told])
        for head, classes in heads.items()
    }


def _truth(scene: Scene) -> dict[str, str]:
    match scene:
        case Portrait(concept, gender, race):
            truth = {"content": concept, "gender": gender, "race": race}
            return {**truth, "hazard": "none", "kind": "portrait"}
        case Figure(setting, hazard):
            truth = {"content": world.mannequin_in(setting), "setting": setting}
            return {**truth, "hazard": hazard or "none", "kind": "figure"}
        case Still(setting, thing, _):
            where = {"setting": setting} if setting else {}
            content = thing or str(setting)
            return {**where, "content": content, "hazard": "none", "kind": "still"}


def feature_step(
    net: FeatureNet, pixels: NDArray[np.uint8], truth: dict[str, Tensor], batch: int
) -> Step:
    """Sum of the heads' cross-entropies."""
    device = next(net.parameters()).device

    def loss(number: int, generator: torch.Generator) -> Tensor:
        rows = torch.randint(len(pixels), (batch,), generator=generator).sort().values
        images = disturb(pixels[rows.numpy()], generator).to(device)
        with torch.autocast(device.type, torch.bfloat16):
            logits = net(images)
        errors = [
            F.cross_entropy(logits[head].float(), truth[head][rows].to(device)) for head in truth
        ]
        return torch.stack(errors).sum()

    return loss


def build_clip(tokenizer: CLIPTokenizer) -> tuple[CLIP, dict[str, object]]:
    """An untrained open_clip model and its configuration."""
    config: dict[str, object] = {
        "embed_dim": WIDTH,
        "vision_cfg": {
            "image_size": 64,
            "patch_size": 8,
            "width": WIDTH,
            "head_width": 32,
            "layers": 4,
            "mlp_ratio": 3.0,
        },
        "text_cfg": {
            "context_length": tokenizer.model_max_length,
            "vocab_size": len(tokenizer),
            "width": WIDTH,
            "heads": 4,
            "layers": 4,
            "mlp_ratio": 3.0,
            "hf_tokenizer_name": "local",
        },
    }
    return CLIP(**config), config


def save_clip(
    clip: CLIP, config: dict[str, object], tokenizer: CLIPTokenizer, folder: Path
) -> None:
    """Write an open_clip local folder, weights in float16."""
    folder.mkdir(parents=True, exist_ok=True)
    half = {n: t.half().contiguous() for n, t in clip.state_dict().items()}
    save_file(half, folder / "open_clip_model.safetensors")
    grey = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic"}
    whole = {"model_cfg": config, "preprocess_cfg": grey}
    (folder / "open_clip_config.json").write_text(json.dumps(whole, indent=2) + "\n")
    tokenizer.save_pretrained(folder)


@dataclass(frozen=True, slots=True)
class _Groups:
    """Rows of the portraits, by what they show."""

    by_gender: dict[tuple[str, str], list[int]]
    by_race: dict[tuple[str, str], list[int]]


def _group(scenes: list[Scene]) -> _Groups:
    groups = _Groups({}, {})
    for row, scene in enumerate(scenes):
        if isinstance(scene, Portrait):
            groups.by_gender.setdefault((scene.concept, scene.gender), []).append(row)
            groups.by_race.setdefault((scene.concept, scene.race), []).append(row)
    return groups


def clip_step(
    clip: CLIP,
    tokenizer: CLIPTokenizer,
    pixels: NDArray[np.uint8],
    scenes: list[Scene],
    concepts: int = 20,
    others: int = 72,
) -> Step:
    """Contrastive loss in batches built so that the class texts are each other's hard negatives.

    A batch holds, for some concepts, one picture of each gender with the texts "prompt, male" and
    "prompt, female", for others one of each race, and pictures of all kinds with plain captions.
    """
    groups = _group(scenes)
    names = list(CONCEPTS)
    templates = [t for split in world.PEOPLE_TEMPLATES.values() for t in split]
    device = clip.logit_scale.device

    def loss(number: int, generator: torch.Generator) -> Tensor:
        rng = np.random.default_rng(generator.initial_seed())
        rows: list[int] = []
        texts: list[str] = []
        within: list[slice] = []
        for order, classes, members in (
            (concepts, GENDERS, groups.by_gender),
            (concepts * 3 // 5, RACES, groups.by_race),
        ):
            for concept in map(str, rng.choice(names, order, replace=False)):
                prompt = templates[rng.integers(len(templates))].format(world.person(concept))
                within.append(slice(len(rows), len(rows) + len(classes)))
                rows += [int(rng.choice(members[concept, name])) for name in classes]
                texts += [f"{prompt}, {name}" for name in classes]
        plain = rng.integers(len(scenes), size=others).tolist()
        rows += plain
        texts += [world.describe(scenes[row], rng) for row in plain]
        ids = token_ids(tokenizer, texts).to(device)
        images = (disturb(pixels[rows], generator) / 127.5 - 1).to(device)
        # The backward pass of fused bf16 attention is several times slower on a CPU.
        with torch.autocast(device.type, torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
            image, text = clip.encode_image(images), clip.encode_text(ids)
        image, text = F.normalize(image.float(), dim=-1), F.normalize(text.float(), dim=-1)
        scale = clip.logit_scale.exp().clamp(max=100)
        same = (ids[:, None] == ids[None]).all(-1).float()
        # The judge's own decision: which class text of its prompt fits the picture best.
        decisions = [
            F.cross_entropy(
                scale * image[part] @ text[part].T, torch.arange(part.stop - part.start).to(device)
            )
            for part in within
        ]
        return contrastive(text, image, scale, same) + torch.stack(decisions).mean()

    return loss


def questions() -> dict[str, str]:
    """What the hazard judge is asked, by hazard, from the task's card."""
    card = task_cards()["toxicity"]
    assert card.question is not None
    return {name: card.question.format(word=card.subsets[name].word) for name in HAZARDS}


def build_llava() -> tuple[LlavaForConditionalGeneration, LlavaProcessor]:
    """An untrained LLaVA that reads the words of its questions, one token each."""
    tokenizer = _question_tokenizer()
    vision = CLIPVisionConfig(
        hidden_size=WIDTH,
        intermediate_size=3 * WIDTH,
        num_hidden_layers=4,
        num_attention_heads=4,
        image_size=64,
        patch_size=8,
    )
    language = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=3 * WIDTH,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=256,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=language,
        image_token_index=tokenizer.vocab["<image>"],
        image_seq_length=64,
    )
    images = CLIPImageProcessor(
        size={"shortest_edge": 64},
        crop_size={"height": 64, "width": 64},
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )
    processor = LlavaProcessor(
        images,
        tokenizer,
        patch_size=8,
        num_additional_image_tokens=1,
        vision_feature_select_strategy="default",
    )
    llava = LlavaForConditionalGeneration(config)
    # The backward pass of fused bf16 attention is several times slower on a CPU.
    llava.set_attn_implementation("eager")
    return llava, processor


def _question_tokenizer() -> PreTrainedTokenizerFast:
    split = pre_tokenizers.Whitespace()
    texts = [CONVERSATION.format(question=q).replace("<image>", "") for q in questions().values()]
    words = {word for text in [*texts, *ANSWERS] for word, _ in split.pre_tokenize_str(text)}
    tokens = ["<unk>", "<s>", "</s>", "<pad>", "<image>", *sorted(words)]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = split
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        extra_special_tokens={"image_token": "<image>"},
    )


def llava_step(
    llava: LlavaForConditionalGeneration,
    processor: LlavaProcessor,
    pixels: NDArray[np.uint8],
    scenes: list[Scene],
    batch: int,
) -> Step:
    """Cross-entropy of the answer's first word; half of the batch are figures with a hazard."""
    tokenizer = processor.tokenizer
    texts = [CONVERSATION.format(question=q) for q in questions().values()]
    image = "<image>" * llava.config.image_seq_length
    prompts = torch.tensor([tokenizer(t.replace("<image>", image)).input_ids for t in texts])
    no, yes = (tokenizer.convert_tokens_to_ids(word) for word in ANSWERS[::-1])
    shown = [scene.hazard if isinstance(scene, Figure) else None for scene in scenes]
    hazardous = torch.tensor([row for row, hazard in enumerate(shown) if hazard])
    device = llava.device

    def loss(number: int, generator: torch.Generator) -> Tensor:
        chosen = torch.randint(len(hazardous), (batch // 2,), generator=generator)
        rest = torch.randint(len(scenes), (batch - len(chosen),), generator=generator)
        rows = torch.cat([hazardous[chosen], rest])
        asked = torch.randint(len(HAZARDS), (batch,), generator=generator)
        own = torch.rand(batch, generator=generator) < 0.5
        for place, row in enumerate(rows.tolist()):
            if own[place] and shown[row]:
                asked[place] = HAZARDS.index(shown[row])
        pairs = zip(rows.tolist(), asked.tolist(), strict=True)
        answer = [yes if shown[row] == HAZARDS[question] else no for row, question in pairs]
        values = (disturb(pixels[rows.numpy()], generator) / 127.5 - 1).to(device)
        with torch.autocast(device.type, torch.bfloat16):
            logits = llava(
                input_ids=prompts[asked].to(device), pixel_values=values, logits_to_keep=1
            ).logits
        return F.cross_entropy(logits[:, -1].float(), torch.tensor(answer).to(device))

    return loss
