"""A cell as what its column holds: a text, a label, a score, a vector."""

import json
import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from embedtune_trainer.errors import BadData, TrainerError
from embedtune_trainer.rows.messages import shown
from embedtune_trainer.rows.records import Cell

_KINDS: Final[dict[type, str]] = {
    str: "a text",
    bytes: "bytes",
    bool: "true or false",
    int: "a number",
    float: "a number",
    list: "a list",
    dict: "an object",
    np.ndarray: "a list of numbers",
}


class Unfit(Exception):
    """A cell that cannot be what its column holds; says why and what to do."""

    def __init__(self, message: str, kind: type[TrainerError] = BadData) -> None:
        super().__init__(message)
        self.kind = kind


class Blank(Unfit):
    """A cell with nothing in it."""

    def __init__(self) -> None:
        super().__init__("the cell is blank")


def kind_of(cell: object) -> str:
    """What messages call a cell's type."""
    return _KINDS.get(type(cell), f"a {type(cell).__name__}")


def text(cell: Cell) -> str:
    """A text, to the last character."""
    if type(cell) is str:
        if not cell or cell.isspace():
            raise Blank
        if not cell.isascii():
            _check_unicode(cell)
        return cell
    if cell is None:
        raise Blank
    raise Unfit(f"{shown(cell)} is {kind_of(cell)} where a text is wanted; write it as one")


def _check_unicode(cell: str) -> None:
    """JSON can spell a text that no encoding can write."""
    try:
        cell.encode()
    except UnicodeEncodeError as error:
        raise Unfit(
            f"{shown(cell)} holds {cell[error.start]!a}, one half of a character; write both"
            " halves, or the character itself"
        ) from None


def label(cell: Cell) -> str:
    """A class's name: trimmed, and text even if it is a number."""
    if type(cell) is str:
        name = cell.strip()
    elif isinstance(cell, bool):
        name = str(cell).lower()
    elif isinstance(cell, int | float) and not _is_nan(cell):
        name = str(cell)
    elif cell is None or isinstance(cell, float):
        name = ""
    else:
        raise Unfit(f"{shown(cell)} is {kind_of(cell)} where a label is wanted: text or a number")
    if not name:
        raise Blank
    if not name.isascii():
        _check_unicode(name)
    return name


def score(cell: Cell) -> float:
    """How alike two items are, from 0 to 1."""
    if cell is None or (isinstance(cell, str) and not cell.strip()):
        raise Blank
    value = _number(cell)
    if value is None:
        raise Unfit(
            f"{shown(cell)} is not a number; the third of three cells is the score of the first two"
            " (a decimal point is a point)"
        )
    if not 0 <= value <= 1:
        raise Unfit(
            f"{shown(cell)} is not a score from 0 to 1; divide ratings by their highest (0 to 5: by"
            " 5), or take (x + 1) / 2 of cosines from -1 to 1"
        )
    return value


def margin(cell: Cell) -> float:
    """By how much one score is above another, any number."""
    if cell is None or (isinstance(cell, str) and not cell.strip()):
        raise Blank
    value = _number(cell)
    if value is None or not math.isfinite(value):
        raise Unfit(
            f"{shown(cell)} is not a number; with a column of negatives the score is what a"
            " teacher's scores of positive and negative differ by (a decimal point is a point)"
        )
    return value


class VectorReader:
    """Cells of one column to vectors of one length; the first row says which."""

    def __init__(self) -> None:
        self._dim: int | None = None

    def __call__(self, cell: Cell) -> NDArray[np.float32]:
        """(D,) float32."""
        if cell is None or (isinstance(cell, str) and not cell.strip()):
            raise Blank
        if isinstance(cell, np.ndarray):
            values: Any = cell
        else:
            values = _parsed(cell)
        try:
            with np.errstate(over="ignore"):
                vector_D = np.asarray(values, dtype=np.float32)
        except (ValueError, TypeError):
            raise _no_vector(cell) from None
        if vector_D.ndim != 1 or not vector_D.size:
            raise _no_vector(cell)
        if not np.isfinite(vector_D).all():
            raise Unfit("the vector holds a value that is no finite float32; remove the row")
        self._dim = self._dim or len(vector_D)
        if len(vector_D) != self._dim:
            raise Unfit(
                f"the vector has {len(vector_D)} dimensions, those of the rows before {self._dim}"
            )
        return vector_D


def _parsed(cell: object) -> list[Any]:
    try:
        values = json.loads(cell) if isinstance(cell, str) else cell
    except ValueError:
        raise _no_vector(cell) from None
    if not isinstance(values, list) or not all(type(v) in (int, float) for v in values):
        raise _no_vector(cell)
    return values


def _no_vector(cell: object) -> Unfit:
    return Unfit(
        f"{shown(cell)} is no vector; write a list of numbers, for example [0.5, -1.25, 3]"
    )


def _number(cell: object) -> float | None:
    if isinstance(cell, bool) or not isinstance(cell, str | int | float) or "_" in str(cell):
        return None
    try:
        return float(cell)
    except ValueError:
        return None


def _is_nan(value: float) -> bool:
    return isinstance(value, float) and math.isnan(value)
