"""AdamW and its learning rate over time."""

from collections.abc import Iterable
from typing import Literal

from torch import nn
from torch.optim import AdamW

MAX_GRADIENT_NORM = 1.0
"""The gradient is scaled down to this Euclidean length if it is longer."""


def build_optimizer(model: nn.Module, learning_rate: float, weight_decay: float) -> AdamW:
    """AdamW (Loshchilov and Hutter 2019) over what is trained, betas .9 and .999, epsilon 1e-8.

    Vectors (biases, the weights of norms) are not decayed.
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return AdamW([g for g in groups if g["params"]], lr=learning_rate, fused=True)


def learning_rate_factor(
    step: int, steps: int, warmup_ratio: float, scheduler: Literal["linear", "constant"]
) -> float:
    """What the highest learning rate is multiplied by in a step (from 0), never 0.

    It rises in equal parts over the first warmup_ratio of the steps, and then stays or falls in
    equal parts, so that it would be 0 after the last step.
    """
    warmup = round(steps * warmup_ratio)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return 1.0 if scheduler == "constant" else (steps - step) / (steps - warmup)


def set_learning_rate(optimizer: AdamW, learning_rate: float) -> None:
    """For the next step."""
    groups: Iterable[dict[str, object]] = optimizer.param_groups
    for group in groups:
        group["lr"] = learning_rate
