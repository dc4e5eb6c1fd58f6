"""What a training takes where the spec says nothing: see docs/training.md for the evidence."""

from typing import Final

from torch import nn

from embedtune_api import spec
from embedtune_trainer.embedder.model import Embedder
from embedtune_trainer.errors import BadSpec
from embedtune_trainer.training.optimizers import ADAM_LIKE, has_weight_decay

HEAD_RATE: Final = 1e-3
ADAPTER_RATE: Final = 2e-4
CONVOLUTION_RATE: Final = 1e-4
TRANSFORMER_RATE: Final = 2e-5
PAIR_RATE: Final = 1e-5
ADAMW_DECAY: Final = 0.01
CONVOLUTIONS: Final = 4
"""A network with so many 2-D convolutions of more than one pixel is convolutional."""


def learning_rate_of(training: spec.Training, module: nn.Module) -> float:
    """The highest learning rate.

    Raises:
        BadSpec: the optimizer is one for which there is no default.
    """
    if training.learning_rate is not None:
        return training.learning_rate
    if training.optimizer not in ADAM_LIKE:
        raise BadSpec(
            f"spec.training.learningRate: {training.optimizer} has no default that suits all"
            f" models; set one, or use {', '.join(ADAM_LIKE)}"
        )
    return default_learning_rate(module)


def default_learning_rate(module: nn.Module) -> float:
    """By what is trained of the module: encoders, adapters in them, or layers behind them."""
    embedders = [m for m in module.modules() if isinstance(m, Embedder)]
    trained = [
        name
        for embedder in embedders
        for name, parameter in embedder.backbone.named_parameters()
        if parameter.requires_grad
    ]
    if not trained:
        return HEAD_RATE
    if any("lora_" in name for name in trained):
        return ADAPTER_RATE
    if len(embedders) > 1:
        return PAIR_RATE
    return CONVOLUTION_RATE if is_convolutional(embedders[0]) else TRANSFORMER_RATE


def is_convolutional(embedder: Embedder) -> bool:
    """Whether it is more than the patches of a vision transformer that is convolved."""
    found = [m for m in embedder.backbone.modules() if isinstance(m, nn.Conv2d)]
    return sum(max(m.kernel_size) > 1 for m in found) >= CONVOLUTIONS


def weight_decay_of(training: spec.Training) -> float:
    """The weight decay of what is no vector.

    Raises:
        BadSpec: the optimizer has none, but one is wanted.
    """
    if training.weight_decay is None:
        return ADAMW_DECAY if training.optimizer == "AdamW" else 0.0
    if training.weight_decay and not has_weight_decay(training.optimizer):
        raise BadSpec(f"spec.training.weightDecay: {training.optimizer} has none; set it to 0")
    return training.weight_decay
