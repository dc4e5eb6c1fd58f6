"""CentroidTripletLoss against the loops of its paper."""

import numpy as np
import pytest
import torch

from embedtune_trainer.objectives.centroid import CentroidTripletLoss


def naive(x, labels, margin, distance, soft):
    """Row by row and class by class."""

    def unit(v):
        return v / v.norm()

    def d(u, v):
        u, v = unit(u), unit(v)
        return 1 - u @ v if distance == "cosine" else (u - v).norm()

    found = []
    for a in range(len(x)):
        rest = [x[i] for i in range(len(x)) if labels[i] == labels[a] and i != a]
        if not rest:
            continue
        own = torch.stack(rest).mean(0)
        for other in sorted(set(labels) - {labels[a]}):
            theirs = torch.stack([x[i] for i in range(len(x)) if labels[i] == other]).mean(0)
            violation = d(x[a], own) - d(x[a], theirs) + margin
            found.append(torch.nn.functional.softplus(violation) if soft else violation.relu())
    above = [value for value in found if value > 0]
    return sum(found) / max(1, len(above)), len(above)


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("labels", [[0, 1, 2] * 4, [5, 5, 9, 9, 9, 9, 2, 7, 7]])
def test_it_is_that_of_the_loops(distance, soft, labels):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(len(labels), 6, generator=generator, dtype=torch.float64).requires_grad_()
    options = CentroidTripletLoss(margin=0.3, distance=distance, soft=soft)
    found = options(x, np.array(labels))
    (gradient,) = torch.autograd.grad(found.loss, x)
    expected, terms = naive(x, labels, 0.3, distance, soft)
    (reference,) = torch.autograd.grad(expected, x)
    assert found.terms == terms
    torch.testing.assert_close(found.loss, expected, rtol=0, atol=1e-10)
    torch.testing.assert_close(gradient, reference, rtol=0, atol=1e-10)


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
@pytest.mark.parametrize("labels", [[1, 1, 1, 1], [1, 2, 3, 4]])
def test_without_a_second_class_or_a_second_row_there_is_nothing_to_learn(distance, labels):
    x = torch.randn(4, 6).requires_grad_()
    found = CentroidTripletLoss(distance=distance)(x, np.array(labels))
    found.loss.backward()
    assert found.loss == found.terms == 0
    assert x.grad.abs().sum() == 0


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_zero_vectors_and_equal_rows_have_a_gradient(distance):
    x = torch.ones(6, 4)
    x[4:] = 0
    x.requires_grad_()
    found = CentroidTripletLoss(distance=distance)(x, np.array([0, 0, 1, 1, 2, 2]))
    found.loss.backward()
    assert found.loss > 0
    assert x.grad.isfinite().all()
    assert x.grad[4:].abs().sum() == 0
