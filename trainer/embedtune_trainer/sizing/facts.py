"""What an estimate is made of: the encoders, and the data that goes through them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from embedtune_trainer.sizing.activations import Activations, Cost

Takes = Literal["text", "image", "vector"]
SPREAD = 4.0
"""Standard deviations that a batch's texts may be above the mean of all."""


@dataclass(frozen=True)
class EncoderFacts:
    """One encoder.

    Attributes:
        takes: items of this kind.
        parameters: numbers in its weights.
        trained: how many of them are trained.
        embedding_dim: D.
        plain: what its items cost in float32.
        halved: in bfloat16.
        max_length: tokens that texts are cut to; 1 for others.
        pixels: of an image, height times width; 0 for others.
        whole_batches: whether batch normalisation wants a batch in one part.
    """

    takes: Takes
    parameters: int
    trained: int
    embedding_dim: int
    plain: "Activations"
    halved: "Activations"
    max_length: int = 1
    pixels: int = 0
    whole_batches: bool = False

    @property
    def longest(self) -> int:
        """Tokens of its longest items."""
        return self.plain.fixed_length or self.max_length


@dataclass(frozen=True)
class Column:
    """Items of one encoder, one in each row.

    Attributes:
        encoder: its name.
        lengths_S: tokens of a sample of them; None: they may all be as long as the longest.
    """

    encoder: str
    lengths_S: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class Entry:
    """One set of rows that is trained on.

    Attributes:
        place: in the spec.
        rows: how many, about; None: not known.
        columns: what of each is encoded.
    """

    place: str
    rows: int | None
    columns: tuple[Column, ...]


@dataclass(frozen=True)
class Facts:
    """All that is known of a job before it runs.

    Attributes:
        encoders: by name, see inspection.
        entries: what is trained on.
        data_bytes: of all data files; None: not known.
        backbone_bytes: of the backbones' files; None: not known.
        notes: what was found out how, and what was not.
    """

    encoders: Mapping[str, EncoderFacts]
    entries: tuple[Entry, ...]
    data_bytes: int | None
    backbone_bytes: int | None
    notes: tuple[str, ...] = ()

    @property
    def weights_bytes(self) -> int:
        """Of all encoders in float32."""
        return 4 * sum(encoder.parameters for encoder in self.encoders.values())

    @property
    def trained_bytes(self) -> int:
        """Of what is trained of them."""
        return 4 * sum(encoder.trained for encoder in self.encoders.values())

    @property
    def rows(self) -> int | None:
        """Of all entries."""
        known = [entry.rows for entry in self.entries]
        return None if None in known else sum(rows or 0 for rows in known)


def batch_bytes(
    encoder: EncoderFacts, costs: "Activations", columns: tuple[Column, ...], rows: int
) -> float:
    """What autograd keeps at most of a batch's items.

    Of a sample's lengths a batch may hold longer texts than their mean: SPREAD standard deviations
    of the sum of as many are added, which a batch drawn at random does not reach.

    Args:
        encoder: of these columns.
        costs: its, in the numbers that it calculates in.
        columns: of the batch.
        rows: in the batch.
    """
    longest = costs.of(encoder.longest).saved_bytes
    total = 0.0
    for column in columns:
        if column.lengths_S is None or costs.fixed_length or not len(column.lengths_S):
            total += rows * longest
            continue
        cost_S = np.array([costs.of(int(n)).saved_bytes for n in column.lengths_S])
        likely = rows * cost_S.mean() + SPREAD * cost_S.std() * rows**0.5
        total += min(rows * longest, float(likely))
    return total


def row_cost(facts: Facts, entry: Entry) -> "list[Cost]":
    """Of each item of a row of middling length."""
    found = []
    for column in entry.columns:
        encoder = facts.encoders[column.encoder]
        sample = column.lengths_S
        known = sample is not None and len(sample) > 0 and not encoder.plain.fixed_length
        found.append(encoder.plain.of(float(np.mean(sample)) if known else encoder.longest))
    return found
