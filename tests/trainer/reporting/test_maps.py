"""Maps: PCA's textbook values, t-SNE that keeps neighbours, samples by the seed."""

import io

import numpy as np
import pytest
from PIL import Image

from embedtune_trainer.reporting.maps import embedding_map, pca, tsne
from embedtune_trainer.reporting.sample import PAIRS, ROWS, TITLE, Sample, thumbnails, titles
from embedtune_trainer.rows.table import Images, LabelledRows, PairRows, Texts, Vectors


def clusters() -> tuple[np.ndarray, np.ndarray]:
    chance = np.random.default_rng(0)
    centre_3D = chance.normal(size=(3, 16)) * 5
    label_N = np.arange(60) % 3
    return centre_3D[label_N] + chance.normal(size=(60, 16)) * 0.1, label_N


def test_pca_is_the_textbook_s() -> None:
    x_ND = np.random.default_rng(1).normal(size=(40, 5)) * [5, 3, 1, 0.5, 0.1]
    places_N2, share = pca(x_ND)
    value_D, direction_DD = np.linalg.eigh(np.cov(x_ND.T))
    expected_N2 = (x_ND - x_ND.mean(0)) @ direction_DD[:, [-1, -2]]
    np.testing.assert_allclose(np.abs(places_N2), np.abs(expected_N2), atol=1e-9)
    assert share == pytest.approx(value_D[-2:].sum() / value_D.sum())
    assert (places_N2.max(0) >= -places_N2.min(0)).all()


def test_pca_of_what_does_not_vary() -> None:
    assert pca(np.ones((4, 3)))[1] == 1.0
    assert (pca(np.ones((4, 3)))[0] == 0).all()
    assert (pca(np.arange(4.0)[:, None])[0][:, 1] == 0).all()


def test_tsne_keeps_neighbours_and_repeats_itself() -> None:
    x_ND, label_N = clusters()
    start_N2 = pca(x_ND)[0]
    places_N2 = tsne(x_ND, start_N2, 0)
    distance_NN = np.linalg.norm(places_N2[:, None] - places_N2[None], axis=-1)
    np.fill_diagonal(distance_NN, np.inf)
    assert (label_N[distance_NN.argmin(1)] == label_N).all()
    np.testing.assert_array_equal(places_N2, tsne(x_ND, start_N2, 0))


def test_too_few_rows_are_no_map() -> None:
    few = {"groups": [""] * 9, "titles": [""] * 9, "rows_in_all": 9}
    assert embedding_map(np.eye(9), np.eye(9), **few) is None


def test_a_sample_is_drawn_by_the_seed() -> None:
    rows = LabelledRows(Texts([f"t{i}" for i in range(700)]), ["a", "b"] * 350, "f")
    first, again, other = Sample.of(rows, 0), Sample.of(rows, 0), Sample.of(rows, 1)
    assert list(first.rows.items.values) == list(again.rows.items.values)
    assert list(first.rows.items.values) != list(other.rows.items.values)
    assert (len(first.rows), first.rows_in_all) == (ROWS, 700)
    small = Sample.of(rows.take(range(20)), 0)
    shown = small.map(np.random.default_rng(0).normal(size=(20, 4)), np.eye(20, 4))
    assert shown is not None
    assert shown.groups == ("a", "b") * 10
    assert shown.titles == tuple(f"t{i}" for i in range(20))


@pytest.mark.parametrize("scored", [False, True])
def test_a_map_of_pairs_links_what_belongs_together(scored: bool) -> None:
    side = Texts([f"t{i}" for i in range(200)])
    scores_N = np.linspace(0, 1, 200) if scored else None
    sample = Sample.of(PairRows(side, side, "f", scores_N=scores_N), 0)
    x_ND = np.random.default_rng(0).normal(size=(2 * PAIRS, 4)).astype(np.float32)
    shown = sample.map(x_ND, x_ND)
    assert shown is not None
    assert len(shown.links) == (0 if scored else PAIRS)
    assert all(shown.titles[i] == shown.titles[j] for i, j in shown.links)
    assert shown.groups == ("anchor",) * PAIRS + ("positive",) * PAIRS


def test_titles_and_thumbnails() -> None:
    assert titles(Texts(["x" * 200]))[0] == "x" * (TITLE - 1) + "…"
    assert titles(Vectors(np.ones((2, 3), np.float32))) == ["row 0", "row 1"]
    stream = io.BytesIO()
    Image.new("RGB", (400, 200), "red").save(stream, "PNG")
    images = Images([stream.getvalue()] * 3, ["a.png", "b.png", "c.png"])
    assert titles(images)[2] == "c.png"
    made = thumbnails(images, {2, 0})
    assert sorted(made) == [0, 2]
    assert Image.open(io.BytesIO(made[2])).size == (144, 72)
    assert thumbnails(Texts(["a"]), {0}) == {}
