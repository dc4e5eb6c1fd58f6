"""batchSize: auto and microBatch: auto: what fits into memory, found before the first step.

On a GPU it is tried: twice as many of the longest items each time, until memory runs out. On a CPU,
where running out ends the process, it is calculated: from what the encoder remembers of a few items
for the way back, and from the memory that the container still has.
"""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from torch import Tensor

from embedtune_api import spec
from embedtune_trainer.embedder.encoders import Encoders
from embedtune_trainer.embedder.model import Embedder
from embedtune_trainer.encoding import Column
from embedtune_trainer.machine import available_bytes
from embedtune_trainer.objectives.choice import Entry
from embedtune_trainer.rows.table import Items, LabelledRows
from embedtune_trainer.training.cached import Autocast, statistics_held
from embedtune_trainer.training.distributed import ALONE, World
from embedtune_trainer.training.precision import autocast_for

PROBE: Final = 4
"""Items that are encoded to learn what one costs."""
SAMPLE: Final = 4096
"""Rows among which the longest items are looked for before the batches are known."""
SHARE: Final = 0.5
"""Of the memory that is left, what the encoders' activations may take."""
TRANSIENT: Final = 2.0
"""What encoding takes at most, as a multiple of what it remembers."""
LARGEST_BATCH: Final = 1024
LEAST_BATCHES: Final = 16
"""In an epoch, when the batch size is found."""
LARGEST_PART: Final = 4096
STATES: Final = {"SGD": 1, "AdamW": 2, "Adam": 2}
"""Numbers that an optimizer keeps for each weight; others are taken to keep 3."""


def find_batch_size(
    encoders: Encoders,
    entries: Sequence[Entry],
    objective: spec.Objective,
    training: spec.Training,
    world: World = ALONE,
) -> spec.Training:
    """The training with its batch size as a number: a power of two, at least 8.

    It is what fits without microBatch, or with it up to LARGEST_BATCH, and small enough for
    LEAST_BATCHES batches an epoch of the largest entry.

    Args:
        encoders: what is trained, on its device.
        entries: the sets of rows.
        objective: spec.objective.
        training: spec.training.
        world: the processes that share each batch; all of them find the same.
    """
    if training.batch_size != "auto":
        return training
    most = min(LARGEST_BATCH, max(len(entry.rows) for entry in entries) // LEAST_BATCHES)
    least = max(8, 2 * objective.items_per_class)
    if training.micro_batch is None:
        columns = [_sample(column) for entry in entries for column in _sides(encoders, entry)]
        copies = max(len(_sides(encoders, entry)) for entry in entries)
        fits = world.least(_fitting(columns, training, -(-most * copies // world.size), world))
        most = min(most, fits * world.size // copies)
    return training.model_copy(update={"batch_size": max(least, _power_of_two(most))})


def find_micro_batch(
    columns: Sequence[Column], training: spec.Training, world: World = ALONE
) -> int | None:
    """spec.training.microBatch as a number; None: the whole batch at a time.

    Args:
        columns: all that is encoded in the training.
        training: spec.training.
        world: the processes that share each batch; all of them find the same.
    """
    if training.micro_batch != "auto":
        return training.micro_batch
    whole = training.rows_in_batch * len(columns)
    found = world.least(_fitting(columns, training, min(whole, LARGEST_PART), world))
    return None if found >= whole else max(1, _power_of_two(found))


def _fitting(columns: Sequence[Column], training: spec.Training, most: int, world: World) -> int:
    """How many of the longest items fit at a time, of every encoder at once; at most `most`."""
    longest: dict[int, Column] = {}
    for column in columns:
        key = id(column.embedder)
        if key not in longest or _longest(column) > _longest(longest[key]):
            longest[key] = column
    probes = list(longest.values())
    device = probes[0].embedder.device
    autocast = autocast_for(training.precision, device)
    if device.type == "cuda":
        return _tried(probes, autocast, most)
    cost = sum(_remembered_bytes(probe, autocast) for probe in probes)
    trained = sum(
        p.numel() * p.element_size()
        for probe in probes
        for p in probe.embedder.parameters()
        if p.requires_grad
    )
    kept = 1 + STATES.get(training.optimizer, 3) + (training.ema is not None)
    room = SHARE * (available_bytes() / world.local_size - kept * trained)
    return max(1, min(most, int(room / (TRANSIENT * max(1, cost)))))


def _tried(probes: Sequence[Column], autocast: Autocast, most: int) -> int:
    """Twice as many each time, until the GPU's memory runs out; the last but a quarter's room."""
    fits, count = 1, PROBE
    while count <= 2 * most:
        try:
            for probe in probes:
                _encode(probe, count + count // 4, autocast).sum().backward()  # type: ignore[no-untyped-call]
        except torch.OutOfMemoryError:
            break
        finally:
            for probe in probes:
                probe.embedder.zero_grad(set_to_none=True)
            torch.cuda.empty_cache()
        fits, count = count, 2 * count
    return min(fits, most)


def _remembered_bytes(probe: Column, autocast: Autocast) -> int:
    """What encoding one of the longest items leaves behind for the way back."""
    weights = {t.untyped_storage().data_ptr() for t in probe.embedder.state_dict().values()}
    seen: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        kept = _encode(probe, PROBE, autocast)
    del kept
    return math.ceil(sum(seen.values()) / PROBE)


def _encode(probe: Column, count: int, autocast: Autocast) -> Tensor:
    """`count` of the longest items in training mode; running statistics stay as they are."""
    embedder = probe.embedder
    order_N = np.argsort(-probe.table.lengths_N, kind="stable")
    inputs = embedder.processor.batch(probe.table, np.resize(order_N, count), embedder.device)
    was_training = embedder.training
    embedder.train()
    try:
        with statistics_held(embedder), autocast(embedder):
            x_BD: Tensor = embedder(inputs)
    finally:
        embedder.train(was_training)
    return x_BD


def _longest(column: Column) -> int:
    return int(column.table.lengths_N.max())


def _sides(encoders: Encoders, entry: Entry) -> list[tuple[Items, Embedder]]:
    rows = entry.rows
    if isinstance(rows, LabelledRows):
        return [(rows.items, encoders.left)]
    others = ((items, encoders.right) for items in (rows.right, *rows.negatives))
    return [(rows.left, encoders.left), *others]


def _sample(side: tuple[Items, Embedder]) -> Column:
    """Some of the items, spread over all of them."""
    items, embedder = side
    at = np.linspace(0, len(items) - 1, min(len(items), SAMPLE)).astype(np.int64)
    return Column.of(items.take(at), embedder)


def _power_of_two(most: int) -> int:
    return 1 << int(math.log2(max(1, most)))
