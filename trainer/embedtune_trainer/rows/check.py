"""Whether rows are enough to train on."""

from embedtune_trainer.errors import BadData
from embedtune_trainer.rows.messages import shown
from embedtune_trainer.rows.table import LabelledRows


def check_trainable(rows: LabelledRows) -> None:
    """Refuse rows that no triplet can be made of.

    Raises:
        BadData: only one class, or no class with two rows.
    """
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
