"""Mined triplets against the loops that the definitions give."""

import pytest
import torch

from embedtune_trainer.objectives.distances import cosine as between
from embedtune_trainer.objectives.distances import unit
from embedtune_trainer.objectives.miners import TripletMarginMiner

MARGIN = 0.2
KINDS = ("all", "semihard", "hard")


def cosine(x):
    return between(unit(x), unit(x))


def loop(distance, labels, kind, margin=MARGIN):
    """The triplets of the module's docstring, one by one."""
    d, rows = distance.tolist(), range(len(labels))
    found = set()
    for a in rows:
        positives = [p for p in rows if p != a and labels[p] == labels[a]]
        negatives = [n for n in rows if labels[n] != labels[a]]
        if kind == "hard":
            if positives and negatives:
                p = max(positives, key=lambda p: (d[a][p], -p))
                n = min(negatives, key=lambda n: (d[a][n], n))
                if d[a][n] - d[a][p] < margin:
                    found.add((a, p, n))
            continue
        for p in positives:
            farther = [n for n in negatives if d[a][n] > d[a][p]]
            if kind == "all":
                found |= {(a, p, n) for n in negatives if d[a][n] - d[a][p] < margin}
            elif farther:
                found.add((a, p, min(farther, key=lambda n: (d[a][n], n))))
            elif negatives:
                found.add((a, p, max(negatives, key=lambda n: (d[a][n], -n))))
    return found


def mined(distance, labels, kind, margin=MARGIN):
    miner = TripletMarginMiner(type_of_triplets=kind)
    same = labels[:, None] == labels
    same.fill_diagonal_(fill_value=False)
    anchors, positives = same.nonzero(as_tuple=True)
    if kind == "hard":
        (anchors,) = same.any(1).nonzero(as_tuple=True)
        if len(anchors):
            positives = miner.positives(distance[anchors], same[anchors])
    chosen = miner.negatives(
        distance[anchors, positives], distance[anchors], labels[anchors][:, None] != labels, margin
    )
    return {(int(anchors[i]), int(positives[i]), int(n)) for i, n in chosen.nonzero().tolist()}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(5))
def test_as_the_loop(kind, seed):
    torch.manual_seed(seed)
    x = torch.randn(14, 4, dtype=torch.float64)
    x[3] = x[5]  # duplicates
    x[7] = 0.0
    labels = torch.randint(0, 4, (14,))
    distance = cosine(x)
    assert mined(distance, labels, kind) == loop(distance, labels.tolist(), kind)


@pytest.mark.parametrize("kind", KINDS)
def test_ties_go_to_the_earlier_row(kind):
    distance = torch.tensor([[0.0, 0.5, 0.5, 0.5, 0.5]] * 5, dtype=torch.float64)
    labels = torch.tensor([0, 0, 0, 1, 1])
    assert mined(distance, labels, kind) == loop(distance, labels.tolist(), kind)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("labels", [[0, 0, 0], [0, 1, 2]], ids=["one class", "no positives"])
def test_nothing_to_mine(kind, labels):
    x = torch.randn(3, 4, dtype=torch.float64)
    assert mined(cosine(x), torch.tensor(labels), kind) == set()


def test_as_pytorch_metric_learning():
    from pytorch_metric_learning.distances import LpDistance
    from pytorch_metric_learning.miners import TripletMarginMiner as Theirs

    torch.manual_seed(1)
    x, labels = torch.randn(20, 3, dtype=torch.float64), torch.randint(0, 4, (20,))
    distance = LpDistance(normalize_embeddings=False)
    theirs = Theirs(margin=MARGIN, type_of_triplets="all", distance=distance)(x, labels)
    expected = set(zip(*(t.tolist() for t in theirs), strict=True))
    assert mined(torch.cdist(x, x), labels, "all") == expected
