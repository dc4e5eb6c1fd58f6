"""The training: it learns, it repeats itself, and it says what went wrong."""

import numpy as np
import pytest
import torch

from embedtune_api.spec import Encoder, Objective, Training
from embedtune_trainer.batches.microbatch import cut_by_length
from embedtune_trainer.embedder.encoders import Encoders
from embedtune_trainer.embedder.load import Fetched, load_encoder
from embedtune_trainer.errors import (
    BadSpec,
    Collapsed,
    Diverged,
    Interrupted,
    NothingLearnt,
)
from embedtune_trainer.mixture import augmentation_for, build_mixture
from embedtune_trainer.objectives.choice import Entry, choose_losses
from embedtune_trainer.rows.table import LabelledRows, PairRows, Texts
from embedtune_trainer.training.fit import fit
from tests.trainer import tiny


class Recorder:
    def __init__(self):
        self.steps, self.notes, self.measurements, self.begun = [], [], [], None

    def phase(self, name):
        pass

    def start(self, steps, epochs):
        self.begun = (steps, epochs)

    def step(self, step, epoch, loss, rows, data_wait_s):
        self.steps.append((step, epoch, loss, rows))

    def measured(self, step, epoch, metrics):
        self.measurements.append((step, epoch, dict(metrics)))

    def note(self, message, **facts):
        self.notes.append(message)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return tiny.backbone(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture(scope="module")
def rows():
    texts, labels = zip(*tiny.rows(), strict=True)
    return LabelledRows(Texts(list(texts)), list(labels), "t.csv")


def load(plain, **model):
    encoder = Encoder.parse({"backbone": "s3://bases/tiny", **model})
    return load_encoder(Fetched("s3://bases/tiny", plain), encoder, 0)


def train(plain, rows, recorder=None, stop=lambda: False, objective=None, model=None, **training):
    embedder = load(plain, **(model or {}))
    options = Training.parse({"batchSize": 32, "epochs": 3, "learningRate": 1e-3, **training})
    recorder = recorder or Recorder()
    encoders = Encoders.single(embedder)
    mixture = build_mixture(encoders, (Entry(rows),), objective or Objective(), options)
    return embedder, fit(encoders, mixture, options, recorder, stop)


def train_here(embedder, rows, options, recorder):
    encoders = Encoders.single(embedder)
    mixture = build_mixture(encoders, (Entry(rows),), Objective(), options)
    return fit(encoders, mixture, options, recorder)


def test_it_learns_and_reports(plain, rows):
    recorder = Recorder()
    embedder, report = train(plain, rows, recorder, epochs=6)
    assert recorder.begun == (30, 6)
    assert [s[0] for s in recorder.steps] == list(range(1, 31))
    assert sum(s[3] for s in recorder.steps) == report.rows == 6 * 160
    assert report.last_loss < report.first_loss
    assert report.largest_change > 0
    assert report.mean_terms > 0
    assert recorder.notes == ["trained"]
    assert not embedder.training


def test_same_seed_same_weights(plain, rows):
    one, same, other = (train(plain, rows, seed=seed)[0].state_dict() for seed in (4, 4, 5))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_frozen_weights_do_not_move(plain, rows):
    before = load(plain).state_dict()
    after = train(plain, rows, model={"freeze": ["embeddings"]})[0].state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert any("encoder.layer.1" in name for name in changed)
    assert not any(".embeddings." in name or "pooler" in name for name in changed)


def test_cutting_takes_every_row_once_within_the_budget():
    lengths = np.random.default_rng(0).integers(1, 60, 200)
    parts = cut_by_length(lengths, overhead=64, budget=600)
    assert sorted(np.concatenate(parts).tolist()) == list(range(200))
    assert all(len(part) * lengths[part].max() <= 600 for part in parts)


def test_it_stops_when_told(plain, rows):
    asked = iter([False, False, True])
    with pytest.raises(Interrupted, match="before step 3 of 15"):
        train(plain, rows, stop=lambda: next(asked))


def test_a_loss_that_is_not_a_number_ends_it(plain, rows):
    embedder = load(plain)
    with torch.no_grad():
        embedder.backbone.network.embeddings.LayerNorm.weight.fill_(float("nan"))
    with pytest.raises(Diverged, match=r"step 1; lower spec\.training\.learningRate"):
        train_here(embedder, rows, Training(batch_size=32), Recorder())


def test_nothing_to_learn_from_ends_it_after_an_epoch(plain):
    recorder = Recorder()
    apart = LabelledRows(Texts(["cat", "paris"] * 40), ["animal", "city"] * 40, "t.csv")
    embedder = load(plain)
    for module in embedder.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    options = Training(batch_size=16, epochs=2)
    encoders = Encoders.single(embedder)
    objective = Objective(loss_options={"margin": 1e-5})
    mixture = build_mixture(encoders, (Entry(apart),), objective, options)
    with pytest.raises(NothingLearnt, match=r"loss was 0 in each of the first \d+ steps"):
        fit(encoders, mixture, options, recorder)
    assert {step[1] for step in recorder.steps} == {1}


def test_embeddings_that_are_all_alike_end_it(plain, rows):
    embedder = load(plain)
    with torch.no_grad():
        for name, parameter in embedder.backbone.network.named_parameters():
            if "embeddings" in name and parameter.ndim == 2:
                parameter.zero_()
    with pytest.raises(Collapsed, match="all embeddings are the same after step"):
        train_here(embedder, rows, Training(batch_size=32, learning_rate=1e-9), Recorder())


def pairs(count=64):
    """Anchors and positives of one class; some rows share an item."""
    left = [text for text, _ in tiny.rows(count)]
    right = [text for text, _ in tiny.rows(count, seed=1)]
    return PairRows(Texts(left), Texts(right), "p.csv")


def train_pairs(plain, rows, **objective):
    encoders = Encoders.single(load(plain))
    options = Training(batch_size=16, epochs=4, learning_rate=1e-3)
    mixture = build_mixture(encoders, (Entry(rows),), Objective.parse(objective), options)
    return mixture, fit(encoders, mixture, options, Recorder())


def test_pairs_are_learnt_by_ranking(plain):
    task, report = train_pairs(plain, pairs())
    assert task.name == "MultipleNegativesRankingLoss"
    assert report.rows == 4 * 64
    assert report.mean_terms == 16
    assert report.last_loss < report.first_loss


def test_hard_negatives_are_candidates_too(plain):
    rows = pairs()
    other = Texts([f"the old {i}" for i in range(64)])
    with_negatives = PairRows(rows.left, rows.right, "p.csv", (other,))
    first = [train_pairs(plain, r)[1].first_loss for r in (rows, with_negatives)]
    assert first[1] > first[0]


def test_scored_pairs_are_learnt(plain):
    rows = pairs()
    scored = PairRows(rows.left, rows.right, "p.csv", scores_N=np.arange(64) % 2.0)
    task, report = train_pairs(plain, scored)
    assert task.name == "CosineSimilarityLoss"
    assert report.last_loss < report.first_loss


def test_a_loss_that_does_not_suit_the_rows_is_refused(rows):
    with pytest.raises(BadSpec, match="CLIPLoss cannot be trained on pairs; use MultipleNeg"):
        choose_losses(Objective(loss="CLIPLoss"), [Entry(pairs())])
    with pytest.raises(BadSpec, match="cannot be trained on labelled rows; use TripletMarginLoss"):
        choose_losses(Objective(loss="MultipleNegativesRankingLoss"), [Entry(rows)])


def test_captioned_images_keep_their_sides_and_colours(rows):
    assert augmentation_for([Entry(rows)]).flip > 0
    assert augmentation_for([Entry(pairs())]).flip == 0
    assert augmentation_for([Entry(pairs())]).saturation == 0
    assert augmentation_for([Entry(rows), Entry(pairs())]).flip == 0


def test_a_miner_for_pairs_is_refused(plain):
    with pytest.raises(BadSpec, match=r"spec\.objective\.minerOptions: .* has no miner"):
        train_pairs(plain, pairs(), minerOptions={"typeOfTriplets": "all"})
