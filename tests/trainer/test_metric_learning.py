"""Each loss and miner of the library: declared as it is there, and the same value and gradient."""

import inspect

import numpy as np
import pytest
import torch
from pytorch_metric_learning import distances, losses, miners
from pytorch_metric_learning.losses import BaseMetricLossFunction
from pytorch_metric_learning.miners import BaseMiner

from embedtune_trainer.errors import BadSpec
from embedtune_trainer.objectives.metric_learning import refused
from embedtune_trainer.objectives.metric_learning.adapter import (
    LabelledObjective,
    PairObjective,
    count,
)
from embedtune_trainer.objectives.metric_learning.class_losses import OF_CLASSES
from embedtune_trainer.objectives.metric_learning.library import (
    DISTANCES,
    library_loss,
    library_miner,
)
from embedtune_trainer.objectives.metric_learning.losses import COMPARING, VICRegLoss
from embedtune_trainer.objectives.metric_learning.miners import OF_THE_LIBRARY
from embedtune_trainer.objectives.options import read_options

ALL_LOSSES = (*COMPARING, VICRegLoss, *OF_CLASSES)
OUR_OWN = {"ContrastiveLoss", "NTXentLoss", "SupConLoss", "TripletMarginLoss"}
CLASSES, DIM = 4, 8
OPTIONAL = {"reducer", "embedding_regularizer", "embedding_reg_weight", "weight_regularizer"}
OBJECTS = OPTIONAL | {
    "weight_reg_weight",
    "weight_init_func",
    "collect_stats",
    "distance",
    "mat_based_loss",
}


def name(declared):
    return declared.__name__


def constructor_of(kind):
    """Names and defaults of a class's arguments, its parents' among them."""
    found = {}
    for parent in reversed(kind.__mro__):
        if "__init__" in vars(parent) and parent.__module__.startswith("pytorch_metric_learning"):
            for parameter in inspect.signature(parent.__init__).parameters.values():
                if parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
                    found[parameter.name] = parameter.default
    return {n: d for n, d in found.items() if n != "self" and n not in OBJECTS}


NOT_OFFERED = {
    "MarginLoss": {"num_classes"},
    "BatchEasyHardMiner": {"allowed_pos_range", "allowed_neg_range"},
    "BatchHardMiner": {"pos_strategy", "neg_strategy", "allowed_pos_range", "allowed_neg_range"},
}
"""Arguments that are fixed by the class itself, or are no single values."""


@pytest.mark.parametrize("declared", [*ALL_LOSSES, *OF_THE_LIBRARY], ids=name)
def test_options_and_defaults_are_the_librarys(declared):
    kind = getattr(losses, declared.__name__, None) or getattr(miners, declared.__name__)
    theirs = constructor_of(kind)
    for supplied in getattr(declared, "class_arguments", None) or ():
        assert theirs.pop(supplied) is inspect.Parameter.empty
    for missing in NOT_OFFERED.get(declared.__name__, ()):
        del theirs[missing]
    ours = {n: f.default for n, f in declared.model_fields.items() if n != "distance"}
    assert ours == theirs
    assert declared.source


@pytest.mark.parametrize("declared", [*ALL_LOSSES, *OF_THE_LIBRARY], ids=name)
def test_the_default_distance_is_the_librarys(declared):
    field = declared.model_fields.get("distance")
    if field is None:
        return
    kind = getattr(losses, declared.__name__, None) or getattr(miners, declared.__name__)
    arguments = {"num_classes": CLASSES, "embedding_size": DIM}
    known = getattr(declared, "class_arguments", None)
    default = kind(**(arguments if known else {})).distance
    ours = DISTANCES[field.default]()
    x = torch.randn(5, DIM, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(ours(x), default(x))
    assert ours.is_inverted == default.is_inverted


@pytest.mark.parametrize("declared", [*ALL_LOSSES, *OF_THE_LIBRARY], ids=name)
def test_descriptions_name_the_defaults(declared):
    for field in declared.model_fields.values():
        told = str(field.default).lower()
        told = told.removesuffix(".0") if isinstance(field.default, float) else told
        assert f"(default {told})" in field.description.lower()


def test_every_name_of_the_library_is_offered_or_refused_with_a_reason():
    def names(module, base):
        found = (n for n, k in vars(module).items() if inspect.isclass(k) and issubclass(k, base))
        return set(found)

    assert names(losses, BaseMetricLossFunction) - OUR_OWN - set(refused.LOSSES) == {
        d.__name__ for d in ALL_LOSSES
    }
    assert names(miners, BaseMiner) - {"TripletMarginMiner"} - set(refused.MINERS) == {
        d.__name__ for d in OF_THE_LIBRARY
    }


def batch(seed=0, dtype=torch.float32):
    """Embeddings that need a gradient, their classes and row numbers."""
    generator = torch.Generator().manual_seed(seed)
    labels_N = np.array([0, 1, 2, 3] * 3 + [3, 2], np.int64)
    x = torch.randn(len(labels_N), DIM, generator=generator, dtype=dtype)
    return x.requires_grad_(), labels_N, np.arange(len(labels_N))


def direct(declared):
    """The library's loss as its user makes it."""
    arguments = {}
    if getattr(declared, "class_arguments", None):
        arguments = dict(zip(declared.class_arguments, (CLASSES, DIM), strict=True))
    torch.manual_seed(7)
    return getattr(losses, declared.__name__)(**arguments)


@pytest.mark.parametrize("declared", [*COMPARING, *OF_CLASSES], ids=name)
def test_value_and_gradient_are_the_librarys(declared):
    x, labels_N, rows = batch()
    ours = LabelledObjective(library_loss(declared(), CLASSES, DIM, seed=7), None, labels_N)
    theirs = direct(declared)
    torch.manual_seed(1)
    found = ours([x], rows)
    found.loss.backward()
    theirs_x = x.detach().clone().requires_grad_()
    torch.manual_seed(1)
    expected = theirs(theirs_x, torch.from_numpy(labels_N))
    expected.backward()
    torch.testing.assert_close(found.loss.detach(), expected.detach().reshape(()))
    torch.testing.assert_close(x.grad, theirs_x.grad)
    assert found.terms == len(rows)
    assert found.loss > 0
    assert x.grad.abs().sum() > 0
    pairs = zip(ours.loss.parameters(), theirs.parameters(), strict=True)
    for mine, reference in pairs:
        torch.testing.assert_close(mine.detach(), reference.detach())
        torch.testing.assert_close(mine.grad, reference.grad)


def test_vicreg_compares_the_items_of_a_pair():
    left, _, rows = batch()
    right = batch(seed=1)[0].detach()
    found = PairObjective(library_loss(VICRegLoss(), CLASSES, DIM, seed=0))([left, right], rows)
    found.loss.backward()
    reference = left.detach().clone().requires_grad_()
    expected = losses.VICRegLoss()(reference, ref_emb=right)
    expected.backward()
    torch.testing.assert_close(found.loss.detach(), expected.detach())
    torch.testing.assert_close(left.grad, reference.grad)


@pytest.mark.parametrize("declared", OF_THE_LIBRARY, ids=name)
@pytest.mark.parametrize("loss", [d for d in (*COMPARING, *OF_CLASSES) if d.takes_miner], ids=name)
def test_every_miner_goes_with_every_loss_that_takes_one(declared, loss):
    x, labels_N, rows = batch()
    chosen = library_miner(declared())
    ours = LabelledObjective(library_loss(loss(), CLASSES, DIM, seed=7), chosen, labels_N)
    torch.manual_seed(1)
    found = ours([x], rows)
    torch.manual_seed(1)
    labels_B = torch.from_numpy(labels_N)
    mined = getattr(miners, declared.__name__)()(x.detach(), labels_B)
    assert len(mined) == (3 if declared.gives == "triplets" else 4)
    assert found.terms == count(mined) > 0
    expected = direct(loss)(x.detach(), labels_B, mined)
    torch.testing.assert_close(found.loss.detach(), expected.detach().reshape(()))


def test_where_nothing_is_mined_nothing_is_learnt():
    x, labels_N, rows = batch()
    nothing = library_miner(next(m for m in OF_THE_LIBRARY if m.__name__ == "PairMarginMiner")())
    nothing.pos_margin, nothing.neg_margin = 2.0, 0.0
    for declared in (next(d for d in OF_CLASSES if name(d) == "ArcFaceLoss"), COMPARING[1]):
        ours = LabelledObjective(library_loss(declared(), CLASSES, DIM, 7), nothing, labels_N)
        found = ours([x], rows)
        found.loss.backward()
        assert found.loss == found.terms == 0
        assert x.grad.abs().sum() == 0


ANGLES = [d for d in (*COMPARING, *OF_CLASSES) if d.fixed_distance]


@pytest.mark.parametrize("declared", ANGLES, ids=name)
def test_equal_items_and_rows_at_their_class_have_a_gradient(declared):
    torch.manual_seed(0)
    x = torch.randn(4, DIM).repeat(2, 1)
    labels_N = np.array([0, 1, 2, 3] * 2)
    loss = library_loss(declared(), CLASSES, DIM, seed=0)
    if hasattr(loss, "W"):
        loss.W.data[:, :CLASSES] = x[:CLASSES].T
    x.requires_grad_()
    found = LabelledObjective(loss, None, labels_N)([x], np.arange(8))
    found.loss.backward()
    assert found.loss.isfinite()
    assert x.grad.isfinite().all()


def test_the_loss_is_float32_under_autocast():
    x, labels_N, rows = batch()
    ours = LabelledObjective(library_loss(OF_CLASSES[1](), CLASSES, DIM, seed=7), None, labels_N)
    expected = ours([x.detach()], rows).loss
    with torch.autocast("cpu", torch.bfloat16):
        found = ours([x.detach()], rows).loss
        rough = ours([x.detach().bfloat16()], rows).loss
    assert found.dtype == rough.dtype == torch.float32
    assert found == expected
    assert rough.detach() == pytest.approx(expected.item(), rel=0.05)


def test_class_weights_depend_on_the_seed_alone():
    torch.manual_seed(0)
    first = library_loss(OF_CLASSES[0](), CLASSES, DIM, seed=3)
    drawn = torch.rand(1)
    torch.manual_seed(0)
    assert torch.equal(torch.rand(1), drawn)
    again = library_loss(OF_CLASSES[0](), CLASSES, DIM, seed=3)
    other = library_loss(OF_CLASSES[0](), CLASSES, DIM, seed=4)
    assert torch.equal(first.W, again.W)
    assert not torch.equal(first.W, other.W)


@pytest.mark.parametrize(("given", "kind"), [("cosine", 0), ("euclidean", 1), ("sqeuclidean", 2)])
def test_a_distance_is_given_by_name(given, kind):
    declared = next(d for d in COMPARING if d.__name__ == "NCALoss")
    theirs = (
        distances.CosineSimilarity(),
        distances.LpDistance(p=2),
        distances.LpDistance(p=2, power=2),
    )[kind]
    x, labels_N, rows = batch()
    options = read_options(declared, {"distance": given}, "f")
    found = LabelledObjective(library_loss(options, CLASSES, DIM, 0), None, labels_N)([x], rows)
    expected = losses.NCALoss(distance=theirs)(x, torch.from_numpy(labels_N))
    torch.testing.assert_close(found.loss, expected)


def declared_by(wanted):
    return next(d for d in (*ALL_LOSSES, *OF_THE_LIBRARY) if d.__name__ == wanted)


@pytest.mark.parametrize(
    ("of", "options", "sentence"),
    [
        (
            "ArcFaceLoss",
            {"marign": 3},
            "f.marign: unknown field\nf takes: margin: the angle in degrees (default 28.6);"
            " scale: what cosines are multiplied by, above 0 (default 64)",
        ),
        (
            "ArcFaceLoss",
            {"scale": "big"},
            "f.scale: Input should be a valid number (got 'big')\nf takes: margin: the angle in"
            " degrees (default 28.6); scale: what cosines are multiplied by, above 0 (default 64)",
        ),
        (
            "SoftTripleLoss",
            {"numClasses": 7},
            "f.numClasses: unknown field\nf takes: centersPerClass: centres of a class (default"
            " 10); la: what similarities are multiplied by, above 0 (default 20); gamma:"
            " temperature of the choice among a class's centres, above 0 (default 0.1); margin:"
            " what is taken from the own class's similarity (default 0.01)",
        ),
        (
            "LiftedStructureLoss",
            {"distance": "cosine"},
            "f.distance: Input should be 'euclidean' or 'sqeuclidean' (got 'cosine')\nf takes:"
            " negMargin: what negatives' distances are taken from (default 1); posMargin: what is"
            " taken from positives' distances (default 0); distance: euclidean or sqeuclidean"
            " (default euclidean)",
        ),
        (
            "HDCMiner",
            {"filterPercentage": 50},
            "f.filterPercentage: Input should be less than or equal to 1 (got 50)\nf takes:"
            " filterPercentage: the share, above 0 and up to 1 (default 0.5); distance: cosine,"
            " euclidean or sqeuclidean (default euclidean)",
        ),
    ],
)
def test_wrong_options_are_refused_with_those_that_there_are(of, options, sentence):
    with pytest.raises(BadSpec) as refused_with:
        read_options(declared_by(of), options, "f")
    assert str(refused_with.value) == sentence


def test_strategies_that_do_not_combine_are_refused():
    for both in (("semihard", "semihard"), ("all", "semihard"), ("semihard", "all")):
        options = dict(zip(("posStrategy", "negStrategy"), both, strict=True))
        with pytest.raises(BadSpec, match="semihard goes with easy or hard on the other side"):
            read_options(declared_by("BatchEasyHardMiner"), options, "f")
