"""Stand-ins for Stable Diffusion 1.5 and its judges: the real modules, formats and file names, with
random weights.

Every file is as the hub has it, so that fetching, loading and tokenising take the way that the real
ones will take. `REDUCED` has few channels, for tests; `FULL` is as large as the real models, to
measure speed and memory.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import open_clip
import torch
from diffusers import AutoencoderKL, PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from open_clip.tokenizer import SimpleTokenizer
from safetensors.torch import save_file
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from transformers import (
    CLIPImageProcessor,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    CLIPVisionConfig,
    LlamaConfig,
    LlamaTokenizer,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
)

END = "<|endoftext|>"
Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Sizes:
    """Fields of the models' configurations; those not named are the libraries' defaults, which are
    the published models'."""

    unet: Settings
    vae: Settings
    text: Settings
    """Of Stable Diffusion's text encoder."""
    clip: Settings
    """Of the attribute judge, as open_clip has it."""
    llama: Settings
    """Of LLaVA's language model, and `vision` of its eyes."""
    vision: Settings


def _clip(width: int, image: Settings, text: Settings) -> Settings:
    words = {"context_length": 77, "vocab_size": 49408, **text}
    return {"embed_dim": width, "quick_gelu": True, "vision_cfg": image, "text_cfg": words}


def _transformer(width: int, mlp: int, layers: int, heads: int) -> Settings:
    names = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    return dict(zip(names, (width, mlp, layers, heads), strict=True))


VAE = {
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
}
REDUCED = Sizes(
    unet={
        "sample_size": 8,
        "block_out_channels": (16, 32, 32, 32),
        "layers_per_block": 2,
        "cross_attention_dim": 32,
        "attention_head_dim": 2,
        "norm_num_groups": 8,
    },
    vae={**VAE, "block_out_channels": (8, 8, 16, 16), "norm_num_groups": 4, "sample_size": 64},
    text=_transformer(32, 64, 2, 2),
    clip=_clip(
        32,
        {"image_size": 32, "patch_size": 8, "width": 32, "head_width": 16, "layers": 2},
        {"width": 32, "heads": 2, "layers": 2},
    ),
    llama=_transformer(32, 64, 2, 2),
    vision={**_transformer(32, 64, 2, 2), "image_size": 32, "patch_size": 8},
)
FULL = Sizes(
    unet={"sample_size": 64, "cross_attention_dim": 768},
    vae={**VAE, "block_out_channels": (128, 256, 512, 512), "layers_per_block": 2},
    text=_transformer(768, 3072, 12, 12),
    clip=_clip(
        768,
        {"image_size": 224, "patch_size": 14, "width": 1024, "layers": 24},
        {"width": 768, "heads": 12, "layers": 12},
    ),
    llama={"vocab_size": 32064},
    vision={**_transformer(1024, 4096, 24, 16), "image_size": 336, "patch_size": 14},
)
ANSWERS = ("Yes", "No")


@contextmanager
def _random(seed: int, device: str, dtype: torch.dtype) -> Iterator[None]:
    """Networks built within have random weights of this seed, there and in that precision."""
    usual = torch.get_default_dtype()
    torch.manual_seed(seed)
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            yield
    finally:
        torch.set_default_dtype(usual)


def save_clip_tokenizer(folder: Path) -> Path:
    """The files of Stable Diffusion 1.5's tokenizer, out of open_clip's copy of its vocabulary."""
    source = SimpleTokenizer()
    merges = sorted(source.bpe_ranks, key=source.bpe_ranks.__getitem__)
    folder.mkdir(parents=True)
    (folder / "vocab.json").write_text(json.dumps(renamed(source.encoder)), encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(merge) for merge in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    tokens = {"bos_token": "<|startoftext|>", "eos_token": END, "pad_token": END, "unk_token": END}
    (folder / "special_tokens_map.json").write_text(json.dumps(tokens))
    settings = {"do_lower_case": True, "errors": "replace", "model_max_length": 77}
    settings |= {"add_prefix_space": False, "tokenizer_class": "CLIPTokenizer", **tokens}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def renamed(vocabulary: dict[str, int]) -> dict[str, int]:
    """open_clip's names of the two special tokens, as transformers has them."""
    names = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": END}
    return {names.get(token, token): number for token, number in vocabulary.items()}


def scheduler() -> PNDMScheduler:
    """Stable Diffusion 1.5's noise schedule."""
    return PNDMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        skip_prk_steps=True,
        set_alpha_to_one=False,
        steps_offset=1,
    )


def networks(
    sizes: Sizes, device: str = "cpu", dtype: torch.dtype = torch.float32
) -> tuple[CLIPTextModel, UNet2DConditionModel, AutoencoderKL]:
    """Stable Diffusion 1.5's text encoder, UNet and autoencoder."""
    # What the real configuration says; the end of a text is found as the largest id.
    ends: Settings = {"bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1}
    with _random(0, device, dtype):
        text_encoder = CLIPTextModel(CLIPTextConfig(**sizes.text, **ends))
        return text_encoder, UNet2DConditionModel(**sizes.unet), AutoencoderKL(**sizes.vae)


def save_pipeline(
    folder: Path,
    sizes: Sizes = REDUCED,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Path:
    """Stable Diffusion 1.5's folder; its `model_index.json` names a safety checker, as the real."""
    tokenizer = CLIPTokenizer.from_pretrained(save_clip_tokenizer(folder / "tokenizer"))
    text_encoder, unet, vae = networks(sizes, device, dtype)
    whole = StableDiffusionPipeline(
        vae, text_encoder, tokenizer, unet, scheduler(), None, None, requires_safety_checker=False
    )
    for name in ("unet", "vae", "text_encoder", "scheduler"):
        getattr(whole, name).save_pretrained(folder / name)
    index = {"_class_name": "StableDiffusionPipeline", "_diffusers_version": "0.6.0"}
    parts = {"safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"]}
    for name, component in whole.components.items():
        if component is not None:
            library = "diffusers" if name in ("unet", "vae", "scheduler") else "transformers"
            parts[name] = [library, type(component).__name__]
    (folder / "model_index.json").write_text(json.dumps(index | parts))
    (folder / "safety_checker").mkdir()
    (folder / "safety_checker" / "model.safetensors").write_bytes(b"never fetched")
    return folder


def save_clip(folder: Path, seed: int, sizes: Sizes = REDUCED, device: str = "cpu") -> Path:
    """An open_clip folder with CLIP's own tokenizer and quick activation, float32."""
    folder.mkdir(parents=True)
    config = {"model_cfg": sizes.clip, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.25] * 3}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    with _random(seed, device, torch.float32):
        model = open_clip.CLIP(**sizes.clip)
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return folder


def llama_tokenizer(words: Sequence[str] = ANSWERS, size: int = 0) -> LlamaTokenizer:
    """Pieces that begin with a mark for the space before them, and bytes for the rest; the words
    are one piece each, but only after a space. Filled up with others to about a size."""
    characters = [chr(code) for code in range(33, 127)] + ["\u2581"]
    bytes_ = [f"<0x{code:02X}>" for code in range(256)]
    merges = [
        ("\u2581" + word[:end], word[end]) if end else ("\u2581", word[0])
        for word in words
        for end in range(len(word))
    ]
    pieces = ["<unk>", "<s>", "</s>", *bytes_, *characters, *("".join(pair) for pair in merges)]
    pieces += [f"<spare{number}>" for number in range(size - len(pieces) - 64)]
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    return LlamaTokenizer(
        vocabulary, merges, pad_token="<pad>", additional_special_tokens=["<image>"]
    )


def llava_config(sizes: Sizes, tokenizer: LlamaTokenizer) -> LlavaConfig:
    """LLaVA 1.5's architecture."""
    vision = CLIPVisionConfig(**sizes.vision)
    text = LlamaConfig(
        **{"vocab_size": len(tokenizer), **sizes.llama},
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    image: Any = tokenizer.convert_tokens_to_ids("<image>")
    return LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=image,
        image_seq_length=(sizes.vision["image_size"] // sizes.vision["patch_size"]) ** 2,
    )


def save_llava(
    folder: Path,
    sizes: Sizes = REDUCED,
    words: Sequence[str] = ANSWERS,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    max_shard_size: str = "100KB",
) -> Path:
    """LLaVA 1.5's folder, its weights in parts beside their index.

    Args:
        folder: To be made.
        sizes: Of its networks.
        words: What the tokenizer knows whole.
        device: Where to make it.
        dtype: Of the weights.
        max_shard_size: Of a part.
    """
    tokenizer = llama_tokenizer(words, sizes.llama.get("vocab_size", 0))
    config = llava_config(sizes, tokenizer)
    with _random(2, device, dtype):
        LlavaForConditionalGeneration(config).save_pretrained(folder, max_shard_size=max_shard_size)
    side = sizes.vision["image_size"]
    size = {"height": side, "width": side}
    images = CLIPImageProcessor(size={"shortest_edge": side}, crop_size=size)
    LlavaProcessor(
        images,
        tokenizer,
        patch_size=sizes.vision["patch_size"],
        num_additional_image_tokens=1,
        vision_feature_select_strategy="default",
    ).save_pretrained(folder)
    return folder


def save_inception(folder: Path) -> Path:
    """torch-fidelity's Inception, its file named by its digest as torch.hub's are."""
    torch.manual_seed(4)
    # Its constructor wants a file of weights; without, it has those it was built with.
    with patch.object(FeatureExtractorInceptionV3, "load_state_dict"), patch("torch.load"):
        network = FeatureExtractorInceptionV3(
            "inception-v3-compat", ["2048"], feature_extractor_weights_path="none"
        )
    unfinished = folder / "weights.pth"
    torch.save(network.state_dict(), unfinished)
    digest = hashlib.sha256(unfinished.read_bytes()).hexdigest()
    return unfinished.rename(folder / f"weights-inception-stand-in-{digest[:8]}.pth")
