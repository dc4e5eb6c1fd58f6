"""Losses of classes against naive loops in float64, and against pytorch-metric-learning's."""

import pytest
import torch
from pytorch_metric_learning import losses as theirs

from embedtune_trainer.objectives.labelled import ContrastiveLoss, NTXentLoss, SupConLoss
from tests.trainer.objectives.naive import F64, assert_same, awkward, cos, in_blocks, unit, vectors

LABELS = torch.tensor([0, 0, 1, 1, 1, 2, 2, 0, 1, 3, 2, 0, 4, 1])
BLOCKS = [2**21, 1, 31]


def contrastive(x, labels, pos_margin=0.0, neg_margin=1.0, distance="euclidean"):
    near, far, rows = [], [], range(len(x))
    units = unit(x)
    for i in rows:
        for j in rows:
            if i == j:
                continue
            if distance == "cosine":
                d = 1 - cos(x[i], x[j])
            else:
                difference = units[i] - units[j]
                d = difference.norm() if difference.abs().max() > 0 else difference.sum()
            same = labels[i] == labels[j]
            value = d - pos_margin if same else neg_margin - d
            if value > 1e-14:
                (near if same else far).append(value)
    means = [torch.stack(part).mean() for part in (near, far) if part]
    return sum(means), len(near) + len(far)


def nt_xent(x, labels, temperature):
    terms, rows = [], range(len(x))
    for a in rows:
        others = [n for n in rows if labels[n] != labels[a]]
        for p in rows:
            if p == a or labels[p] != labels[a] or not others:
                continue
            logits = [cos(x[a], x[k]) / temperature for k in (p, *others)]
            terms.append(torch.logsumexp(torch.stack(logits), 0) - logits[0])
    return torch.stack(terms).mean(), len(terms)


def sup_con(x, labels, temperature):
    terms, rows = [], range(len(x))
    for i in rows:
        positives = [p for p in rows if p != i and labels[p] == labels[i]]
        if not positives:
            continue
        others = torch.stack([cos(x[i], x[j]) / temperature for j in rows if j != i])
        mean = sum(cos(x[i], x[p]) / temperature for p in positives) / len(positives)
        terms.append(torch.logsumexp(others, 0) - mean)
    return torch.stack(terms).mean(), len(terms)


CASES = [
    (ContrastiveLoss(), contrastive, ()),
    (
        ContrastiveLoss(pos_margin=0.1, neg_margin=0.7, distance="cosine"),
        contrastive,
        (0.1, 0.7, "cosine"),
    ),
    (NTXentLoss(), nt_xent, (0.07,)),
    (NTXentLoss(temperature=0.01), nt_xent, (0.01,)),
    (SupConLoss(), sup_con, (0.1,)),
]
NAMES = ["contrastive", "contrastive-cosine", "nt-xent", "nt-xent-cold", "sup-con"]


@pytest.mark.parametrize("numbers", BLOCKS)
@pytest.mark.parametrize(("loss", "loop", "options"), CASES, ids=NAMES)
def test_as_the_loop(monkeypatch, loss, loop, options, numbers):
    in_blocks(monkeypatch, numbers)
    x = awkward() if loop is not contrastive else vectors(14, 4)
    found = loss(x, LABELS)
    expected, terms = loop(x, LABELS.tolist(), *options)
    assert int(found.terms) == terms
    assert_same(found.loss, expected, x)


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
def test_contrastive_of_duplicates_and_zero_vectors(distance):
    x = awkward()
    found = ContrastiveLoss(distance=distance)(x, LABELS).loss
    expected, _ = contrastive(x.detach(), LABELS.tolist(), distance=distance)
    assert found.item() == pytest.approx(expected.item(), abs=1e-7)
    (gradient,) = torch.autograd.grad(found, x)
    assert gradient.isfinite().all()
    assert not gradient[[0, 7]].any()


@pytest.mark.parametrize(
    ("ours", "peer"),
    [
        (ContrastiveLoss(), theirs.ContrastiveLoss()),
        (NTXentLoss(), theirs.NTXentLoss()),
        (SupConLoss(), theirs.SupConLoss()),
    ],
    ids=["contrastive", "nt-xent", "sup-con"],
)
def test_as_pytorch_metric_learning(ours, peer):
    x = vectors(14, 4)
    assert_same(ours(x, LABELS).loss, peer(x, LABELS), x)


@pytest.mark.parametrize("numbers", BLOCKS)
@pytest.mark.parametrize("loss", [NTXentLoss(), SupConLoss()], ids=["nt-xent", "sup-con"])
@pytest.mark.parametrize("labels", [[0] * 5, list(range(5)), [0]], ids=["one", "none", "a row"])
def test_nothing_to_compare_is_a_zero_with_a_gradient(monkeypatch, loss, labels, numbers):
    in_blocks(monkeypatch, numbers)
    x = vectors(len(labels), 3)
    found = loss(x, torch.tensor(labels))
    (gradient,) = torch.autograd.grad(found.loss, x)
    assert found.loss.item() == 0
    assert int(found.terms) == 0
    assert not gradient.any()


def test_contrastive_of_one_class_and_of_no_positives():
    x = vectors(5, 3)
    for labels in ([0] * 5, list(range(5))):
        found = ContrastiveLoss()(x, torch.tensor(labels))
        assert_same(found.loss, contrastive(x, labels)[0], x)
    same = torch.ones(4, 3, dtype=F64, requires_grad=True)
    found = ContrastiveLoss()(same, torch.zeros(4, dtype=torch.int64))
    (gradient,) = torch.autograd.grad(found.loss, same)
    assert found.loss.item() == 0
    assert int(found.terms) == 0
    assert not gradient.any()
