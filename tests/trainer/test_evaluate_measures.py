"""Measuring with encoders: both directions, what is shown, and items that are prepared once."""

import numpy as np
import pytest
import pytrec_eval
import torch

from embedtune_trainer.encoding import Column, Prepared, encode_rows
from embedtune_trainer.errors import Interrupted
from embedtune_trainer.evaluation.examples import Hit
from embedtune_trainer.evaluation.measures import BACKWARDS, LabelSearch, PairSearch, ScoredPairs
from embedtune_trainer.evaluation.retrieval import same_label, search_metrics
from embedtune_trainer.rows.table import Images, LabelledRows, PairRows, Texts, Vectors

CUTOFFS = (1, 5, 10)
NAMES = {
    "map": "map",
    "mrr": "recip_rank",
    "r_precision": "Rprec",
    **{
        f"{ours}_at_{k}": f"{theirs}_{k}"
        for k in CUTOFFS
        for ours, theirs in (
            ("precision", "P"),
            ("recall", "recall"),
            ("hit", "success"),
            ("ndcg", "ndcg_cut"),
        )
    },
}


def go():
    return False


class Vector:
    """An encoder of vectors that gives them back, turned by `turn`."""

    embedding_dim = 4
    device = torch.device("cpu")
    training = False

    def __init__(self, turn=None, processor=None):
        self.turn = torch.eye(4) if turn is None else turn
        self.processor = processor or Processor()
        self.modes, self.batches = [], []

    def __call__(self, x_BD):
        self.batches.append(len(x_BD))
        return x_BD @ self.turn

    def train(self, mode):
        self.modes.append(mode)

    def eval(self):
        self.modes.append(False)


class Processor:
    def __init__(self):
        self.tables = 0

    def table(self, items):
        self.tables += 1
        return Table(items)

    def batch(self, table, indices, device, variation=None):
        return table.x_ND[torch.from_numpy(indices)]


class Table:
    def __init__(self, items):
        if isinstance(items, Vectors):
            self.x_ND = torch.from_numpy(items.values_ND)
        else:
            words = [items.values[i] for i in range(len(items))]
            self.x_ND = torch.stack([of_word(word) for word in words])
        self.lengths_N = np.arange(len(items)) % 3 + 1


def of_word(word):
    generator = torch.Generator().manual_seed(sum(str(word).encode()))
    return torch.randn(4, generator=generator)


class Encoders:
    def __init__(self, left, right=None):
        self.left, self.right = left, right or left


def vectors(count, seed=0):
    return Vectors(np.random.default_rng(seed).normal(size=(count, 4)).astype(np.float32))


def labelled(count, seed=0, classes=5):
    return LabelledRows(vectors(count, seed), [f"c{i % classes}" for i in range(count)], "v.npy")


def test_as_trec_eval():
    queries, index = torch.randn(30, 8), torch.randn(120, 8)
    labels, index_labels = torch.arange(30) % 7, torch.randint(0, 7, (120,))
    found = search_metrics(queries, index, same_label(labels, index_labels), CUTOFFS).values
    unit = [torch.nn.functional.normalize(x, dim=-1).double() for x in (queries, index)]
    run = {
        f"q{q:02}": {f"d{i}": float(s) for i, s in enumerate(scores)}
        for q, scores in enumerate(unit[0] @ unit[1].T)
    }
    said = {
        f"q{q:02}": {f"d{i}": int(index_labels[i] == labels[q]) for i in range(120)}
        for q in range(30)
    }
    cuts = ",".join(map(str, CUTOFFS))
    asked = {"map", "recip_rank", "Rprec"} | {
        f"{name}.{cuts}" for name in ("P", "recall", "success", "ndcg_cut")
    }
    theirs = pytrec_eval.RelevanceEvaluator(said, asked).evaluate(run)
    for ours, name in NAMES.items():
        expected = [theirs[query][name] for query in sorted(theirs)]
        assert found[ours] == pytest.approx(expected, abs=1e-9), ours


def test_labels_are_searched_and_clustered():
    measure = LabelSearch(labelled(40), None, CUTOFFS, 16)
    found = measure.run(Encoders(Vector()), go)
    assert set(found) == set(measure.metrics)
    assert measure.metrics[0] == "ndcg_at_10"
    assert 0 <= found["nmi"] <= 1
    (drawn,) = found.drawn
    assert len(drawn) == 40
    assert "nmi" not in drawn.values
    assert found["map"] == pytest.approx(drawn.values["map"].mean())


def test_one_class_has_no_clusters():
    measure = LabelSearch(labelled(8, classes=1), None, CUTOFFS, 16)
    assert "nmi" not in measure.metrics
    assert set(measure.run(Encoders(Vector()), go)) == set(measure.metrics)


def test_classes_are_the_same_by_name_in_both_files():
    queries = LabelledRows(vectors(2), ["b", "z"], "q")
    index = LabelledRows(vectors(3, 1), ["z", "a", "b"], "i")
    measure = LabelSearch(queries, index, (1,), 16, examples=2)
    found = measure.run(Encoders(Vector()), go)
    relevant = {n.query: n.rows_K[n.relevant_K.index(True)] for n in found.nearest[0]}
    assert relevant == {0: 2, 1: 0}


def both_ways():
    texts = Texts(["a cat", "a dog", "a cow", "a cat"])
    images = Images([b"1", b"2", b"3", b"4"], ["1.png", "2.png", "3.png", "4.png"])
    return PairSearch(PairRows(texts, images, "p.csv"), (1, 2), 16, examples=3)


def test_texts_and_images_are_searched_both_ways():
    measure = both_ways()
    text, image = Vector(), Vector(turn=torch.randn(4, 4))
    found = measure.run(Encoders(text, image), go)
    assert set(found) == set(measure.metrics)
    forth, back = found.drawn
    assert (len(forth), len(back)) == (3, 4)  # "a cat" stands twice
    assert all(name.startswith(BACKWARDS) for name in back.values)
    left, right = (
        encoder(torch.stack([of_word(items.values[i]) for i in range(len(items))]))
        for encoder, items in ((text, measure.left), (image, measure.right))
    )
    cosine = torch.nn.functional.cosine_similarity(right[:, None], left[None], dim=-1)
    partner = [measure.left.values[:].index(t) for t in ("a cat", "a dog", "a cow", "a cat")]
    ranks = [1 + int((cosine[i] > cosine[i, p]).sum()) for i, p in enumerate(partner)]
    assert found[f"{BACKWARDS}mrr"] == pytest.approx(np.mean([1 / rank for rank in ranks]))


def test_neighbours_before_and_after_are_shown():
    rows = labelled(30)
    measure = LabelSearch(rows, None, CUTOFFS, 16, seed=3, examples=4)
    turn = torch.diag(torch.tensor([1.0, 1.0, 0.0, 0.0]))
    before, after = (measure.run(Encoders(Vector(t)), go) for t in (None, turn))
    (shown,) = measure.examples(before, after)
    assert (len(shown.examples), shown.way) == (4, "")
    assert shown.queries is shown.index is rows.items
    for example in shown.examples:
        assert example.label == rows.labels[example.query_row]
        assert (len(example.before), len(example.after)) == (5, 5)
        for hits, x in ((example.before, torch.eye(4)), (example.after, turn)):
            x_ND = torch.nn.functional.normalize(torch.from_numpy(rows.items.values_ND) @ x)
            cosine = x_ND @ x_ND[example.query_row]
            cosine[example.query_row] = -2
            assert [hit.row for hit in hits] == cosine.topk(5).indices.tolist()
            for hit in hits:
                assert hit.score == pytest.approx(float(cosine[hit.row]), abs=1e-6)
                assert hit.relevant == (rows.labels[hit.row] == example.label)
    assert any(example.before != example.after for example in shown.examples)
    others = LabelSearch(rows, None, CUTOFFS, 16, seed=4, examples=4).run(Encoders(Vector()), go)
    assert [n.query for n in others.nearest[0]] != [n.query for n in before.nearest[0]]


def test_what_a_text_says_is_shown():
    measure = both_ways()
    outcome = measure.run(Encoders(Vector()), go)
    shown, _ = measure.examples(outcome, outcome)
    assert shown.way == "text to image"
    assert {example.query_text for example in shown.examples} == {"a cat", "a dog", "a cow"}
    assert all(hit.text is None for example in shown.examples for hit in example.after)  # images
    cat = next(example for example in shown.examples if example.query_text == "a cat")
    assert {hit.row for hit in cat.before if hit.relevant} == {0, 3}
    assert isinstance(cat.before[0], Hit)
    assert cat.label is None


def test_texts_that_images_find_are_shown():
    measure = both_ways()
    before = measure.run(Encoders(Vector()), go)
    after = measure.run(Encoders(Vector(), Vector(turn=-torch.eye(4))), go)
    _, shown = measure.examples(before, after)
    assert shown.way == "image to text"
    assert shown.queries is measure.right
    assert shown.index is measure.left
    captions = ["a cat", "a dog", "a cow", "a cat"]
    assert len(shown.examples) == 3
    for example in shown.examples:
        assert example.query_text is None
        caption = captions[example.query_row]
        assert [hit.text for hit in example.before if hit.relevant] == [caption]
        assert [hit.score for hit in example.after] == pytest.approx(
            [-hit.score for hit in reversed(example.before)], abs=1e-6
        )


def test_scored_pairs_show_nothing():
    pairs = PairRows(vectors(9), vectors(9, 1), "s.csv", scores_N=np.linspace(0, 1, 9))
    measure = ScoredPairs(pairs, 4)
    outcome = measure.run(Encoders(Vector()), go)
    assert set(outcome) == set(measure.metrics) == {"spearman"}
    assert measure.examples(outcome, outcome) == []


def test_items_are_prepared_once_for_a_processor():
    rows = labelled(12)
    measure = LabelSearch(rows, labelled(12, 1), CUTOFFS, 16)
    encoder = Vector()
    measure.run(Encoders(encoder), go)
    measure.run(Encoders(encoder), go)
    assert encoder.processor.tables == 2  # queries and index
    graph = Vector(turn=2 * torch.eye(4), processor=encoder.processor)
    prepared = Prepared(rows.items)
    assert torch.equal(2 * prepared.encode(encoder, 5), prepared.encode(graph, 5))
    assert encoder.processor.tables == 3
    other = Vector()
    prepared.encode(other, 5)
    assert other.processor.tables == 1


def test_rows_are_encoded_in_their_order_and_in_evaluation_mode():
    items = vectors(20)
    encoder = Vector()
    encoder.training = True
    column = Column(encoder, Table(items), item_N=np.arange(20)[::-1].copy())
    rows = np.array([3, 0, 3, 19])
    found = encode_rows(column, rows, at_a_time=1, exact=True)
    assert torch.equal(found, torch.from_numpy(items.values_ND[19 - rows]))
    assert encoder.modes == [False, True]
    assert encoder.batches == [1, 1, 1, 1]
    assert len(encode_rows(column, rows[:0], exact=True)) == 0


def test_it_stops_when_told():
    asked = iter([False] * 3 + [True])
    measure = LabelSearch(labelled(12), None, CUTOFFS, 4)
    encoder = Vector()
    with pytest.raises(Interrupted):
        measure.run(Encoders(encoder), lambda: next(asked))
    assert sum(encoder.batches) == 12
