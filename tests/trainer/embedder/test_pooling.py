"""Every pooling against a plain loop, on each kind of feature; what makes no sense is refused."""

import pytest
import torch

from embedtune_api.spec import Encoder
from embedtune_trainer.embedder.features import Feature
from embedtune_trainer.embedder.gem import Gem, GemOptions
from embedtune_trainer.embedder.pooling import FITTING, Pooling, choose_pooling
from embedtune_trainer.errors import BadSpec


def encoder(**given):
    return Encoder.parse({"backbone": "s3://bases/tiny", **given})


def gem_loop(hidden, mask, p, eps):
    rows = []
    for vectors, counts in zip(hidden, mask, strict=True):
        kept = [v.clamp(min=eps) ** p for v, count in zip(vectors, counts, strict=True) if count]
        rows.append((sum(kept) / len(kept)) ** (1 / p))
    return torch.stack(rows)


@pytest.mark.parametrize("p", [1.0, 3.0, 7.5])
def test_gem_as_a_loop_with_the_gradient_of_p_and_of_the_feature(p):
    torch.manual_seed(0)
    mask = torch.tensor([[1, 1, 1, 1], [0, 1, 1, 0], [0, 0, 0, 1]])
    hidden = torch.randn(3, 4, 5, dtype=torch.float64)
    hidden[1, 0] = 1e6  # padding, however large, does not count
    ours, theirs = (hidden.clone().requires_grad_() for _ in range(2))
    layer = Gem(GemOptions(p=p, eps=1e-6, learnable=True)).double()
    other_p = torch.tensor([p], dtype=torch.float64, requires_grad=True)
    weights = torch.randn(3, 5, dtype=torch.float64)
    got, expected = layer(ours, mask), gem_loop(theirs, mask, other_p, 1e-6)
    (got * weights).sum().backward()
    (expected * weights).sum().backward()
    assert torch.allclose(got, expected, rtol=1e-9, atol=1e-12)
    assert torch.allclose(ours.grad, theirs.grad, rtol=1e-8, atol=1e-12)
    assert torch.allclose(layer.p.grad, other_p.grad, rtol=1e-8)


def test_a_large_p_neither_overflows_nor_vanishes():
    hidden = torch.tensor([[[1e6, 1e-5], [2e6, 3e-5]]])
    got = Gem(GemOptions(p=100.0))(hidden, torch.ones(1, 2))
    assert torch.allclose(got, torch.tensor([[2e6, 3e-5]]) * 0.5**0.01, rtol=1e-4)


def test_p_is_trained_only_if_it_is_to_be():
    assert not Gem(GemOptions()).p.requires_grad
    pooling = choose_pooling(
        encoder(pooling="gem", poolingOptions={"p": 4, "learnable": True}), "places", ("mean",)
    )
    assert [p.item() for p in pooling.parameters() if p.requires_grad] == [4.0]


def test_an_images_places():
    torch.manual_seed(0)
    places = torch.randn(2, 3, 4, 5)
    feature = Feature(places)
    assert torch.allclose(Pooling(("mean",))(feature), places.mean((2, 3)), atol=1e-6)
    assert torch.equal(Pooling(("max",))(feature), places.amax((2, 3)))
    expected = (places.clamp(min=1e-6) ** 3).mean((2, 3)) ** (1 / 3)
    assert torch.allclose(Pooling(("gem",))(feature), expected, atol=1e-5)


def test_an_images_tokens_without_those_that_are_no_places():
    torch.manual_seed(0)
    tokens = torch.randn(2, 6, 4)
    feature = Feature(tokens, prefix=2)
    assert torch.equal(Pooling(("cls",))(feature), tokens[:, 0])
    assert torch.allclose(Pooling(("mean",))(feature), tokens[:, 2:].mean(1), atol=1e-6)
    assert torch.equal(Pooling(("max",))(feature), tokens[:, 2:].amax(1))


def test_one_vector_passes_as_it_is():
    vector = torch.randn(2, 4)
    assert torch.equal(Pooling(())(Feature(vector)), vector)


@pytest.mark.parametrize("kind", FITTING)
@pytest.mark.parametrize(
    "name", ["mean", "cls", "max", "last", "weightedMean", "gem", "none"], ids=str
)
def test_a_pooling_that_makes_no_sense_is_refused(kind, name):
    spec = encoder(pooling=name)
    if name in FITTING[kind]:
        assert choose_pooling(spec, kind, Pooling(("mean",))).modes is not None
    else:
        with pytest.raises(BadSpec, match=rf"spec.model.pooling: {name} is not for"):
            choose_pooling(spec, kind, Pooling(("mean",)))


def test_cls_needs_a_class_token():
    with pytest.raises(BadSpec, match="cls is not for the tokens of an image"):
        choose_pooling(encoder(pooling="cls"), "tokens", Pooling(("mean",)), class_token=False)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"pooling": "gem", "poolingOptions": {"q": 3}},
            "poolingOptions.q: unknown field\n.*takes: p: The power",
        ),
        ({"pooling": "gem", "poolingOptions": {"p": 0}}, r"poolingOptions.p: .*greater than 0"),
        ({"pooling": "mean", "poolingOptions": {"p": 3}}, "mean takes no options"),
    ],
)
def test_wrong_options_are_named(given, said):
    with pytest.raises(BadSpec, match=said):
        choose_pooling(encoder(**given), "text", Pooling(("mean",)))
