"""The embeddings in two dimensions: PCA and t-SNE of a sample, drawn by the seed."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from embedtune_trainer.reporting.record import EmbeddingMap, Projection

Embeddings = NDArray[np.float32] | NDArray[np.float64]
ROWS: Final = 600
"""Most rows of a map: more cannot be told apart, and make the page heavy."""
LEAST_ROWS: Final = 10
"""Fewer rows are no map."""
PERPLEXITY: Final = 30.0
_TSNE_NOTE: Final = (
    "t-SNE keeps neighbours together; distances between far groups mean little. The second map"
    " starts from the first one's places."
)


def embedding_map(
    before_ND: Embeddings,
    after_ND: Embeddings,
    *,
    groups: Sequence[str],
    titles: Sequence[str],
    links: Sequence[tuple[int, int]] = (),
    rows_in_all: int,
    seed: int = 0,
) -> EmbeddingMap | None:
    """Both embeddings of the same rows as a map; None if there are too few rows.

    Args:
        before_ND: by the untouched model, each row of length 1.
        after_ND: by the tuned one; D may be another.
        groups: a label each, or an empty string.
        titles: what each row says.
        links: of pairs, the two rows' numbers.
        rows_in_all: the rows that these were drawn from.
        seed: of t-SNE.
    """
    if len(before_ND) < LEAST_ROWS:
        return None
    before, share_before = pca(before_ND)
    after, share_after = pca(after_ND)
    note = (
        f"The two directions hold {share_before:.0%} of the variance before and"
        f" {share_after:.0%} after."
    )
    start = tsne(before_ND, before, seed)
    neighbours = Projection("t-SNE", start, tsne(after_ND, start, seed), _TSNE_NOTE)
    return EmbeddingMap(
        groups=tuple(groups),
        titles=tuple(titles),
        links=tuple(links),
        projections=(neighbours, Projection("PCA", before, after, note)),
        rows_in_all=rows_in_all,
    )


def pca(embeddings_ND: Embeddings) -> tuple[NDArray[np.float64], float]:
    """(N, 2) coordinates along the two directions of most variance, and its share, 0 to 1.

    A direction's sign is chosen so that its largest coordinate is positive. A direction that does
    not exist is 0.
    """
    centred_ND = np.asarray(embeddings_ND, np.float64)
    centred_ND = centred_ND - centred_ND.mean(0)
    u_NR, s_R, _ = np.linalg.svd(centred_ND, full_matrices=False)
    places_N2 = np.zeros((len(centred_ND), 2))
    kept = min(2, len(s_R))
    places_N2[:, :kept] = u_NR[:, :kept] * s_R[:kept]
    largest_2 = np.abs(places_N2).argmax(0)
    places_N2 *= np.where(places_N2[largest_2, np.arange(2)] < 0, -1.0, 1.0)
    total = float((s_R**2).sum())
    return places_N2, float((s_R[:2] ** 2).sum()) / total if total > 0 else 1.0


def tsne(
    embeddings_ND: Embeddings, start_N2: NDArray[np.float64], seed: int
) -> NDArray[np.float64]:
    """(N, 2) by t-SNE (van der Maaten and Hinton 2008), starting near the given places."""
    from sklearn.manifold import TSNE  # type: ignore[import-untyped]

    # scikit-learn's own start is PCA scaled so, since larger ones keep groups apart for good
    scale = float(start_N2.std()) or 1.0
    method = TSNE(
        init=(start_N2 / scale * 1e-4).astype(np.float32),
        perplexity=min(PERPLEXITY, (len(embeddings_ND) - 1) / 3),
        random_state=seed,
    )
    places_N2: NDArray[np.float64] = method.fit_transform(
        np.asarray(embeddings_ND, np.float32)
    ).astype(np.float64)
    return places_N2
