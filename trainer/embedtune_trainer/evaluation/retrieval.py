"""A search by cosine similarity, of which only the ranks of the relevant items are found.

A ranking is never written down: a relevant item's rank is one more than the number of items that
are more similar, which is looked up among the sorted similarities. Queries and index are taken by
blocks, so that nothing of size queries x index is held, or items x items.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from embedtune_trainer.evaluation.ranking import ranking_metrics

BLOCK_ELEMENTS: Final = 2**23
"""Similarities (queries times index) that are held at a time."""
INDEX_BLOCK: Final = 2**18
"""Items of the index that are compared at a time; a larger index is compared twice."""
FEW: Final = 16
"""Ties a query that are counted one by one; of more, the whole block is ranked."""
COUNTED: Final = 64
"""Ties that are counted at a time."""
BEYOND: Final = torch.iinfo(torch.int64).max
"""The rank where a list of relevant items has ended."""


@dataclass(frozen=True)
class Retrieval:
    """The outcome of a search.

    Attributes:
        values: of each metric for each query that has a relevant item, in the queries' order,
            float64 from 0 to 1.
        queries: those queries.
        without_relevant: queries left out, since the index has no relevant item for them.
    """

    values: dict[str, NDArray[np.float64]]
    queries: int
    without_relevant: int

    @property
    def metrics(self) -> dict[str, float]:
        """Means over the queries; empty if none has a relevant item."""
        return {
            name: float(value_Q.mean()) for name, value_Q in self.values.items() if self.queries
        }


@dataclass(frozen=True)
class Relevant:
    """The relevant items of Q queries. Queries of one class share a list.

    Attributes:
        items_P: lists of item numbers, one behind the other.
        first_Q: where each query's list begins.
        count_Q: how long it is.
    """

    items_P: Tensor
    first_Q: Tensor
    count_Q: Tensor

    def of(self, query_B: Tensor) -> tuple[Tensor, Tensor]:
        """Item numbers of some queries, (B, R), and which of them are there and not padding."""
        count_B = self.count_Q[query_B]
        place_R = torch.arange(int(count_B.max()) if len(count_B) else 0)
        there_BR = place_R < count_B[:, None]
        at_BR = torch.where(there_BR, self.first_Q[query_B][:, None] + place_R, 0)
        return self.items_P[at_BR], there_BR


def same_label(query_labels_Q: Tensor, index_labels_N: Tensor) -> Relevant:
    """An item is relevant if it has the query's label (integers from 0)."""
    order_N = index_labels_N.argsort(stable=True)
    sorted_N = index_labels_N[order_N].contiguous()
    first_Q = torch.searchsorted(sorted_N, query_labels_Q)
    last_Q = torch.searchsorted(sorted_N, query_labels_Q, right=True)
    return Relevant(order_N, first_Q, last_Q - first_Q)


def paired(queries_P: Tensor, items_P: Tensor, queries: int) -> Relevant:
    """An item is relevant if it is listed with the query: the numbers of both, a pair each."""
    items = int(items_P.max()) + 1 if len(items_P) else 1
    pair_P = torch.unique(queries_P * items + items_P)
    count_Q = torch.bincount(pair_P // items, minlength=queries)
    return Relevant(pair_P % items, count_Q.cumsum(0) - count_Q, count_Q)


def search_metrics(
    queries_QD: Tensor,
    index_ND: Tensor | None,
    relevant: Relevant,
    cutoffs: Sequence[int],
    device: torch.device | None = None,
    check: Callable[[], None] = lambda: None,
) -> Retrieval:
    """Search every query in the index.

    Args:
        queries_QD: embeddings, of any length.
        index_ND: embeddings; None searches each query in the other queries, itself left out of
            both the results and the relevant items.
        relevant: which items are.
        cutoffs: the values of k.
        device: that compares; None: where the queries are.
        check: called for every block; what it raises ends the search.
    """
    device = device or queries_QD.device
    queries_QD = functional.normalize(queries_QD.float(), dim=-1)
    leave_one_out = index_ND is None
    index_ND = queries_QD if index_ND is None else functional.normalize(index_ND.float(), dim=-1)
    found: dict[str, list[Tensor]] = {}
    searched = []
    for block_B in _blocks(relevant.count_Q, len(index_ND)):
        check()
        item_BR, there_BR = relevant.of(block_B)
        if leave_one_out:
            there_BR &= item_BR != block_B[:, None]
        has_B = there_BR.any(1)
        if not bool(has_B.any()):
            continue
        query_B, item_BR, there_BR = block_B[has_B], item_BR[has_B], there_BR[has_B]
        own_B = query_B.to(device) if leave_one_out else None
        scores = _Scores(queries_QD[query_B].to(device), index_ND, own_B)
        rank_BR = _ranks(scores, item_BR.to(device)).cpu()
        rank_BR = torch.where(there_BR, rank_BR, BEYOND).sort(dim=1).values
        for name, value_B in ranking_metrics(rank_BR, there_BR.sum(1), cutoffs).items():
            found.setdefault(name, []).append(value_B)
        searched.append(query_B)
    count = sum(len(query_B) for query_B in searched)
    order_Q = torch.cat(searched).argsort() if searched else torch.arange(0)
    values = {name: torch.cat(parts)[order_Q].numpy() for name, parts in found.items()}
    return Retrieval(values, count, len(queries_QD) - count)


def _blocks(count_Q: Tensor, items: int) -> Iterator[Tensor]:
    """Queries that are searched together, of like numbers of relevant items."""
    order_Q = count_Q.argsort(descending=True, stable=True)
    begin = 0
    while begin < len(order_Q):
        widest = max(int(count_Q[order_Q[begin]]), min(items, INDEX_BLOCK), 1)
        rows = max(1, BLOCK_ELEMENTS // widest)
        yield order_Q[begin : begin + rows]
        begin += rows


@dataclass(frozen=True)
class _Scores:
    """The similarities of some queries with the index, a block of it at a time."""

    query_BD: Tensor
    index_ND: Tensor
    own_B: Tensor | None
    """The queries' own places in the index, which are not searched."""

    def blocks(self) -> Iterator[tuple[int, Tensor]]:
        """Where each block begins, and (B, n) similarities; the same numbers each time."""
        if len(self.index_ND) <= INDEX_BLOCK:
            yield 0, self._only
            return
        for begin in range(0, len(self.index_ND), INDEX_BLOCK):
            yield begin, self._block(begin)

    @property
    def _only(self) -> Tensor:
        """Of an index that is one block, compared once."""
        if "kept" not in vars(self):
            vars(self)["kept"] = self._block(0)
        kept: Tensor = vars(self)["kept"]
        return kept

    def _block(self, begin: int) -> Tensor:
        index_nD = self.index_ND[begin : begin + INDEX_BLOCK].to(self.query_BD.device)
        score_Bn = self.query_BD @ index_nD.T
        if self.own_B is not None:
            at_B = self.own_B - begin
            here_B = ((at_B >= 0) & (at_B < len(index_nD))).nonzero()[:, 0]
            score_Bn[here_B, at_B[here_B]] = float("-inf")
        return score_Bn


def _ranks(scores: _Scores, item_BR: Tensor) -> Tensor:
    """(B, R) ranks of these items, from 1. Equal similarities are ranked by place in the index."""
    score_BR = torch.empty(item_BR.shape, device=item_BR.device)
    for begin, score_Bn in scores.blocks():
        at_BR = item_BR - begin
        here_BR = (at_BR >= 0) & (at_BR < score_Bn.shape[1])
        found_BR = score_Bn.gather(1, at_BR.clamp(0, score_Bn.shape[1] - 1))
        score_BR = torch.where(here_BR, found_BR, score_BR)
    before_BR = torch.zeros_like(item_BR)
    for begin, score_Bn in scores.blocks():
        size = score_Bn.shape[1]
        sorted_Bn = _sorted(score_Bn)
        up_to_BR = torch.searchsorted(sorted_Bn, score_BR, right=True)
        less_BR = torch.searchsorted(sorted_Bn, score_BR)
        at_BR = item_BR - begin
        earlier_BR = torch.where(at_BR >= size, up_to_BR - less_BR, 0)
        tied_BR = (at_BR >= 0) & (at_BR < size) & (up_to_BR - less_BR > 1)
        before_BR += size - up_to_BR + earlier_BR
        before_BR[tied_BR] += _earlier_ties(score_Bn, at_BR, tied_BR)
    return before_BR + 1


def _earlier_ties(score_Bn: Tensor, at_BR: Tensor, tied_BR: Tensor) -> Tensor:
    """(T,): of each that is tied, how many of its equals stand before it in the block.

    Args:
        score_Bn: similarities.
        at_BR: places in the block.
        tied_BR: which of these have an equal, T of them in the order of nonzero().
    """
    row_T, column_T = tied_BR.nonzero(as_tuple=True)
    at_T = at_BR[row_T, column_T]
    place_n = torch.arange(score_Bn.shape[1], device=score_Bn.device)
    if len(row_T) <= FEW * len(score_Bn):
        score_T1 = score_Bn[row_T, at_T][:, None]
        parts = [
            ((score_Bn[row_t] == score_t1) & (place_n < at_t[:, None])).sum(1)
            for row_t, score_t1, at_t in zip(
                *(torch.split(x, COUNTED) for x in (row_T, score_T1, at_T)), strict=True
            )
        ]
        return torch.cat(parts) if parts else torch.zeros_like(at_T)
    ordered_Bn = score_Bn.argsort(dim=1, descending=True, stable=True)
    place_Bn = torch.empty_like(ordered_Bn).scatter_(1, ordered_Bn, place_n.expand_as(ordered_Bn))
    found_BR = score_Bn.gather(1, at_BR.clamp(0, len(place_n) - 1))
    more_BR = len(place_n) - torch.searchsorted(_sorted(score_Bn), found_BR, right=True)
    return place_Bn[row_T, at_T] - more_BR[row_T, column_T]


def _sorted(score_Bn: Tensor) -> Tensor:
    """Each line in ascending order; numpy's sort of floats is many times as fast as torch's."""
    if score_Bn.device.type == "cpu":
        return torch.from_numpy(np.sort(score_Bn.numpy(), axis=1))
    return score_Bn.sort(dim=1).values
