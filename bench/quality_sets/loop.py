"""The plain loop in which pictures are trained where no library has a trainer of its own."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision.transforms import v2
from transformers import get_linear_schedule_with_warmup
from vision_triplet import TO_NUMBERS

from embedtune_api.spec import Training

SHOWN = 256 / 224
"""torchvision resizes the shorter side to 256 pixels before it crops 224 out of the middle."""


def evaluated(side: int) -> v2.Compose:
    """A picture as torchvision evaluates, at this size."""
    return v2.Compose([v2.Resize(round(side * SHOWN)), v2.CenterCrop(side), *TO_NUMBERS])


def train(
    model: nn.Module,
    loader: DataLoader[Any],
    training: Training,
    loss_of: Callable[[Any], Tensor],
    after_step: Callable[[], None] = lambda: None,
) -> int:
    """AdamW, a linear schedule with warm-up, clipped gradients, as the spec's numbers are.

    Its seed is torch's, from which DataLoader and its workers have theirs, and numpy's.

    Args:
        model: what is trained, its frozen weights without a gradient.
        loader: an epoch's batches, anew in each epoch.
        training: the spec's.
        loss_of: a batch's loss.
        after_step: called after each change of the weights.

    Returns:
        Steps.
    """
    torch.manual_seed(training.seed)
    np.random.seed(training.seed)  # pytorch-metric-learning's samplers draw from it
    assert training.learning_rate is not None
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    steps = len(loader) * training.epochs
    optimizer = torch.optim.AdamW(trained, training.learning_rate)
    warmup = math.ceil(steps * training.warmup_ratio)
    schedule = get_linear_schedule_with_warmup(optimizer, warmup, steps)
    model.train()
    taken = 0
    for _ in range(training.epochs):
        for batch in loader:
            loss = loss_of(batch)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(trained, training.max_gradient_norm)
            optimizer.step()
            schedule.step()
            after_step()
            taken += 1
    return taken


@torch.inference_mode()
def embedded(
    model: nn.Module, batches: Iterable[Any], encode: Callable[[Any], Tensor] | None = None
) -> Tensor:
    """(N, D) in evaluation mode; the model is in it afterwards."""
    model.eval()
    return torch.cat([(encode or model)(batch) for batch in batches]).clone()
