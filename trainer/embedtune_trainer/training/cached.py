"""Embeddings of a batch and the way back to the weights, in parts that fit into memory.

A loss over B embeddings needs all of them at once, but not what the encoder remembers of each for
the way back. Where that does not fit, the parts are first encoded without it; the loss gives the
gradient to the embeddings; and each part is encoded once more, now with a gradient, and sends its
share back (Gao et al. 2021, Scaling Deep Contrastive Learning Batch Size under Memory Limited
Setup). What is drawn at random in a part is drawn from a seed of its own, the same both times, so
that the weights' gradient is exactly that of encoding everything at once.

Batch normalisation normalises each part by itself, as it does in any training in micro-batches,
and its running statistics take in every part once a step.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from embedtune_trainer.training.inputs import EncoderInputs

Autocast = Callable[[nn.Module], AbstractContextManager[object]]
"""From an encoder to the context that it runs in."""


class Encoded:
    """The embeddings of one encoder's items.

    Attributes:
        columns: see EncoderInputs.
    """

    def __init__(self, inputs: EncoderInputs, seeds: Sequence[int], autocast: Autocast) -> None:
        """`seeds`, and the part's number after them, seed what a part draws."""
        self.columns = inputs.columns
        self._inputs = inputs
        self._seeds = tuple(seeds)
        self._autocast = autocast
        self._trained = any(p.requires_grad for p in inputs.embedder.parameters())
        self._kept = _kept(inputs) if self._trained else len(inputs.parts)
        out = self._encode_without_gradient()
        self._graphs: list[Tensor] = []
        if self._kept < len(inputs.parts):
            with autocast(inputs.embedder):
                self._graphs = [self._part(i) for i in range(self._kept, len(inputs.parts))]
        self._x_UD = _joined([*out, *(x.detach() for x in self._graphs)], inputs)
        self._x_UD.requires_grad_(self._trained)

    def embeddings(self) -> list[Tensor]:
        """(B, D) of each of the columns; their gradient is what `backward` sends on."""
        place_CB = self._inputs.place_CB
        return [functional.embedding(place_B, self._x_UD) for place_B in place_CB]

    def detached(self) -> Tensor:
        """(U, D) of the different items."""
        return self._x_UD.detach()

    def backward(self) -> None:
        """Send the gradient of the embeddings to the weights; once."""
        if self._x_UD.grad is None:
            return
        gradients = torch.split(self._x_UD.grad, list(self._inputs.sizes))
        if self._graphs:
            torch.autograd.backward(self._graphs, list(gradients[self._kept :]))
            self._graphs = []  # before others take their place
        for number in range(self._kept):
            with self._autocast(self._inputs.embedder):
                x_PD = self._part(number)
            torch.autograd.backward(x_PD, gradients[number])

    def _encode_without_gradient(self) -> list[Tensor]:
        """The parts before those that are kept; a trained one comes again for its gradient."""
        held = statistics_held(self._inputs.embedder) if self._trained else nullcontext()
        with torch.no_grad(), held, self._autocast(self._inputs.embedder):
            return [self._part(number) for number in range(self._kept)]

    def _part(self, number: int) -> Tensor:
        seed_everything(*self._seeds, number)
        embedder = self._inputs.embedder
        x_PD: Tensor = embedder(self._inputs.parts[number].to(embedder.device))
        return x_PD


def _kept(inputs: EncoderInputs) -> int:
    """The first part that is encoded once: as many of the last, the longest, as fit together."""
    if inputs.budget is None:
        return 0
    upto_P = np.cumsum(inputs.costs[::-1])
    return len(inputs.parts) - max(1, int((upto_P <= inputs.budget).sum()))


def _joined(parts: list[Tensor], inputs: EncoderInputs) -> Tensor:
    if not parts:
        embedder = inputs.embedder
        return torch.zeros((0, embedder.embedding_dim), device=embedder.device)
    return parts[0] if len(parts) == 1 else torch.cat(parts)


@contextmanager
def statistics_held(module: nn.Module) -> Iterator[None]:
    """Batch normalisation uses its batch's statistics within, but does not remember them."""
    moving = [
        m
        for m in module.modules()
        if isinstance(m, _BatchNorm) and m.training and m.track_running_stats
    ]
    for norm in moving:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in moving:
            norm.track_running_stats = True


def seed_everything(*numbers: int) -> None:
    """Seed dropout and whatever else draws from the global generators.

    So no generator's state is part of a checkpoint: the numbers say which step it is, and which
    part of it.
    """
    state = int(np.random.SeedSequence((*numbers, 0xD20)).generate_state(1)[0])
    torch.manual_seed(state)
    np.random.seed(state)
    random.seed(state)
