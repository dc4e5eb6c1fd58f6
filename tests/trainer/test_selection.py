"""Which weights are kept, when a training is over, and what passes the gate."""

import pytest
import torch
from torch import nn

from embedtune_api.selection import Gate
from embedtune_api.spec import Model, Training
from embedtune_trainer.checkpoints.state import weights
from embedtune_trainer.errors import BadSpec
from embedtune_trainer.training.selection import (
    Selection,
    check_gate,
    check_wise_ft,
    interpolate,
    monitors,
    refusal,
)

MEASURED = ("ndcg_at_10", "map")


def selecting(module, **training):
    spec = Training.parse(training)
    return Selection(spec, monitors(spec, MEASURED, "ndcg_at_10"), module)


def play(selection, module, values, losses=None):
    """Measurements one after the other, the weights being the measurement's number."""
    for step, value in enumerate(values, 1):
        with torch.no_grad():
            module.weight.fill_(step)
        loss = losses[step - 1] if losses else 0.0
        selection.take(step, {"ndcg_at_10": value, "map": 1 - value}, loss)
        if selection.over:
            return step
    return None


@pytest.mark.parametrize(
    ("monitor", "values", "losses", "kept"),
    [
        ("auto", [0.1, 0.5, 0.4], None, 2),
        ("ndcg_at_10", [0.1, 0.5, 0.5], None, 2),
        ("map", [0.1, 0.5, 0.4], None, 1),
        ("loss", [0.1, 0.2, 0.3], [3.0, 1.0, 2.0], 2),
    ],
)
def test_the_best_weights_are_kept(monitor, values, losses, kept):
    module = nn.Linear(2, 2)
    selection = selecting(module, keepBest={"monitor": monitor})
    play(selection, module, values, losses)
    selection.finish()
    assert selection.kept_step == kept
    assert torch.equal(module.weight, torch.full((2, 2), float(kept)))


def test_without_keep_best_the_last_stay():
    module = nn.Linear(2, 2)
    selection = selecting(module, stopEarly={})
    play(selection, module, [0.5, 0.4])
    selection.finish()
    assert torch.equal(module.weight, torch.full((2, 2), 2.0))
    assert selection.kept_step is None


@pytest.mark.parametrize(
    ("options", "values", "stops"),
    [
        ({"patience": 1}, [0.1, 0.2, 0.2, 0.3], 3),
        ({"patience": 2}, [0.1, 0.2, 0.2, 0.3, 0.3, 0.3], 6),
        ({"patience": 2, "minDelta": 0.15}, [0.1, 0.2, 0.25, 0.4], 3),
        ({"patience": 2}, [0.1, 0.2, 0.3], None),
        ({"patience": 1, "monitor": "map"}, [0.1, 0.2], 2),
    ],
)
def test_it_is_over_when_nothing_gets_better(options, values, stops):
    module = nn.Linear(2, 2)
    assert play(selecting(module, stopEarly=options), module, values) == stops


def test_it_goes_on_from_its_state():
    values = [0.3, 0.5, 0.4, 0.45, 0.2]
    options = {"keepBest": {}, "stopEarly": {"patience": 3}}
    module = nn.Linear(2, 2)
    whole = selecting(module, **options)
    assert play(whole, module, values) == 5
    for cut in range(1, 5):
        one, other = nn.Linear(2, 2), nn.Linear(2, 2)
        first, second = selecting(one, **options), selecting(other, **options)
        play(first, one, values[:cut])
        second.load_state_dict(first.state_dict())
        for step, value in enumerate(values[cut:], cut + 1):
            with torch.no_grad():
                other.weight.fill_(step)
            second.take(step, {"ndcg_at_10": value, "map": 1 - value}, 0.0)
        assert second.over
        second.finish()
        assert second.kept_step == whole.kept_step == 2
        assert torch.equal(other.weight, torch.full((2, 2), 2.0))


@pytest.mark.parametrize("field", ["keepBest", "stopEarly"])
def test_a_monitor_without_its_data_is_refused(field):
    training = Training.parse({field: {"monitor": "spearman"}})
    said = rf"spec.training.{field}.monitor: spearman is not measured .* use loss, or one of ndcg"
    with pytest.raises(BadSpec, match=said):
        monitors(training, MEASURED, "ndcg_at_10")


def test_weights_between_the_backbones_and_the_tuned_ones():
    module = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    module[0].bias.requires_grad_(False)
    before = {name: x.detach().clone() for name, x in weights(module).items()}
    module(torch.randn(8, 3))
    with torch.no_grad():
        module[0].weight.add_(2.0)
    tuned = {name: x.detach().clone() for name, x in weights(module).items()}
    interpolate(before, module, 0.25)
    for name, now in weights(module).items():
        if now.is_floating_point():
            assert torch.allclose(now, 0.75 * before[name] + 0.25 * tuned[name], atol=1e-6), name
        else:
            assert torch.equal(now, tuned[name])


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ({"backbone": "s3://bases/x", "projection": {"dim": 8}}, r"spec\.model\.projection;"),
        ({"backbone": "s3://bases/x", "lora": {}}, r"spec\.model\.lora;"),
        (
            {
                "text": {"backbone": "s3://bases/x"},
                "image": {"backbone": "s3://bases/y", "projection": {"dim": 8}},
            },
            r"spec\.model\.image\.projection;",
        ),
    ],
)
def test_what_the_backbone_has_no_weights_for_is_not_mixed(model, said):
    with pytest.raises(BadSpec, match=said):
        check_wise_ft(Model.parse(model))
    check_wise_ft(Model.parse({"backbone": "s3://bases/x"}))


@pytest.mark.parametrize(
    ("gate", "after", "passes"),
    [
        ({}, 0.51, True),
        ({}, 0.5, False),
        ({"minImprovement": 0.1}, 0.6, True),
        ({"minImprovement": 0.1}, 0.59, False),
        ({"metric": "map"}, 0.9, False),
    ],
)
def test_the_gate(gate, after, passes):
    before = {"ndcg_at_10": 0.5, "map": 0.5}
    said = refusal(Gate.parse(gate), "ndcg_at_10", before, {"ndcg_at_10": after, "map": 0.4})
    assert (said is None) == passes
    if said:
        assert "spec.data.evaluation.gate asks for a rise" in said


def test_a_gate_on_what_is_not_measured_is_refused():
    with pytest.raises(BadSpec, match=r"gate\.metric: spearman is not measured"):
        check_gate(Gate(metric="spearman"), MEASURED)
