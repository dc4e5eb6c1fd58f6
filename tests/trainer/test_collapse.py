"""How far embeddings are from being all alike."""

import math

import pytest
import torch

from embedtune_trainer.training.collapse import LEAST_SPREAD, effective_rank, spread


def test_equal_rows_have_no_spread_whatever_their_length():
    row_D = torch.rand(16)
    rows_BD = row_D * torch.arange(1, 9)[:, None]
    assert float(spread(rows_BD)) < 1e-12 < LEAST_SPREAD
    assert float(effective_rank(torch.ones(8, 16))) == pytest.approx(1, abs=1e-6)


def test_what_differs_by_a_thousandth_is_not_collapsed():
    rows_BD = torch.ones(8, 16) + 3e-3 * torch.randn(8, 16, generator=torch.manual_seed(0))
    assert float(spread(rows_BD)) > LEAST_SPREAD


def test_spread_is_one_minus_the_means_square():
    rows_BD = torch.randn(32, 8, generator=torch.manual_seed(0), dtype=torch.float64)
    unit = [[x / math.sqrt(sum(y * y for y in row)) for x in row] for row in rows_BD.tolist()]
    mean = [sum(row[d] for row in unit) / 32 for d in range(8)]
    assert float(spread(rows_BD)) == pytest.approx(1 - sum(m * m for m in mean), abs=1e-6)


@pytest.mark.parametrize("directions", [2, 3, 7])
def test_the_rank_of_so_many_equally_strong_directions(directions):
    basis_RD = torch.eye(16)[:directions]
    rows_BD = torch.cat((basis_RD, -basis_RD))
    assert float(effective_rank(rows_BD)) == pytest.approx(directions, rel=1e-5)
