"""Untrained pipelines of every kind that has a card besides Stable Diffusion 1.x and 2.x, saved as
diffusers saves them, with a few thousand parameters each."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any, NamedTuple

import diffusers
import tiny_models
import torch
from diffusers import AutoencoderDC, AutoencoderKL, FlowMatchEulerDiscreteScheduler
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    Gemma2Config,
    Gemma2Model,
    GemmaTokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

SIZE = 32
STEPS = 2


class Kind(NamedTuple):
    """One kind of pipeline, as a card has it."""

    name: str
    """Of the pipeline's class."""
    guidance: float
    call: str = ""
    """Lines of `[call]`."""

    @property
    def negative(self) -> bool:
        """Whether a negative prompt is heard."""
        return "true_cfg_scale" in self.call or "Flux" not in self.name


BINNED = "max_sequence_length = 12\nuse_resolution_binning = false"
KINDS = {
    "sdxl": Kind("StableDiffusionXLPipeline", 5.0),
    "sd3": Kind("StableDiffusion3Pipeline", 4.5, "max_sequence_length = 12"),
    "flux": Kind("FluxPipeline", 3.5, "max_sequence_length = 12"),
    "flux-cfg": Kind("FluxPipeline", 3.5, "max_sequence_length = 12\ntrue_cfg_scale = 2.0"),
    "pixart": Kind("PixArtSigmaPipeline", 4.5, BINNED),
    "sana": Kind("SanaPipeline", 4.5, BINNED),
}


def save(name: str, folder: Path) -> Path:
    """Save a pipeline of one of `KINDS`."""
    torch.manual_seed(0)
    parts = {
        "sdxl": _sdxl,
        "sd3": _sd3,
        "flux": _flux,
        "flux-cfg": _flux,
        "pixart": _pixart,
        "sana": _sana,
    }[name]()
    getattr(diffusers, KINDS[name].name)(**parts).save_pretrained(folder)
    return folder


def _clip(kind: type[Any] = CLIPTextModel) -> Any:
    tokenizer = tiny_models.clip_tokenizer()
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=tiny_models.TOKENS,
        projection_dim=16,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return kind(config)


def _t5() -> tuple[T5Tokenizer, T5EncoderModel]:
    """One that knows letters, and some words whole."""
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    pieces = [*string.printable.strip(), "▁", *(f"▁{word}" for word in tiny_models.WORDS)]
    vocab = [*special, *((piece, -1.0 / len(piece)) for piece in dict.fromkeys(pieces))]
    tokenizer = T5Tokenizer(vocab=vocab, extra_ids=0, model_max_length=64)
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=32,
        d_ff=16,
        d_kv=8,
        num_heads=2,
        num_layers=2,
        feed_forward_proj="gated-gelu",
    )
    return tokenizer, T5EncoderModel(config)


def _gemma() -> tuple[GemmaTokenizer, Gemma2Model]:
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "▁"]
    pieces = dict.fromkeys([*special, *string.printable.strip(), "\n"])
    tokenizer = GemmaTokenizer(vocab={piece: i for i, piece in enumerate(pieces)}, merges=[])
    config = Gemma2Config(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
    )
    return tokenizer, Gemma2Model(config)


def _vae(channels: int) -> AutoencoderKL:
    """8 pixels a latent."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(4, 4, 8, 8),
        norm_num_groups=2,
        latent_channels=channels,
        shift_factor=0.1 if channels == 16 else None,
        sample_size=SIZE,
    )


def _sdxl() -> dict[str, Any]:
    return {
        "vae": _vae(4),
        "text_encoder": _clip(),
        "text_encoder_2": _clip(CLIPTextModelWithProjection),
        "tokenizer": tiny_models.clip_tokenizer(),
        "tokenizer_2": tiny_models.clip_tokenizer(),
        "unet": diffusers.UNet2DConditionModel(
            sample_size=SIZE // 8,
            block_out_channels=(8, 16),
            norm_num_groups=4,
            layers_per_block=1,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=(1, 2),
            attention_head_dim=(2, 4),
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=6 * 8 + 16,
            cross_attention_dim=32,
        ),
        "scheduler": diffusers.EulerDiscreteScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1
        ),
    }


def _sd3() -> dict[str, Any]:
    tokenizer, t5 = _t5()
    return {
        "vae": _vae(16),
        "text_encoder": _clip(CLIPTextModelWithProjection),
        "text_encoder_2": _clip(CLIPTextModelWithProjection),
        "text_encoder_3": t5,
        "tokenizer": tiny_models.clip_tokenizer(),
        "tokenizer_2": tiny_models.clip_tokenizer(),
        "tokenizer_3": tokenizer,
        "transformer": diffusers.SD3Transformer2DModel(
            sample_size=SIZE // 8,
            patch_size=2,
            in_channels=16,
            out_channels=16,
            num_layers=2,
            attention_head_dim=8,
            num_attention_heads=2,
            joint_attention_dim=32,
            caption_projection_dim=16,
            pooled_projection_dim=32,
            pos_embed_max_size=8,
            qk_norm="rms_norm",
            dual_attention_layers=(0,),
        ),
        "scheduler": FlowMatchEulerDiscreteScheduler(shift=3.0),
    }


def _flux() -> dict[str, Any]:
    tokenizer, t5 = _t5()
    return {
        "vae": _vae(16),
        "text_encoder": _clip(),
        "text_encoder_2": t5,
        "tokenizer": tiny_models.clip_tokenizer(),
        "tokenizer_2": tokenizer,
        "transformer": diffusers.FluxTransformer2DModel(
            in_channels=64,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=1,
            joint_attention_dim=32,
            pooled_projection_dim=16,
            axes_dims_rope=(4, 6, 6),
            guidance_embeds=True,
        ),
        "scheduler": FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
    }


def _pixart() -> dict[str, Any]:
    tokenizer, t5 = _t5()
    return {
        "vae": _vae(4),
        "text_encoder": t5,
        "tokenizer": tokenizer,
        "transformer": diffusers.PixArtTransformer2DModel(
            sample_size=SIZE // 8,
            num_layers=2,
            patch_size=2,
            attention_head_dim=8,
            num_attention_heads=2,
            in_channels=4,
            out_channels=8,
            cross_attention_dim=16,
            caption_channels=32,
            use_additional_conditions=False,
        ),
        "scheduler": diffusers.DPMSolverMultistepScheduler(beta_schedule="linear"),
    }


def _sana() -> dict[str, Any]:
    tokenizer, gemma = _gemma()
    return {
        "vae": AutoencoderDC(
            latent_channels=4,
            attention_head_dim=2,
            encoder_block_types=("ResBlock", "EfficientViTBlock"),
            decoder_block_types=("ResBlock", "EfficientViTBlock"),
            encoder_block_out_channels=(8, 8),
            decoder_block_out_channels=(8, 8),
            encoder_qkv_multiscales=((), (5,)),
            decoder_qkv_multiscales=((), (5,)),
            encoder_layers_per_block=(1, 1),
            decoder_layers_per_block=(1, 1),
            upsample_block_type="interpolate",
            downsample_block_type="stride_conv",
            decoder_norm_types="rms_norm",
            decoder_act_fns="silu",
            scaling_factor=0.41407,
        ),
        "text_encoder": gemma,
        "tokenizer": tokenizer,
        "transformer": diffusers.SanaTransformer2DModel(
            sample_size=SIZE // 2,
            patch_size=1,
            in_channels=4,
            out_channels=4,
            num_layers=1,
            num_attention_heads=2,
            attention_head_dim=4,
            num_cross_attention_heads=2,
            cross_attention_head_dim=4,
            cross_attention_dim=8,
            caption_channels=16,
        ),
        "scheduler": diffusers.DPMSolverMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
        ),
    }


def card(name: str, model: Path, pipeline: Path) -> str:
    """The card of a tiny pipeline with the judges of the tiny Stable Diffusion.

    Args:
        name: Out of `KINDS`.
        model: The card of the tiny Stable Diffusion.
        pipeline: The folder of the pipeline.
    """
    kind = KINDS[name]
    text = model.read_text(encoding="utf-8")
    for old, new in {
        'name = "tiny"': f'name = "tiny-{name}"',
        'pipeline = "./sd"': f'kind = "{kind.name}"\npipeline = "{pipeline}"',
        "size = 64": f"size = {SIZE}",
        "steps = 3": f"steps = {STEPS}",
        "guidance = 2.0": f"guidance = {kind.guidance}",
        'sampler = "dpmsolver++"': 'sampler = "pipeline"',
    }.items():
        assert old in text, old
        text = text.replace(old, new)
    folder = model.parent
    for judge in ("clip", "llava", "features"):
        text = text.replace(f'"./{judge}"', f'"{folder / judge}"')
    return f"{text}[call]\n{kind.call}\n" if kind.call else text


def made(name: str, model: Path, folder: Path) -> Path:
    """Save a pipeline and its card, whose path this gives; arguments as of `card`."""
    path = folder / f"tiny-{name}.toml"
    path.write_text(card(name, model, save(name, folder / f"saved-{name}")), encoding="utf-8")
    return path
