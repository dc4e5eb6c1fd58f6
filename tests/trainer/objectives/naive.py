"""What the losses' tests have in common: vectors, blocks of a few rows, gradients compared."""

import torch

from embedtune_trainer.objectives import blocks

F64 = torch.float64


def vectors(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=F64, requires_grad=True)


def awkward(count=14, dim=4, seed=0):
    """Rows among which are duplicates and two zero vectors."""
    with torch.no_grad():
        x = vectors(count, dim, seed=seed).detach()
        x[3], x[4] = x[5], 2 * x[5]
        x[0], x[7] = 0.0, 0.0
    return x.requires_grad_()


def cos(a, b):
    """Of two vectors; 0 if one is 0."""
    if not a.any() or not b.any():
        return (a * 0).sum() + (b * 0).sum()
    return (a @ b) / (a.norm() * b.norm())


def unit(x):
    return [v / v.norm() if v.any() else v * 0 for v in x]


def in_blocks(monkeypatch, numbers):
    """Blocks of so many numbers, on a CPU."""
    monkeypatch.setitem(blocks.LARGEST, "cpu", numbers)


def dense(known):
    """A (B, C) bool table as what is left out."""

    def left_out(begin, end):
        return known[begin:end].nonzero(as_tuple=True)

    return left_out


def assert_same(ours, expected, *inputs):
    """Values and gradients to 1e-10."""
    assert abs(float((ours - expected).detach())) < 1e-10
    found = torch.autograd.grad(ours, inputs, allow_unused=True)
    wanted = torch.autograd.grad(expected, inputs, allow_unused=True)
    for f, w in zip(found, wanted, strict=True):
        assert f.isfinite().all()
        assert (f if w is None else f - w).abs().max() < 1e-10
