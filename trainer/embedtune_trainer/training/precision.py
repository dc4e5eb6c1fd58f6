"""What the encoders calculate in, and how their weights lie in memory."""

from contextlib import nullcontext
from typing import Literal

import torch

from embedtune_trainer.errors import BadSpec
from embedtune_trainer.training.cached import Autocast

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
