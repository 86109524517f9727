"""Stand-ins for Stable Diffusion 1.5 and its judges: the real modules, formats and file names, with
few channels and random weights.

`tiny_models` is for what a fast test needs; here every file is as the hub has it, so that fetching,
loading and tokenising take the way that the real ones will take.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from unittest.mock import patch

import open_clip
import tiny_models
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
CARD = """\
name = "stand-in"
title = "Stands for Stable Diffusion 1.5"
scale = "sd"
pipeline = "{sd}"
licence = "none, it has learnt nothing"
size = 64
steps = 3
guidance = 7.5
sampler = "dpmsolver++"
dtype = "float32"
block = 5
rate = 10.0
bytes_per_image = 20_000
[judges.attributes]
weights = "{clip}"
dtype = "float32"
[judges.hazards]
weights = "{llava}"
dtype = "float32"
[judges.features]
weights = "inception-v3-compat"
dtype = "float32"
[annotator]
weights = "{annotator}"
dtype = "float32"
"""


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


def save_pipeline(folder: Path) -> Path:
    """Stable Diffusion 1.5's folder; its `model_index.json` names a safety checker, as the real."""
    torch.manual_seed(0)
    tokenizer = CLIPTokenizer.from_pretrained(save_clip_tokenizer(folder / "tokenizer"))
    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            bos_token_id=0,
            eos_token_id=2,  # what the real one says; the end is found as the largest id
            pad_token_id=1,
        )
    )
    unet = UNet2DConditionModel(
        sample_size=8,
        cross_attention_dim=32,
        attention_head_dim=2,
        norm_num_groups=8,
        **tiny_models.SD_UNET,
    )
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 8, 16, 16),
        norm_num_groups=4,
        sample_size=64,
    )
    scheduler = PNDMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        skip_prk_steps=True,
        set_alpha_to_one=False,
        steps_offset=1,
    )
    whole = StableDiffusionPipeline(
        vae, text_encoder, tokenizer, unet, scheduler, None, None, requires_safety_checker=False
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


def save_clip(folder: Path, seed: int) -> Path:
    """An open_clip folder with CLIP's own tokenizer and quick activation."""
    torch.manual_seed(seed)
    model = {
        "embed_dim": 32,
        "quick_gelu": True,
        "vision_cfg": {
            "image_size": 32,
            "patch_size": 8,
            "width": 32,
            "head_width": 16,
            "layers": 2,
        },
        "text_cfg": {
            "context_length": 77,
            "vocab_size": 49408,
            "width": 32,
            "heads": 2,
            "layers": 2,
        },
    }
    folder.mkdir(parents=True)
    config = {"model_cfg": model, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.25] * 3}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    save_file(open_clip.CLIP(**model).state_dict(), folder / "open_clip_model.safetensors")
    return folder


def llama_tokenizer() -> LlamaTokenizer:
    """Pieces that begin with a mark for the space before them, and bytes for the rest; "Yes" and
    "No" are one piece each, but only after a space."""
    characters = [chr(code) for code in range(33, 127)] + ["\u2581"]
    bytes_ = [f"<0x{code:02X}>" for code in range(256)]
    merges = [
        ("\u2581" + word[:end], word[end]) if end else ("\u2581", word[0])
        for word in ("Yes", "No")
        for end in range(len(word))
    ]
    pieces = ["<unk>", "<s>", "</s>", *bytes_, *characters, *("".join(pair) for pair in merges)]
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    return LlamaTokenizer(
        vocabulary, merges, pad_token="<pad>", additional_special_tokens=["<image>"]
    )


def llava_config(
    tokenizer: LlamaTokenizer, hidden: int, layers: int, vision_layers: int, image: int, patch: int
) -> LlavaConfig:
    """LLaVA 1.5's architecture, narrow."""
    vision = CLIPVisionConfig(
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=vision_layers,
        num_attention_heads=2,
        image_size=image,
        patch_size=patch,
    )
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=2,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=(image // patch) ** 2,
    )


def save_llava(folder: Path, layers: int = 2, vision_layers: int = 2, image: int = 32) -> Path:
    """LLaVA 1.5's folder, its weights in parts beside their index."""
    torch.manual_seed(2)
    tokenizer, patch = llama_tokenizer(), image // 4
    config = llava_config(tokenizer, 32, layers, vision_layers, image, patch)
    LlavaForConditionalGeneration(config).save_pretrained(folder, max_shard_size="100KB")
    size = {"height": image, "width": image}
    images = CLIPImageProcessor(size={"shortest_edge": image}, crop_size=size)
    LlavaProcessor(
        images,
        tokenizer,
        patch_size=patch,
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


def save_mirror(folder: Path, work: Path) -> str:
    """What another machine would have fetched, and the card that names it.

    Returns:
        The card's text.
    """
    made = {
        "sd": save_pipeline(work / "sd"),
        "clip": save_clip(work / "clip", seed=2),
        "annotator": save_clip(work / "annotator", seed=3),
        "llava": save_llava(work / "llava"),
    }
    names = {
        name: tiny_models.cached(place, f"stand-in/{name}", folder / "hub")
        for name, place in made.items()
    }
    (folder / "hub" / "checkpoints").mkdir()
    save_inception(folder / "hub" / "checkpoints")
    return CARD.format(**names)
