"""Hard negatives out of the current model's embeddings.

For a row with anchor a and positive p, the candidates are the right items that the data does not
know to belong to a. The `among` candidates most similar to a are looked at; what has

    cos(a, n) > cos(a, p) - margin |cos(a, p)|

may well belong to a, too, and is left out: NV-Retriever's TopK-PercPos (Moreira et al. 2024), which
sentence-transformers' mine_hard_negatives calls relative_margin. Of the rest `per_row` are drawn.
The search is exact, and by blocks, so that it never holds anchors times candidates.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from embedtune_api.spec import HardNegatives

Indices = NDArray[np.int64]
NOTHING: Final = -1
"""In the place of a negative where a row finds too few."""
ANCHORS: Final = 1024
"""Anchors that are looked at together."""
CANDIDATES: Final = 16384
"""Candidates whose similarities are held at a time."""
ROWS: Final = 65536
"""Rows that negatives are drawn for at a time."""


@dataclass(frozen=True)
class Bipartite:
    """Which left items and which right ones the data pairs, by their numbers.

    Attributes:
        left_N: each row's left item, 0 to L - 1.
        right_N: each row's right item, 0 to R - 1.
        known_left_P: left items of what is known to belong together, ascending.
        known_right_P: right items of the same.
    """

    left_N: Indices
    right_N: Indices
    known_left_P: Indices
    known_right_P: Indices


def mine(
    left_LD: Tensor,
    right_RD: Tensor,
    pairs: Bipartite,
    options: HardNegatives,
    rng: np.random.Generator,
) -> Indices:
    """Hard negatives of every row.

    Args:
        left_LD: embeddings of the left items, of any length.
        right_RD: of the right ones, on the same device.
        pairs: what belongs together.
        options: how many of them, out of how many, and the margin.
        rng: what they are drawn by.

    Returns:
        (N, K) numbers of right items; NOTHING at the end where a row finds fewer.
    """
    left_LD, right_RD = (functional.normalize(x, dim=-1) for x in (left_LD, right_RD))
    out_NK = np.full((len(pairs.left_N), options.per_row), NOTHING, np.int64)
    row_N = np.argsort(pairs.left_N, kind="stable")
    sorted_N = pairs.left_N[row_N]
    for begin in range(0, len(left_LD), ANCHORS):
        end = min(begin + ANCHORS, len(left_LD))
        cosine_BA, place_BA = _nearest(left_LD, right_RD, pairs, range(begin, end), options.among)
        first, last = np.searchsorted(sorted_N, (begin, end))
        for at in range(int(first), int(last), ROWS):
            rows_M = row_N[at : min(at + ROWS, int(last))]
            left_M = torch.from_numpy(pairs.left_N[rows_M]).to(left_LD.device)
            right_M = torch.from_numpy(pairs.right_N[rows_M]).to(left_LD.device)
            positive_M = (left_LD[left_M] * right_RD[right_M]).sum(-1)
            most_M = positive_M - options.margin * positive_M.abs()
            cosine_MA = cosine_BA[left_M - begin]
            allowed_MA = (cosine_MA <= most_M[:, None]) & cosine_MA.isfinite()
            drawn_MK = _draw(allowed_MA.cpu().numpy(), options.per_row, rng)
            place_MA = place_BA[left_M - begin].cpu().numpy()
            found_MK = np.take_along_axis(place_MA, np.maximum(drawn_MK, 0), axis=1)
            found_MK[drawn_MK == NOTHING] = NOTHING
            out_NK[rows_M, : found_MK.shape[1]] = found_MK
    return out_NK


def _nearest(
    left_LD: Tensor, right_RD: Tensor, pairs: Bipartite, anchors: range, among: int
) -> tuple[Tensor, Tensor]:
    """(B, A) cosines and right items: of each anchor the most similar that are not known.

    Where there are fewer, the cosine is -inf.
    """
    device = left_LD.device
    left_BD = left_LD[anchors.start : anchors.stop]
    begin, end = np.searchsorted(pairs.known_left_P, (anchors.start, anchors.stop))
    anchor_P = torch.from_numpy(pairs.known_left_P[begin:end] - anchors.start).to(device)
    known_P = torch.from_numpy(pairs.known_right_P[begin:end]).to(device)
    cosine_BA = left_BD.new_empty((len(left_BD), 0))
    place_BA = torch.empty((len(left_BD), 0), dtype=torch.int64, device=device)
    for start in range(0, len(right_RD), CANDIDATES):
        cosine_BC = left_BD @ right_RD[start : start + CANDIDATES].T
        width = cosine_BC.shape[1]
        here_P = (known_P >= start) & (known_P < start + width)
        cosine_BC[anchor_P[here_P], known_P[here_P] - start] = float("-inf")
        place_BC = torch.arange(start, start + width, device=device).expand_as(cosine_BC)
        cosine_BC = torch.cat((cosine_BA, cosine_BC), 1)
        place_BC = torch.cat((place_BA, place_BC), 1)
        cosine_BA, at_BA = cosine_BC.topk(min(among, cosine_BC.shape[1]), dim=1)
        place_BA = place_BC.gather(1, at_BA)
    return cosine_BA, place_BA


def _draw(allowed_MA: NDArray[np.bool_], count: int, rng: np.random.Generator) -> Indices:
    """(M, K) places of different allowed ones in each line, NOTHING behind the last."""
    lot_MA = np.where(allowed_MA, rng.random(allowed_MA.shape), -1.0)
    place_MK: Indices = np.argsort(-lot_MA, axis=1, kind="stable")[:, :count]
    return np.where(np.take_along_axis(lot_MA, place_MK, axis=1) >= 0, place_MK, NOTHING)
