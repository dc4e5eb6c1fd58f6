"""Hard negatives against a loop that looks at every candidate, and in a training."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from embedtune_api.spec import Encoder, HardNegatives, Objective, Training
from embedtune_trainer.batches.relation import Relation
from embedtune_trainer.embedder.encoders import Encoders
from embedtune_trainer.embedder.load import Fetched, load_encoder
from embedtune_trainer.encoding import Column, encode_rows
from embedtune_trainer.errors import BadSpec, Interrupted
from embedtune_trainer.mixture import build_mixture
from embedtune_trainer.negatives import MinedNegatives
from embedtune_trainer.objectives import mining
from embedtune_trainer.objectives.choice import Entry, choose_losses
from embedtune_trainer.objectives.mining import NOTHING, Bipartite, mine
from embedtune_trainer.rows.table import LabelledRows, PairRows, Texts
from embedtune_trainer.training.fit import fit
from tests.trainer import tiny
from tests.trainer.test_fit import Recorder


def vectors(count, dim, seed):
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed))


def paired(left, right, more=()):
    known = np.array(sorted({*zip(left, right, strict=True), *more})).reshape(-1, 2)
    return Bipartite(np.asarray(left), np.asarray(right), known[:, 0], known[:, 1])


def allowed(left, right, pairs, row, options):
    """Right items that may be drawn for a row, by the definition: one cosine after the other."""

    def cos(a, b):
        return float(a @ b / (a.norm() * b.norm()))

    anchor = int(pairs.left_N[row])
    known = set(zip(pairs.known_left_P.tolist(), pairs.known_right_P.tolist(), strict=True))
    found = [(cos(left[anchor], r), i) for i, r in enumerate(right) if (anchor, i) not in known]
    found = sorted(found, reverse=True)[: options.among]
    positive = cos(left[anchor], right[int(pairs.right_N[row])])
    most = positive - options.margin * abs(positive)
    return {i for cosine, i in found if cosine <= most}


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 30),
    st.integers(1, 20),
    st.integers(1, 20),
    st.integers(1, 4),
    st.integers(4, 12),
    st.floats(0, 0.9),
    st.integers(0, 1000),
)
def test_as_the_loop(rows, lefts, rights, per_row, among, margin, seed):
    chance = np.random.default_rng(seed)
    left, right = vectors(lefts, 5, seed), vectors(rights, 5, seed + 1)
    more = {(int(a), int(b)) for a, b in chance.integers(0, (lefts, rights), (5, 2))}
    pairs = paired(
        chance.integers(0, lefts, rows).tolist(), chance.integers(0, rights, rows).tolist(), more
    )
    options = HardNegatives(per_row=per_row, among=among, margin=margin)
    found = mine(left, right, pairs, options, np.random.default_rng(seed))
    assert found.shape == (rows, per_row)
    for row in range(rows):
        drawn = [i for i in found[row].tolist() if i != NOTHING]
        may = allowed(left.double(), right.double(), pairs, row, options)
        assert set(drawn) <= may
        assert len(set(drawn)) == len(drawn) == min(per_row, len(may))
        assert found[row, len(drawn) :].tolist() == [NOTHING] * (per_row - len(drawn))


def test_blocks_change_nothing(monkeypatch):
    chance = np.random.default_rng(1)
    left, right = vectors(40, 6, 1), vectors(50, 6, 2)
    pairs = paired(chance.integers(0, 40, 90).tolist(), chance.integers(0, 50, 90).tolist())
    options = HardNegatives(per_row=3, among=10)

    def found():
        return mine(left, right, pairs, options, np.random.default_rng(7))

    whole = found()
    for name, size in (("ANCHORS", 7), ("CANDIDATES", 11), ("ROWS", 4)):
        monkeypatch.setattr(mining, name, size)
    assert (found() == whole).all()
    assert (whole != NOTHING).any()


def test_draws_change_with_the_seed():
    pairs = paired(range(20), range(20))
    left, right = vectors(20, 6, 1), vectors(20, 6, 2)
    options = HardNegatives(per_row=1, among=19, margin=0)
    one, same, other = (
        mine(left, right, pairs, options, np.random.default_rng(seed)).tolist()
        for seed in (1, 1, 2)
    )
    assert one == same != other


def test_a_planted_false_negative_is_never_mined():
    """Right item 0 is as near to every anchor as its positive; the others are far."""
    count = 30
    left = torch.nn.functional.normalize(vectors(count, 40, 3), dim=-1)
    right = left + 0.2 * vectors(count, 40, 4) / 40**0.5
    anchor = 5
    right[0] = left[anchor] + 0.1 * vectors(1, 40, 5)[0] / 40**0.5
    pairs = paired(range(count), range(count))
    for seed in range(20):
        options = HardNegatives(per_row=8, among=29, margin=0.05)
        found = mine(left, right, pairs, options, np.random.default_rng(seed))
        assert 0 not in found[anchor]
    # Without the margin it is the hardest there is, so that it is the margin that keeps it out.
    near = left[anchor] @ right[0] / right[0].norm()
    assert near > 0.95 * (left[anchor] @ right[anchor] / right[anchor].norm())
    other = HardNegatives(per_row=8, among=29, margin=0)
    assert all(
        len(set(r.tolist())) == 8 for r in mine(left, right, pairs, other, np.random.default_rng(0))
    )


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    folder = tiny.backbone(tmp_path_factory.mktemp("base") / "tiny")
    fetched = Fetched("s3://bases/tiny", folder)

    def load():
        return Encoders.single(load_encoder(fetched, Encoder(backbone="s3://bases/tiny"), 0))

    return load


def pairs_of(*pairs):
    left, right = zip(*pairs, strict=True)
    return PairRows(Texts(left), Texts(right), "p.csv")


CHAIN = pairs_of(
    ("cat dog", "horse cow"),
    ("cat dog", "mouse bird"),  # a second positive of one anchor
    ("red green", "cat dog"),  # an anchor that is a positive elsewhere
    ("paris rome", "oslo cairo"),
    ("axe saw", "drill knife"),
)


def miner(encoders, rows, **options):
    left, right = (Column.of(items, encoders.left) for items in (rows.left, rows.right))
    wanted = HardNegatives.model_validate({"per_row": 3, "among": 50, "margin": 0.0} | options)
    return MinedNegatives(Relation.of(rows), left, right, wanted, seed=0)


def test_what_belongs_together_is_never_mined(encoders):
    mined = miner(encoders(), CHAIN)
    relation = Relation.of(CHAIN)
    for epoch in range(5):
        mined.refresh(epoch, lambda: False)
        for row, others in enumerate(mined.rows_NK.tolist()):
            _, known = relation.known(np.arange(len(CHAIN))).rows(row, row + 1)
            assert all(other == row or other not in known for other in others)


def test_free_places_are_masked(encoders):
    """Two rows that share all: neither finds a negative, and its own positive does not count."""
    rows = pairs_of(("cat", "dog"), ("cat", "dog"))
    mined = miner(encoders(), rows, per_row=2)
    found = mined.refresh(0, lambda: False)
    assert (found.per_row, found.rows_without) == (0, 2)
    assert mined.rows_NK.tolist() == [[0, 0], [1, 1]]
    row, candidate = Relation.of(rows).known(np.array([0, 1]), mined.rows_NK).rows(0, 2)
    assert sorted(zip(row.tolist(), candidate.tolist(), strict=True)) == [
        (row, candidate) for row in range(2) for candidate in range(2 + 2 * 2)
    ]


def test_encoding_many_rows_is_encoding_each(encoders):
    embedder = encoders().left
    texts = [text for text, _ in tiny.rows(300)] + ["the " * 40]
    column = Column.of(Texts(texts), embedder)
    rows = np.random.default_rng(0).permutation(301)
    embedder.eval()
    found = encode_rows(column, rows, lambda: False, exact=True)
    assert (found - embedder.encode(Texts(texts))[torch.from_numpy(rows)]).abs().max() < 1e-5
    with pytest.raises(Interrupted):
        encode_rows(column, rows, lambda: True)


def train(encoders, rows, objective):
    options = Training(batch_size=16, epochs=3, learning_rate=1e-3)
    mixture = build_mixture(encoders, (Entry(rows),), Objective.parse(objective), options)
    recorder = Recorder()
    modes = []

    def stop():
        modes.append(encoders.module.training)
        return False

    return mixture, fit(encoders, mixture, options, recorder, stop), recorder, modes


def many_pairs():
    texts = [text for text, _ in tiny.rows(64)]
    return pairs_of(*((text, f"{text} {i % 7}") for i, text in enumerate(texts)))


def test_a_training_with_mined_negatives(encoders):
    mixture, report, recorder, modes = train(
        encoders(), many_pairs(), {"hardNegatives": {"perRow": 2, "margin": 0}}
    )
    assert recorder.notes.count("hard negatives mined") == 3
    assert len(mixture.tasks[0].columns) == 4
    (told,) = mixture.report(3)
    assert 0 < told["hard_negatives_per_row"] <= 2
    assert told["rows_without_hard_negative"] == mixture.tasks[0].negatives.mined.rows_without
    assert report.last_loss < report.first_loss
    # Mining asks whether to stop, too: in evaluation mode; every step is in training mode.
    assert modes.count(True) == report.steps == 12
    assert modes.count(False) == 3 * 2


def test_mined_negatives_make_the_first_loss_larger(encoders):
    plain, mined = (
        train(encoders(), many_pairs(), objective)[1].first_loss
        for objective in ({}, {"hardNegatives": {"perRow": 4, "margin": 0}})
    )
    assert mined > plain


def test_losses_that_take_none_are_refused():
    rows = LabelledRows(Texts(["a", "b"]), ["x", "y"], "t.csv")
    scored = PairRows(Texts(["a"]), Texts(["b"]), "s.csv", scores_N=np.array([0.5]))
    asked = Objective.parse({"hardNegatives": {}})
    for data, loss in ((rows, "TripletMarginLoss"), (scored, "CosineSimilarityLoss")):
        with pytest.raises(BadSpec, match=f"spec.objective.hardNegatives: {loss} takes none"):
            choose_losses(asked, [Entry(data)])
    # Beside such a loss they are mined for the entry that takes them.
    mixed = choose_losses(asked, [Entry(rows), Entry(CHAIN)])
    assert [chosen.hard_negatives is not None for chosen in mixed] == [False, True]


def test_given_hard_negatives_stay_beside_mined_ones(encoders):
    rows = many_pairs()
    given = PairRows(rows.left, rows.right, "p.csv", (Texts([f"axe {i % 5}" for i in range(64)]),))
    mixture, _, _, _ = train(encoders(), given, {"hardNegatives": {"margin": 0}})
    assert len(mixture.tasks[0].columns) == 4
