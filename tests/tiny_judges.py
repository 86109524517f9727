"""Untrained networks of judges, saved as transformers saves them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaNextImageProcessor,
    LlavaNextProcessor,
    PreTrainedTokenizerFast,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessor,
    YolosConfig,
    YolosForObjectDetection,
    YolosImageProcessor,
)
from written_inputs import TEMPLATE


def save_vit(folder: Path, classes: Sequence[str]) -> Path:
    """Save an image classifier with its processor, and return the folder."""
    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=16,
        patch_size=8,
        id2label=dict(enumerate(classes)),
        label2id={name: row for row, name in enumerate(classes)},
    )
    ViTForImageClassification(config).save_pretrained(folder)
    ViTImageProcessor(size={"height": 16, "width": 16}).save_pretrained(folder)
    return folder


def save_llava_next(folder: Path, tokenizer_of: Path) -> Path:
    """Save a LLaVA 1.6 with its processor and a chat template, and return the folder.

    Args:
        folder: The folder.
        tokenizer_of: Folder of a network whose tokenizer knows `<image>`.
    """
    tokenizer = PreTrainedTokenizerFast.from_pretrained(tokenizer_of)
    torch.manual_seed(0)
    vision = CLIPVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        image_size=32, patch_size=8,
    )  # fmt: skip
    text = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=256,
    )  # fmt: skip
    config = LlavaNextConfig(
        vision_config=vision, text_config=text, image_grid_pinpoints=[[32, 64], [64, 32]],
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )  # fmt: skip
    LlavaNextForConditionalGeneration(config).save_pretrained(folder)
    images = LlavaNextImageProcessor(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32},
        image_grid_pinpoints=[[32, 64], [64, 32]],
    )  # fmt: skip
    LlavaNextProcessor(
        images, tokenizer, patch_size=8, num_additional_image_tokens=1,
        vision_feature_select_strategy="default", chat_template=TEMPLATE,
    ).save_pretrained(folder)  # fmt: skip
    return folder


def save_yolos(folder: Path, classes: Sequence[str]) -> Path:
    """Save a detector with its processor, and return the folder; it draws four boxes."""
    torch.manual_seed(0)
    config = YolosConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        image_size=[32, 32], patch_size=8, num_detection_tokens=4,
        id2label=dict(enumerate(classes)),
        label2id={name: row for row, name in enumerate(classes)},
    )  # fmt: skip
    YolosForObjectDetection(config).save_pretrained(folder)
    YolosImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


LIGHT, SAME, FAINT = 0.9, 0.8, 0.5
"""Scores of three boxes in a white picture; the second lies on the first."""


def save_onnx_boxes(path: Path, classes: Sequence[str]) -> Path:
    """Save a detector as Ultralytics writes them, and return the file.

    It draws three boxes of the first class, whose scores fall with the light of a picture from 0
    to 1: `LIGHT`, `SAME` and `FAINT`.
    """
    boxes = np.array([[8, 9, 24], [8, 8, 24], [8, 8, 8], [8, 8, 8]], "float32")
    scores = np.zeros((len(classes), 3), "float32")
    scores[0] = LIGHT, SAME, FAINT
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], axes=[1, 2, 3], keepdims=1),
        helper.make_node("Squeeze", ["mean", "last"], ["light"]),
        helper.make_node("Mul", ["light", "scores"], ["scored"]),
        helper.make_node("Mul", ["light", "nothing"], ["zero"]),
        helper.make_node("Add", ["zero", "boxes"], ["placed"]),
        helper.make_node("Concat", ["placed", "scored"], ["output0"], axis=1),
    ]
    held = {
        "last": np.array([3]), "scores": scores[None], "boxes": boxes[None],
        "nothing": np.zeros((1, 4, 3), "float32"),
    }  # fmt: skip
    names = str(dict(enumerate(classes)))
    return _save_onnx(
        path, nodes, held, ["n", 3, "height", "width"], ["n", 4 + len(classes), 3], names
    )


def save_onnx_classes(path: Path, softmax: bool = True, last: bool = False) -> Path:
    """Save a classifier of dark and light pictures, and return the file.

    Args:
        path: Path of the file.
        softmax: Whether it answers probabilities, and not logits.
        last: Whether colours come last in what it takes.
    """
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["light"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Unsqueeze", ["light", "last"], ["column"]),
        helper.make_node("Mul", ["column", "slope"], ["bent"]),
        helper.make_node("Add", ["bent", "bias"], ["logits"]),
    ]
    if softmax:
        nodes.append(helper.make_node("Softmax", ["logits"], ["outputs"], axis=1))
    else:
        nodes.append(helper.make_node("Identity", ["logits"], ["outputs"]))
    held = {
        "last": np.array([1]), "slope": np.array([[-8, 8]], "float32"),
        "bias": np.array([[4, -4]], "float32"),
    }  # fmt: skip
    takes = ["n", 32, 32, 3] if last else ["n", 3, 32, 32]
    return _save_onnx(path, nodes, held, takes, ["n", 2])


def _save_onnx(
    path: Path,
    nodes: Sequence[Any],
    held: Mapping[str, Any],
    takes: Sequence[object],
    answers: Sequence[object],
    names: str = "",
) -> Path:
    real, last = TensorProto.FLOAT, nodes[-1].output[0]
    graph = helper.make_graph(
        nodes,
        "judge",
        [helper.make_tensor_value_info("images", real, takes)],
        [helper.make_tensor_value_info(last, real, answers)],
        [numpy_helper.from_array(value, name) for name, value in held.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    if names:
        helper.set_model_props(model, {"names": names})
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path
