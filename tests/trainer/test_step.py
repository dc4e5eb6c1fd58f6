"""The step: exact, whatever it saves; the same after a resume."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from embedtune_api.spec import Training
from embedtune_trainer import encoding
from embedtune_trainer.embedder.encoders import Encoders
from embedtune_trainer.training import cached
from tests.trainer import stepping, tiny
from tests.trainer.stepping import bench, difference, gradients

ALL = {"minerOptions": {"typeOfTriplets": "all"}}


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return tiny.backbone(tmp_path_factory.mktemp("base") / "tiny")


def padded_gradients(made, rows):
    """Of every row encoded for itself, all padded to the longest."""
    embedder, task = made.encoders.left, made.task
    embedded = []
    for column in task.columns:
        item_B = rows if column.item_N is None else column.item_N[rows]
        embedded.append(embedder(embedder.processor.batch(column.table, item_B, embedder.device)))
    loss = task.loss(embedded, rows).loss
    loss.backward()
    found = {n: p.grad.clone() for n, p in embedder.named_parameters() if p.grad is not None}
    embedder.zero_grad(set_to_none=True)
    return float(loss.detach()), found


@pytest.mark.parametrize("kind", ["labelled", "pairs"])
def test_like_texts_once_in_parts_of_like_length_is_exact(plain, kind, monkeypatch):
    monkeypatch.setitem(encoding.PART_OVERHEAD, "cpu", 1)
    data = stepping.labelled(12, repeats=2) if kind == "labelled" else stepping.pairs()
    made = bench(
        stepping.load(plain, dropout=False), data, objective=ALL if kind == "labelled" else {}
    )
    rows = np.random.default_rng(0).permutation(24)
    (given,) = made.preparer(made.batch(rows))
    assert len(given.parts) > 1
    assert sum(given.sizes) < 24 * len(made.task.columns)
    loss, found = gradients(made, rows)
    expected_loss, expected = padded_gradients(made, rows)
    assert loss == pytest.approx(expected_loss, abs=1e-6)
    assert difference(found, expected) < 1e-6


def test_columns_of_one_encoder_share_their_texts(plain):
    rows = stepping.PairRows(*(stepping.Texts(["cat", "dog", "red", "axe"]) for _ in "lr"), "p.csv")
    (given,) = (made := bench(stepping.load(plain), rows)).preparer(made.batch([0, 1, 2, 3]))
    assert sum(given.sizes) == 4
    assert torch.equal(given.place_CB[0], given.place_CB[1])


@pytest.mark.parametrize("kind", ["labelled", "pairs"])
@pytest.mark.parametrize("micro_batch", [1, 3])
def test_cached_gradients_are_the_uncached_ones_dropout_included(plain, kind, micro_batch):
    data = stepping.labelled() if kind == "labelled" else stepping.pairs()
    made = bench(
        stepping.load(plain),
        data,
        objective=ALL if kind == "labelled" else {},
        micro_batch=micro_batch,
    )
    rows = np.arange(24)
    given = made.preparer(made.batch(rows))
    assert all(cost <= one.budget for one in given for cost in one.costs)
    assert all(sum(one.costs) > one.budget for one in given)
    loss, found = gradients(made, rows, given)
    whole_loss, whole = gradients(made, rows, [replace(one, budget=None) for one in given])
    assert loss == pytest.approx(whole_loss, abs=1e-7)
    assert difference(found, whole) < 1e-6
    other = gradients(made, rows, given, step=1)[1]
    assert difference(found, other) > 1e-4, "dropout is the same in every step"


def test_caching_remembers_no_more_than_a_part(plain, monkeypatch):
    made = bench(stepping.load(plain), stepping.labelled(), objective=ALL, micro_batch=2)
    (given,) = made.preparer(made.batch(range(24)))
    graphs, largest = [], []
    forward = type(made.encoders.left).forward

    def counted(self, inputs):
        x_BD = forward(self, inputs)
        if x_BD.requires_grad:
            graphs.append(inputs.mask_BT.numel())
            x_BD.register_hook(lambda _: largest.append(graphs.pop()))
        assert sum(graphs) <= given.budget
        return x_BD

    monkeypatch.setattr(type(made.encoders.left), "forward", counted)
    gradients(made, np.arange(24), [given])
    assert len(largest) == len(given.parts)


class Normed(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(3, momentum=0.5)


def test_statistics_held_are_neither_moved_nor_used():
    model = Normed().train()
    x_BD = torch.randn(8, 3) + 5
    with cached.statistics_held(model):
        held = model.norm(x_BD)
    assert model.norm.running_mean.abs().max() == 0
    assert model.norm.num_batches_tracked == 0
    assert torch.allclose(held, model.norm(x_BD))
    assert model.norm.num_batches_tracked == 1


def test_batch_normalisation_remembers_each_part_once(plain):
    norm = {"dim": 8, "hidden": [16], "norm": "batch"}
    embedder = stepping.load(plain, projection=norm)
    norms = [m for m in embedder.modules() if isinstance(m, nn.BatchNorm1d)]
    assert norms, "a projection with batch normalisation"
    made = bench(embedder, stepping.labelled(), objective=ALL, micro_batch=3)
    (given,) = made.preparer(made.batch(range(24)))
    gradients(made, np.arange(24), [given])
    assert len(given.parts) > 1
    assert all(int(m.num_batches_tracked) == len(given.parts) for m in norms)
    whole = bench(embedder, stepping.labelled(), objective=ALL)
    (given,) = whole.preparer(whole.batch(range(24)))
    assert given.sizes == (24,), "a batch is normalised as a whole where it fits"


def test_a_frozen_encoder_is_encoded_once_and_without_a_gradient(plain):
    embedder = stepping.load(plain, freeze=["backbone"], projection={"dim": 8})
    embedder.layers.requires_grad_(False)
    made_from = bench(stepping.load(plain), stepping.labelled(), objective=ALL)
    (given,) = made_from.preparer(made_from.batch(range(24)))
    one = cached.Encoded(
        replace(given, embedder=embedder, budget=1), (0, 0), lambda _: torch.no_grad()
    )
    assert not one.embeddings()[0].requires_grad


def test_accumulated_steps_are_the_mean_of_their_gradients(plain):
    rows = [np.arange(12), np.arange(12, 24)]
    made = bench(
        *(stepping.load(plain, dropout=False), stepping.labelled()),
        **{"objective": ALL, "steps": 3, "accumulate": 2, "optimizer": "SGD"},
        **{
            "warmupRatio": 0.0,
            "scheduler": "constant",
            "maxGradientNorm": 0.0,
            "learningRate": 0.5,
        },
    )
    before = dict(made.encoders.module.named_parameters())
    before = {n: p.detach().clone() for n, p in before.items()}
    parts = [gradients(made, some)[1] for some in rows]
    made.take(0, rows[0])
    assert all(torch.equal(p, before[n]) for n, p in made.encoders.module.named_parameters())
    made.take(1, rows[1])
    for name, parameter in made.encoders.module.named_parameters():
        if name in parts[0]:
            wanted = before[name] - 0.5 * (parts[0][name] + parts[1][name]) / 2
            assert torch.allclose(parameter, wanted, atol=1e-6)
    now = made.weights()
    made.take(2, rows[0])
    assert not stepping.equal(now, made.weights()), "the last step was left without an update"


def batches(count):
    return [np.random.default_rng(step).permutation(24)[:16] for step in range(count)]


@pytest.mark.parametrize(
    "training",
    [
        {"optimizer": "AdamW"},
        {"optimizer": "SGD", "optimizerOptions": {"momentum": 0.9}},
        {"optimizer": "AdamW", "ema": {"decay": 0.9}},
        {"optimizer": "NAdam", "accumulate": 3},
        {"optimizer": "RAdam", "layerDecay": 0.8},
        {"optimizer": "Adagrad"},
        {"optimizer": "Rprop"},
    ],
    ids=lambda t: "-".join(map(str, t)) + t["optimizer"],
)
def test_a_resumed_training_is_the_uninterrupted_one(plain, training, tmp_path):
    whole = bench(stepping.load(plain), stepping.labelled(), **training)
    for step, rows in enumerate(batches(10)):
        whole.take(step, rows)
    first = bench(stepping.load(plain), stepping.labelled(), **training)
    for step, rows in enumerate(batches(5)):
        first.take(step, rows)
    torch.save((first.stepper.state_dict(), first.weights()), tmp_path / "state.pt")
    state, weights = torch.load(tmp_path / "state.pt")
    second = bench(stepping.load(plain), stepping.labelled(), **training)
    second.encoders.module.load_state_dict(weights)
    second.stepper.load_state_dict(state)
    for step, rows in list(enumerate(batches(10)))[5:]:
        second.take(step, rows)
    for one in (whole, second):
        one.stepper.finish()
    assert stepping.equal(whole.weights(), second.weights())


def test_the_state_is_of_tensors_and_plain_values(plain):
    made = bench(stepping.load(plain), stepping.labelled(), ema={"decay": 0.9}, accumulate=2)
    made.take(0, np.arange(24))
    made.take(1, np.arange(24))
    made.take(2, np.arange(24))

    def check(value):
        if isinstance(value, dict):
            assert all(isinstance(key, str) for key in value)
            for inner in value.values():
                check(inner)
        else:
            assert isinstance(value, torch.Tensor | int | float | bool)

    state = made.stepper.state_dict()
    check(state)
    assert state["gradients"]


def test_the_average_of_the_weights_is_the_formulas(plain):
    made = bench(stepping.load(plain), stepping.labelled(), ema={"decay": 0.5})
    trained = [n for n, p in made.encoders.module.named_parameters() if p.requires_grad]
    weights = made.weights()
    average = {n: weights[n] for n in trained}
    for step, rows in enumerate(batches(6)):
        made.take(step, rows)
        decay = min(0.5, (2 + step) / (11 + step))
        now = made.weights()
        average = {n: decay * average[n] + (1 - decay) * now[n] for n in trained}
    last = made.weights()
    with made.stepper.averaged():
        inside = made.weights()
        assert all(torch.allclose(inside[n], average[n], atol=1e-6) for n in trained)
    assert stepping.equal(last, made.weights())
    made.stepper.finish()
    assert stepping.equal(inside, made.weights())
    assert any(not torch.equal(inside[n], last[n]) for n in trained)


def test_gradients_are_clipped_only_if_asked(plain):
    moved = []
    for norm in (1e-3, 0.0):
        made = bench(
            *(stepping.load(plain, dropout=False), stepping.labelled()),
            **{"objective": ALL, "optimizer": "SGD", "warmupRatio": 0.0, "maxGradientNorm": norm},
            **{"learningRate": 1.0, "scheduler": "constant"},
        )
        before = made.weights()
        made.take(0, np.arange(24))
        after = made.weights()
        moved.append(
            sum(float((after[n] - before[n]).float().square().sum()) for n in before) ** 0.5
        )
    assert moved[0] == pytest.approx(1e-3, rel=1e-3)
    assert moved[1] > 2e-3


def test_bfloat16_is_near_float32_and_embeddings_stay_float32(plain):
    losses = {}
    for precision in ("float32", "bfloat16"):
        made = bench(
            stepping.load(plain, dropout=False),
            stepping.labelled(),
            objective=ALL,
            precision=precision,
        )
        outcome = made.take(0, np.arange(24))
        assert all(x.dtype == torch.float32 for x in outcome.embedded)
        losses[precision] = float(outcome.loss)
    assert losses["bfloat16"] != losses["float32"]
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.05)


def test_the_losss_own_weights_are_trained_by_their_own_optimizer(plain):
    from embedtune_trainer.training.step import LossOptimizer, Stepper

    embedder = stepping.load(plain)
    proxies = nn.Linear(embedder.embedding_dim, 4, bias=False)
    made = bench(embedder, stepping.labelled())
    options = Training.parse({"learningRate": 1e-3, "warmupRatio": 0.0})

    def loss(embedded, rows):
        logits = proxies(embedded[0])
        labels = torch.from_numpy(rows % 4)
        value = nn.functional.cross_entropy(logits, labels)
        return stepping.BatchLoss(value, torch.tensor(len(rows)))

    task = replace(made.task, loss=loss)
    for own, share in ((LossOptimizer("SGD", 0.5), "loss_optimizer"), (None, "optimizer")):
        encoders = Encoders.single(embedder)
        stepper = Stepper(encoders.module, options, 4, losses=[proxies], loss_optimizer=own)
        before = proxies.weight.detach().clone()
        batch = made.batch(np.arange(24))._replace(task=task)
        stepper.take(0, batch, made.preparer(batch))
        assert not torch.equal(before, proxies.weight)
        assert share in stepper.state_dict()
        assert proxies.weight.grad is None
