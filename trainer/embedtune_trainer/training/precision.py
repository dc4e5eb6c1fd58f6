"""How the encoders calculate: in what numbers, with weights laid out how, compiled or not."""

import os
import shutil
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Literal

import torch

from embedtune_trainer.embedder.model import Embedder
from embedtune_trainer.errors import BadSpec
from embedtune_trainer.training.cached import Autocast
from embedtune_trainer.training.defaults import is_convolutional

Precision = Literal["auto", "float32", "bfloat16"]


def autocast_for(precision: Precision, device: torch.device) -> Autocast:
    """A maker of contexts in which an encoder runs.

    Raises:
        BadSpec: the GPU does not calculate in bfloat16.
    """
    able = device.type != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)
    if precision == "bfloat16" and not able:
        raise BadSpec(
            "spec.training.precision: this GPU does not calculate in bfloat16; set auto or float32"
        )
    if precision == "float32" or (precision == "auto" and (device.type != "cuda" or not able)):
        return nullcontext
    return lambda: torch.autocast(device.type, torch.bfloat16)


def prepare_to_train(embedders: Sequence[Embedder], *, compiled: bool) -> None:
    """Lay out the weights as training is fastest, and compile the encoders if asked.

    Convolutional networks have the channels last: 1.4 times the speed for MobileNetV2 on a CPU.
    Compiled encoders draw at random what they draw otherwise, so that gradient caching draws the
    same twice.

    Raises:
        BadSpec: there is no compiler for what torch.compile writes.
    """
    for embedder in embedders:
        if is_convolutional(embedder):
            embedder.backbone.to(memory_format=torch.channels_last)
        if compiled:
            _check_compiler()
            texts = embedder.processor.modality == "text"
            embedder.compile(dynamic=texts or None, options={"fallback_random": True})


def finish_training(embedders: Sequence[Embedder]) -> None:
    """Undo it."""
    for embedder in embedders:
        embedder._compiled_call_impl = None
        if is_convolutional(embedder):
            embedder.backbone.to(memory_format=torch.contiguous_format)


def _check_compiler() -> None:
    if not any(shutil.which(name) for name in (os.environ.get("CXX", "g++"), "clang++", "gcc")):
        raise BadSpec(
            "spec.training.compile: torch.compile needs a C++ compiler, and this image has none;"
            " leave it at false, or use an image with g++"
        )
