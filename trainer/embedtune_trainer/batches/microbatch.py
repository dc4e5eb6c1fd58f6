"""Encoding a batch in parts of like length, exactly.

A batch padded to its longest text is mostly padding. Here its texts are sorted by length and cut
into parts, each padded to its own longest; the embeddings are put back in order and the loss is
taken over the whole batch. Dropout aside, embeddings and gradients are those of the padded batch
up to rounding, since padding is masked everywhere.
"""

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]


def cut_by_length(lengths_B: Indices, overhead: int, budget: int) -> list[Indices]:
    """Cut a batch into parts at the least cost.

    A part costs its padded tokens (rows times longest) and `overhead`; the best cut is found by
    dynamic programming over the distinct lengths.

    Args:
        lengths_B: tokens of each text.
        overhead: what a part costs for itself, in tokens.
        budget: most padded tokens in a part, apart from a single text that is longer.

    Returns:
        Positions in the batch, a part each, from short to long.
    """
    order_B = np.argsort(lengths_B, kind="stable")
    sorted_B = lengths_B[order_B]
    ends = [*(np.flatnonzero(np.diff(sorted_B)) + 1).tolist(), len(sorted_B)]
    starts = [0, *ends[:-1]]
    best = [0.0]
    chosen: list[int] = []
    for end in ends:
        longest = int(sorted_B[end - 1])
        costs = [
            best[i] + (end - start) * longest + overhead
            for i, start in enumerate(starts[: len(best)])
        ]
        at = int(np.argmin(costs))
        best.append(costs[at])
        chosen.append(at)
    parts: list[Indices] = []
    i = len(ends)
    while i > 0:
        i, end = chosen[i - 1], ends[i - 1]
        rows = max(1, budget // int(sorted_B[end - 1]))
        part = order_B[starts[i] : end]
        parts += [part[begin : begin + rows] for begin in range(0, len(part), rows)][::-1]
    return parts[::-1]
