"""Our own losses over what a miner of the library chooses, against the library's."""

import numpy as np
import pytest
import torch
from pytorch_metric_learning import losses, miners

from embedtune_trainer.objectives.catalogue import LOSSES
from embedtune_trainer.objectives.kind import Known
from embedtune_trainer.objectives.metric_learning.miners import OF_THE_LIBRARY
from embedtune_trainer.rows.table import LabelledRows, Texts

LABELS = [0, 1, 2, 3] * 3 + [3, 2]


def embeddings(dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(len(LABELS), 8, generator=generator, dtype=dtype).requires_grad_()


def built(name, miner, **options):
    rows = LabelledRows(Texts([str(i) for i in range(len(LABELS))]), map(str, LABELS), "t.csv")
    kind = LOSSES[name]
    return kind.build(kind.options(**options), miner, Known(rows, 8))


def compared(ours, theirs, mined, seed=1):
    x = embeddings()
    torch.manual_seed(seed)
    found = ours([x], np.arange(len(LABELS)))
    reference = x.detach().clone().requires_grad_()
    torch.manual_seed(seed)
    expected = theirs(reference, torch.tensor(LABELS), mined(reference, torch.tensor(LABELS)))
    torch.testing.assert_close(found.loss, expected, rtol=0, atol=1e-10)
    found.loss.backward()
    expected.backward()
    torch.testing.assert_close(x.grad, reference.grad, rtol=0, atol=1e-10)
    return found


@pytest.mark.parametrize("declared", OF_THE_LIBRARY, ids=lambda d: d.__name__)
def test_contrastive_loss_is_the_librarys(declared):
    theirs = losses.ContrastiveLoss(pos_margin=0.1, neg_margin=1.5)
    mined = getattr(miners, declared.__name__)()
    found = compared(
        built("ContrastiveLoss", declared(), pos_margin=0.1, neg_margin=1.5), theirs, mined
    )
    assert found.terms > 0


@pytest.mark.parametrize("declared", OF_THE_LIBRARY, ids=lambda d: d.__name__)
@pytest.mark.parametrize("soft", [False, True])
def test_triplet_loss_is_the_librarys_averaged_over_all_that_was_mined(declared, soft):
    from pytorch_metric_learning.distances import LpDistance
    from pytorch_metric_learning.reducers import MeanReducer

    plain = LpDistance(normalize_embeddings=False)
    theirs = losses.TripletMarginLoss(0.7, False, soft, distance=plain, reducer=MeanReducer())
    mined = getattr(miners, declared.__name__)()
    options = {"margin": 0.7, "distance": "euclidean", "soft": soft}
    found = compared(built("TripletMarginLoss", declared(), **options), theirs, mined)
    assert found.terms > 0


@pytest.mark.parametrize("name", ["TripletMarginLoss", "ContrastiveLoss"])
@pytest.mark.parametrize("of", ["PairMarginMiner", "AngularMiner"])
def test_nothing_mined_is_nothing_to_learn(name, of):
    declared = next(d for d in OF_THE_LIBRARY if d.__name__ == of)
    options = {"angle": 89.0} if of == "AngularMiner" else {"pos_margin": 2.0, "neg_margin": 0.0}
    x = embeddings(torch.float32)
    found = built(name, declared(**options))([x], np.arange(len(LABELS)))
    found.loss.backward()
    assert found.loss == found.terms == 0
    assert x.grad.abs().sum() == 0
