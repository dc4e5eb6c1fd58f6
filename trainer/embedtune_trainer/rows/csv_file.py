"""Labelled texts out of a CSV file: the way in that callers of one layout use."""

from pathlib import Path

from embedtune_api.spec import Dataset
from embedtune_trainer.errors import BadSpec
from embedtune_trainer.rows.check import check_trainable
from embedtune_trainer.rows.read import Wanted
from embedtune_trainer.rows.read import read_rows as read_any
from embedtune_trainer.rows.table import LabelledRows

__all__ = ["check_trainable", "read_rows"]


def read_rows(path: Path, dataset: Dataset, field: str = "spec.data.train") -> LabelledRows:
    """Read labelled texts; raises as `read.read_rows`."""
    rows = read_any(path, dataset, Wanted("text", "text"), field)
    if not isinstance(rows, LabelledRows):
        raise BadSpec(f"{field}.layout: pairs cannot be trained yet")
    return rows
