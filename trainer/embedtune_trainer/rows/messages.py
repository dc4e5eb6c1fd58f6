"""How messages show what a file holds: short, and with what cannot be seen made visible."""

from collections.abc import Sequence
from typing import Final

SHOWN_CHARACTERS: Final = 60
SHOWN_CELLS: Final = 8


def shown(value: object) -> str:
    """A cell as messages quote it."""
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    text = value if isinstance(value, str) else str(value)
    cut = text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"
    return repr(cut)


def listed(values: Sequence[object]) -> str:
    """A row of cells, or some names."""
    cut = ", ".join(shown(value) for value in values[:SHOWN_CELLS])
    return cut + (", …" if len(values) > SHOWN_CELLS else "")
