"""A staged model is loaded anew and compared with the one in memory before it is called done."""

from pathlib import Path
from typing import Final

from torch import Tensor

from embedtune_trainer.embedder.encoders import Encoders
from embedtune_trainer.embedder.model import Embedder
from embedtune_trainer.embedder.opened import open_encoders
from embedtune_trainer.errors import UnsupportedModel
from embedtune_trainer.rows.table import Items, LabelledRows, Rows

SAMPLE: Final = 8
"""Rows of each side that are compared."""
NEAR: Final = 1e-5
NEAR_ON_GPU: Final = 1e-2
"""Where the model in memory computes in TF32 or another order."""


def sides(rows: Rows, count: int = SAMPLE) -> tuple[Items, Items]:
    """The first items of the left and of the right side; the same if there is one."""
    indices = range(min(count, len(rows)))
    if isinstance(rows, LabelledRows):
        items = rows.items.take(list(indices))
        return items, items
    return rows.left.take(list(indices)), rows.right.take(list(indices))


def reload(encoders: Encoders, folder: Path, rows: Rows) -> Encoders:
    """The model of a folder, which is known to embed as the one in memory.

    Args:
        encoders: that were saved.
        folder: where to.
        rows: real ones, some of which are tried.

    Returns:
        What was loaded, on the CPU.

    Raises:
        UnsupportedModel: it embeds otherwise, and by how much.
    """
    anew = open_encoders(folder)
    for side, live, loaded, items in zip(
        ("left", "right"),
        (encoders.left, encoders.right),
        (anew.left, anew.right),
        sides(rows),
        strict=True,
    ):
        if side == "right" and encoders.left is encoders.right:
            continue
        apart = difference(live.encode(items), loaded.encode(items))
        limit = NEAR if live.device.type == "cpu" else NEAR_ON_GPU
        if not apart <= limit:
            raise UnsupportedModel(
                f"{_named(loaded)}: the saved model embeds otherwise than the trained one: the"
                f" largest difference is {apart:.1e}, {limit:.0e} is allowed. This is a defect in"
                " embedtune, please report it"
            )
    return anew


def difference(one_ND: Tensor, other_ND: Tensor) -> float:
    """The largest difference of two tables of embeddings, each row divided by one_ND's length."""
    if one_ND.shape != other_ND.shape:
        return float("inf")
    length_N1 = one_ND.norm(dim=-1, keepdim=True).clamp(min=1e-12)
    return float(((one_ND - other_ND).abs() / length_N1).max())


def _named(embedder: Embedder) -> str:
    return type(embedder.backbone.network).__name__
