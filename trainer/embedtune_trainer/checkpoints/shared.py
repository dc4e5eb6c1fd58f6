"""One checkpoint for all processes: the main one reads and verifies it, the others are sent it."""

from typing import Any

import torch

from embedtune_trainer.checkpoints.tree import flatten, unflatten
from embedtune_trainer.processes import Processes

Found = tuple[int, dict[str, Any]] | None
"""Steps done and state, or that there is none."""


def from_main(found: Found, processes: Processes) -> Found:
    """What the main process found, in all of them.

    Tensors go one by one, so that no process needs memory for more than one beside the state.

    Args:
        found: what Keeper.newest gave the main process; None in the others.
        processes: that train together.
    """
    if processes.size == 1:
        return found
    node, tensors = flatten(found)
    node, kinds = processes.on_main(
        lambda: (node, {name: (x.shape, x.dtype) for name, x in tensors.items()})
    )
    for name, (shape, dtype) in kinds.items():
        tensor = tensors.setdefault(name, torch.empty(shape, dtype=dtype))
        processes.fill(tensor)
    received: Found = unflatten(node, tensors)
    return received
