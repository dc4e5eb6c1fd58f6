"""What the columns of a table have in common: a sequence whose values are made when asked for."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Final, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

Value_co = TypeVar("Value_co", covariant=True)
Indices = NDArray[np.int64]
Chosen = Sequence[int] | NDArray[np.integer]
"""Row numbers, in the order in which the rows are wanted."""
AT_ONCE: Final = 4096
"""Values that exist at a time while a column is gone through."""


class Column(Sequence[Value_co]):
    """N values outside Python's heap.

    It equals any other sequence of the same values.
    """

    @abstractmethod
    def many(self, begin: int, end: int) -> list[Value_co]:
        """The values from `begin` up to `end`, both within it."""

    @overload
    def __getitem__(self, index: int) -> Value_co: ...
    @overload
    def __getitem__(self, index: slice) -> list[Value_co]: ...
    def __getitem__(self, index: int | slice) -> Value_co | list[Value_co]:
        if isinstance(index, slice):
            begin, end, step = index.indices(len(self))
            if step == 1:
                return self.many(begin, max(begin, end))
            return [self[i] for i in range(begin, end, step)]
        at = index + len(self) if index < 0 else index
        if not 0 <= at < len(self):
            raise IndexError(f"{index} of {len(self)} values")
        return self.many(at, at + 1)[0]

    def __iter__(self) -> Iterator[Value_co]:
        for begin in range(0, len(self), AT_ONCE):
            yield from self.many(begin, min(begin + AT_ONCE, len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str | bytes):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        shown = ", ".join(repr(value) for value in self[:3])
        return f"<{len(self)} values: {shown}{', …' if len(self) > 3 else ''}>"


def chosen(indices: Chosen) -> Indices:
    """Row numbers as an array."""
    return np.asarray(indices, dtype=np.int64)
