"""Kubernetes quantities (500m, 16Gi) as numbers."""

import re
from decimal import Decimal

_FACTORS = {
    "": Decimal(1),
    "m": Decimal("0.001"),
    **{s: Decimal(1000) ** p for p, s in enumerate(("k", "M", "G", "T"), start=1)},
    **{s: Decimal(1024) ** p for p, s in enumerate(("Ki", "Mi", "Gi", "Ti"), start=1)},
}
_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]+)?)(m|k|Ki|M|Mi|G|Gi|T|Ti)?")


def parse_quantity(value: str | int) -> Decimal:
    """The quantity in its base unit (cores, bytes).

    Raises:
        ValueError: the text is not a quantity, or is not above 0.
    """
    match = _QUANTITY.fullmatch(str(value))
    if match is None:
        raise ValueError("not a quantity such as 500m or 16Gi")
    number = Decimal(match[1]) * _FACTORS[match[2] or ""]
    if number <= 0:
        raise ValueError("a quantity must be above 0")
    return number
