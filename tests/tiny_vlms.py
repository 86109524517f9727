"""Untrained image-text-to-text models and towers of texts and images, as transformers saves them.

Their tokenizers spell, a byte a token, so that words are told apart by their first letters.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    Gemma3ImageProcessor,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    LlavaOnevisionImageProcessor,
    LlavaOnevisionProcessor,
    LlavaOnevisionVideoProcessor,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
    ShieldGemma2Config,
    ShieldGemma2ForImageClassification,
    ShieldGemma2Processor,
    SiglipConfig,
    SiglipImageProcessor,
    SiglipModel,
)

CHAT_ML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{% for part in message.content %}"
    "{% if part.type == 'image' %}IMAGE{% else %}{{ part.text }}{% endif %}{% endfor %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""A chat template as Qwen's models have it."""
POLICY = (
    "{% for message in messages %}{% for part in message.content %}<start_of_turn>user\n"
    "{% if part.type == 'image' %}<start_of_image>{% else %}Policy: {{ part.text }}\n"
    "Does the image violate it?<end_of_turn>\n{% endif %}{% endfor %}<start_of_turn>model\n"
    "{% endfor %}"
)
"""A chat template as ShieldGemma 2 has it, which begins an answer unasked."""
TEXT: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
}
VISION: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}


def spelling(special: list[str], **named: Any) -> PreTrainedTokenizerFast:
    """A tokenizer of bytes and some special tokens."""
    tokens = ["<pad>", "<bos>", "<eos>", *special, *sorted(ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<pad>", "<bos>", "<eos>", *special])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        **named,
    )


def _ids(tokenizer: PreTrainedTokenizerFast, *tokens: str) -> list[Any]:
    """Ids of tokens."""
    return [tokenizer.convert_tokens_to_ids(token) for token in tokens]


def save_llava_onevision(folder: Path) -> Path:
    """Save a LLaVA-OneVision, as LlavaGuard 1.2 is one, and return the folder."""
    tokenizer = spelling(["<image>", "<video>"])
    torch.manual_seed(0)
    config = LlavaOnevisionConfig(
        vision_config={"model_type": "siglip_vision_model", "vision_use_head": False, **VISION},
        text_config={"model_type": "qwen2", "vocab_size": len(tokenizer), **TEXT},
        image_token_index=_ids(tokenizer, "<image>")[0],
        video_token_index=_ids(tokenizer, "<video>")[0],
        image_grid_pinpoints=[[28, 28]],
        vision_feature_layer=-1,
    )
    LlavaOnevisionForConditionalGeneration(config).save_pretrained(folder)
    size = {"height": 28, "width": 28}
    LlavaOnevisionProcessor(
        LlavaOnevisionImageProcessor(size=size, image_grid_pinpoints=[[28, 28]]),
        tokenizer,
        LlavaOnevisionVideoProcessor(size=size),
        num_image_tokens=4,
        vision_feature_select_strategy="full",
        chat_template=CHAT_ML.replace("IMAGE", "<image>\n"),
    ).save_pretrained(folder)
    return folder


def save_qwen(folder: Path) -> Path:
    """Save a Qwen2.5-VL and return the folder."""
    marks = ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
    tokenizer = spelling(marks)
    start, end, image, video = _ids(tokenizer, *marks)
    torch.manual_seed(0)
    config = Qwen2_5_VLConfig(
        vision_config={
            "hidden_size": 32, "intermediate_size": 32, "depth": 1, "num_heads": 2,
            "out_hidden_size": 32, "fullatt_block_indexes": [0],
        },
        text_config={
            "vocab_size": len(tokenizer),
            "rope_parameters": {"rope_type": "default", "mrope_section": [2, 3, 3]},
            "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
            **TEXT,
        },
        vision_start_token_id=start, vision_end_token_id=end, image_token_id=image,
        video_token_id=video,
    )  # fmt: skip
    Qwen2_5_VLForConditionalGeneration(config).save_pretrained(folder)
    size = {"shortest_edge": 28 * 28, "longest_edge": 56 * 56}
    Qwen2_5_VLProcessor(
        Qwen2VLImageProcessor(size=size),
        tokenizer,
        Qwen2VLVideoProcessor(size=size),
        chat_template=CHAT_ML.replace("IMAGE", "<|vision_start|><|image_pad|><|vision_end|>"),
    ).save_pretrained(folder)
    return folder


def save_shield_gemma(folder: Path) -> Path:
    """Save a ShieldGemma 2 and return the folder."""
    marks = ["<start_of_image>", "<image_soft_token>", "<end_of_image>"]
    boi, image, eoi = marks
    tokenizer = spelling(
        [*marks, "<start_of_turn>", "<end_of_turn>"],
        extra_special_tokens={"boi_token": boi, "image_token": image, "eoi_token": eoi},
    )
    ids: Any = dict(zip(marks, _ids(tokenizer, *marks), strict=True))
    torch.manual_seed(0)
    config = ShieldGemma2Config(
        vision_config={"model_type": "siglip_vision_model", "vision_use_head": False, **VISION},
        text_config={
            "model_type": "gemma3_text", "vocab_size": len(tokenizer), "head_dim": 16,
            "sliding_window": 1024, **TEXT,
        },
        mm_tokens_per_image=4, boi_token_index=ids[boi], eoi_token_index=ids[eoi],
        image_token_index=ids[image],
    )  # fmt: skip
    network = ShieldGemma2ForImageClassification(config)
    # It begins at zero, so that an untrained network would see nothing.
    projector: Any = network.model.get_submodule("model.multi_modal_projector")
    projector.mm_input_projection_weight.data.normal_()
    network.save_pretrained(folder)
    ShieldGemma2Processor(
        Gemma3ImageProcessor(size={"height": 28, "width": 28}),
        tokenizer,
        image_seq_length=4,
        chat_template=POLICY,
    ).save_pretrained(folder)
    return folder


def save_towers(folder: Path, siglip: bool) -> Path:
    """Save a CLIP or a SigLIP of transformers and return the folder."""
    tokenizer = spelling([])
    torch.manual_seed(0)
    text = {**TEXT, "vocab_size": len(tokenizer), "max_position_embeddings": 64}
    text |= {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    if siglip:
        SiglipModel(SiglipConfig(text_config=text, vision_config=VISION)).save_pretrained(folder)
        SiglipImageProcessor(size={"height": 28, "width": 28}).save_pretrained(folder)
    else:
        config = CLIPConfig(text_config=text, vision_config=VISION, projection_dim=16)
        CLIPModel(config).save_pretrained(folder)
        CLIPImageProcessor(
            size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}
        ).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
