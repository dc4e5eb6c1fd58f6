"""Several sets of rows: a loss for each, a report of each, and nothing leaked into the measure."""

import pytest

from embedtune_api.spec import Data, Encoder, Objective, Training
from embedtune_trainer.embedder.encoders import Encoders
from embedtune_trainer.embedder.load import Fetched, load_encoder
from embedtune_trainer.errors import BadData, BadSpec
from embedtune_trainer.evaluation.plan import plan_evaluation
from embedtune_trainer.mixture import build_mixture
from embedtune_trainer.objectives.choice import Entry, choose_losses
from embedtune_trainer.rows.table import LabelledRows, PairRows, Texts
from embedtune_trainer.training.fit import fit
from tests.trainer import tiny
from tests.trainer.test_fit import Recorder

MIX = {"mix": [{"uri": "s3://bkt/labelled.csv"}, {"uri": "s3://bkt/pairs.csv"}]}


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return tiny.backbone(tmp_path_factory.mktemp("base") / "tiny")


def labelled(count=96):
    texts, labels = zip(*tiny.rows(count), strict=True)
    return LabelledRows(Texts(texts), labels, "s3://bkt/labelled.csv")


def pairs(count=64):
    left, right = ([text for text, _ in tiny.rows(count, seed)] for seed in (3, 4))
    return PairRows(Texts(left), Texts(right), "s3://bkt/pairs.csv")


def entries(*rows):
    return [Entry(r, f"spec.data.mix[{i}]") for i, r in enumerate(rows)]


def mixed(plain, rows, weights=None, objective=None, **training):
    encoder = Encoder.parse({"backbone": "s3://bases/tiny"})
    encoders = Encoders.single(load_encoder(Fetched("s3://bases/tiny", plain), encoder, 0))
    options = Training.parse({"batchSize": 16, "epochs": 4, "learningRate": 1e-3, **training})
    objective = Objective.parse(objective or {})
    return encoders, build_mixture(encoders, entries(*rows), objective, options, weights), options


def test_each_entry_is_trained_with_its_loss(plain):
    encoders, mixture, options = mixed(plain, (labelled(), pairs()))
    assert mixture.name == "TripletMarginLoss, MultipleNegativesRankingLoss"
    recorder = Recorder()
    report = fit(encoders, mixture, options, recorder)
    assert report.rows == 4 * (96 + 64)
    assert report.steps == 4 * (96 // 16 + 64 // 16)
    told = mixture.report(options.epochs)
    assert [(t["place"], t["rows"], t["batches"], t["passes"]) for t in told] == [
        ("spec.data.mix[0]", 96, 6, 4.0),
        ("spec.data.mix[1]", 64, 4, 4.0),
    ]
    assert told[0]["classes"] == 4
    assert told[1]["duplicate_rows"] == mixture.tasks[1].facts["duplicate_rows"]


def test_weights_share_the_batches_and_every_row_is_seen_in_time(plain):
    _, mixture, _ = mixed(plain, (labelled(), pairs()), weights=(1, 4))
    seen = [set(), set()]
    batches = [0, 0]
    for epoch in range(8):
        for batch in mixture.epoch(epoch):
            which = mixture.tasks.index(batch.task)
            seen[which] |= set(batch.rows.tolist())
            batches[which] += 1
        if epoch < 2:
            assert len(seen[0]) < 96
    assert batches == [16, 64]
    assert (len(seen[0]), len(seen[1])) == (96, 64)
    assert mixture.report(8)[1]["share"] == 0.8


def test_a_mixture_of_one_has_its_samplers_batches(plain):
    _, mixture, _ = mixed(plain, (labelled(),))
    for epoch in (0, 3):
        own = mixture.tasks[0].sampler.epoch(epoch)
        found = [batch.rows for batch in mixture.epoch(epoch)]
        assert all((a == b).all() for a, b in zip(found, own, strict=True))


def test_two_entries_of_the_same_rows_come_in_different_orders(plain):
    _, mixture, _ = mixed(plain, (pairs(), pairs()))
    first, second = (task.sampler.epoch(0)[0] for task in mixture.tasks)
    assert first.tolist() != second.tolist()


def test_a_weight_too_small_for_a_single_batch_is_refused(plain):
    with pytest.raises(BadSpec, match=r"spec\.data\.mix\[1\]\.weight: so small that none of"):
        mixed(plain, (labelled(), pairs()), weights=(1000, 0.001))


def test_a_named_loss_must_suit_every_entry():
    with pytest.raises(
        BadSpec, match=r"^spec\.data\.mix\[1\]: its rows are pairs, which .*Triplet"
    ):
        choose_losses(Objective(loss="TripletMarginLoss"), entries(labelled(), pairs()))


def test_options_go_to_the_losses_that_have_them():
    objective = Objective.parse({"lossOptions": {"margin": 0.3, "scale": 30}})
    triplet, ranking = choose_losses(objective, entries(labelled(), pairs()))
    assert (triplet.options.margin, ranking.options.scale) == (0.3, 30)
    with pytest.raises(BadSpec, match=r"lossOptions\.temperature: unknown field"):
        choose_losses(
            Objective.parse({"lossOptions": {"temperature": 1}}), entries(labelled(), pairs())
        )


def plan(data, *rows):
    return plan_evaluation(Data.parse(data), rows, 0, lambda *_: pytest.fail("nothing to read"))


def test_what_is_held_out_of_the_first_is_not_trained_on_in_the_others():
    first = labelled()
    texts = list(first.items.values)
    other = PairRows(Texts(texts), Texts([f"{t} it" for t in texts]), "s3://bkt/pairs.csv")
    as_right = PairRows(other.right, other.left, "s3://bkt/pairs.csv")
    as_negative = PairRows(other.right, other.right, "s3://bkt/pairs.csv", (other.left,))
    for rows in (other, as_right, as_negative):
        (kept, left), measure = plan(MIX | {"evaluation": {"split": 0.2}}, first, rows)
        held = set(measure.queries.items.values)
        assert held
        assert not held & set(kept.items.values)
        trained = {t for side in (left.left, left.right, *left.negatives) for t in side.values}
        assert not held & trained
        # Nothing else is left out.
        assert len(left) == sum(text not in held for text in texts)


def test_too_little_left_beside_what_is_held_out_is_said():
    first = LabelledRows(Texts([f"t{i}" for i in range(40)]), ["a", "b"] * 20, "s3://bkt/a.csv")
    half = {"evaluation": {"split": 0.5}}
    _, measure = plan({"train": {"uri": "s3://bkt/a.csv"}} | half, first)
    items = measure.queries.items
    same = PairRows(items, items, "s3://bkt/pairs.csv")
    with pytest.raises(
        BadData, match=r"pairs\.csv: no rows; 20 more .* held out of s3://bkt/a\.csv"
    ):
        plan(MIX | half, first, same)


def test_an_index_that_is_trained_on_is_read_once():
    first, second = labelled(), labelled(20)
    data = MIX | {
        "evaluation": {
            "queries": {"uri": "s3://bkt/queries.csv"},
            "index": {"uri": "s3://bkt/pairs.csv"},
        }
    }
    queries = LabelledRows(Texts(["new one"]), [first.labels[0]], "s3://bkt/queries.csv")
    read = {"s3://bkt/queries.csv": queries}
    _, measure = plan_evaluation(Data.parse(data), (first, second), 0, lambda d, _: read[d.uri])
    assert measure.index is second
