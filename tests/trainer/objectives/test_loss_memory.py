"""No loss holds a batch's square: the largest tensor that it allocates, forth and back."""

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from embedtune_trainer.batches.relation import Relation
from embedtune_trainer.objectives.labelled import ContrastiveLoss, NTXentLoss, SupConLoss
from embedtune_trainer.objectives.miners import TripletMarginMiner
from embedtune_trainer.objectives.ranking import CLIPLoss, MultipleNegativesRankingLoss
from embedtune_trainer.objectives.scores import CoSENTLoss
from embedtune_trainer.objectives.siglip import SigLIPLoss
from embedtune_trainer.objectives.triplet import TripletMarginLoss, TripletObjective
from tests.trainer.objectives.naive import in_blocks

BATCH, DIM = 512, 8
BLOCK = 16 * BATCH
LABELS = torch.arange(BATCH) % 64


class Largest(TorchDispatchMode):
    """Remembers how many numbers the largest tensor has that an operation gave."""

    def __init__(self):
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in tree_flatten(out)[0]:
            if isinstance(tensor, torch.Tensor):
                self.numbers = max(self.numbers, tensor.untyped_storage().nbytes() // 4)
        return out


def triplet(kind):
    objective = TripletObjective(TripletMarginLoss(), TripletMarginMiner(type_of_triplets=kind))
    return lambda x, _: objective(x, LABELS)


LOSSES = {
    "ranking": MultipleNegativesRankingLoss(symmetric=True),
    "clip": lambda x, y: CLIPLoss()(x, y, torch.tensor(2.0, requires_grad=True)),
    "siglip": lambda x, y: SigLIPLoss()(x, y, torch.tensor(2.0), torch.tensor(-10.0)),
    "cosent": lambda x, y: CoSENTLoss()(x, y, torch.linspace(0, 1, BATCH)),
    "contrastive": lambda x, _: ContrastiveLoss()(x, LABELS),
    "nt-xent": lambda x, _: NTXentLoss()(x, LABELS),
    "sup-con": lambda x, _: SupConLoss()(x, LABELS),
    "triplet-all": triplet("all"),
    "triplet-semihard": triplet("semihard"),
    "triplet-hard": triplet("hard"),
}


@pytest.mark.parametrize("name", LOSSES)
def test_the_largest_tensor_is_a_block(monkeypatch, name):
    in_blocks(monkeypatch, BLOCK)
    x, y = torch.randn(BATCH, DIM, requires_grad=True), torch.randn(BATCH, DIM, requires_grad=True)
    with Largest() as largest:
        LOSSES[name](x, y).loss.backward()
    assert x.grad.isfinite().all()
    # int64 places beside float32 numbers count twice.
    assert BATCH * DIM <= largest.numbers <= 2 * BLOCK < BATCH * BATCH / 8


def test_the_measure_sees_a_square():
    x = torch.randn(BATCH, DIM, requires_grad=True)
    with Largest() as largest:
        (x @ x.T).sum().backward()
    assert largest.numbers == BATCH * BATCH


def test_known_pairs_come_by_blocks():
    """Of a batch that is all one item, so that everything is known."""
    nothing = np.zeros(BATCH, np.int64)
    known = Relation(nothing, nothing + 1, (), 2).known(nothing)
    row, column = known.rows(4, 12)
    assert len(row) == len(column) == 8 * BATCH
    assert (np.bincount(row) == BATCH).all()
