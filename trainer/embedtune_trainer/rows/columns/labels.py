"""The labels of many rows: each class's name once, and a number a row."""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embedtune_trainer.rows.columns.column import AT_ONCE, Chosen, Column, Indices, chosen
from embedtune_trainer.rows.columns.growing import Growing


class Labels(Column[str]):
    """N labels.

    Attributes:
        codes_N: where each row's class stands in `names`.
        names: of the classes, all different; some may have no row.
    """

    def __init__(self, codes_N: NDArray[np.int32], names: Sequence[str]) -> None:
        self.codes_N = codes_N
        self.names = names

    @classmethod
    def of(cls, values: Iterable[str]) -> "Labels":
        """These labels, packed unless they are already."""
        if isinstance(values, Labels):
            return values
        growing = GrowingLabels()
        stream = iter(values)
        while part := list(islice(stream, AT_ONCE)):
            growing.extend(part)
        return growing.finish()

    def __len__(self) -> int:
        return len(self.codes_N)

    def many(self, begin: int, end: int) -> list[str]:
        """See Column."""
        names = self.names
        return [names[code] for code in self.codes_N[begin:end].tolist()]

    def take(self, indices: Chosen) -> "Labels":
        """These, in this order."""
        return Labels(self.codes_N[chosen(indices)], self.names)

    def sizes(self) -> Counter[str]:
        """Rows of each class that has any."""
        counts = np.bincount(self.codes_N, minlength=len(self.names)).tolist()
        return Counter({n: count for n, count in zip(self.names, counts, strict=True) if count})

    def numbers_N(self) -> Indices:
        """Each row's class by number: from 0 without a gap, in the order of the classes' names."""
        used = np.flatnonzero(np.bincount(self.codes_N, minlength=len(self.names))).tolist()
        number_C = np.zeros(len(self.names), np.int64)
        for number, code in enumerate(sorted(used, key=self.names.__getitem__)):
            number_C[code] = number
        return number_C[self.codes_N]


class GrowingLabels:
    """Labels that are appended to."""

    def __init__(self, scratch: Path | None = None) -> None:
        self._codes = Growing(np.int32, scratch)
        self._numbers: dict[str, int] = {}

    def extend(self, values: Sequence[str]) -> None:
        """Append these."""
        numbers = self._numbers
        codes = (numbers.setdefault(name, len(numbers)) for name in values)
        self._codes.extend(np.fromiter(codes, np.int32, len(values)))

    def finish(self) -> Labels:
        """All of them."""
        return Labels(self._codes.finish(), tuple(self._numbers))
