"""Whether rows are enough to train on."""

from embedtune_trainer.errors import BadData
from embedtune_trainer.rows.messages import shown
from embedtune_trainer.rows.table import LabelledRows, Rows


def check_trainable(rows: Rows) -> None:
    """Refuse rows that nothing can be learnt from.

    Raises:
        BadData: no rows; labels with only one class, or no class with two rows; a single pair.
    """
    if not len(rows):
        raise BadData(f"{rows.source}: no rows")
    if not isinstance(rows, LabelledRows):
        if len(rows) < 2:
            raise BadData(
                f"{rows.source}: only one row; a pair is learnt by telling it from others"
            )
        return
    if len(rows.class_sizes) < 2:
        (label,) = rows.class_sizes
        raise BadData(
            f"{rows.source}: only one class: all {len(rows)} rows have the label"
            f" {shown(label)}; a triplet needs a second class for its negative"
        )
    if max(rows.class_sizes.values()) < 2:
        raise BadData(
            f"{rows.source}: each of the {len(rows)} rows has a label of its own; a triplet needs"
            " two rows of one class"
        )
