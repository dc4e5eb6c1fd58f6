"""From spec.objective and the rows to losses with their options, before a model is loaded."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from embedtune_api.base import ApiModel
from embedtune_api.objective import AlsoLoss
from embedtune_api.spec import HardNegatives, Objective
from embedtune_trainer.errors import BadSpec
from embedtune_trainer.objectives.catalogue import LOSSES
from embedtune_trainer.objectives.kind import Layout, LossKind, layout_of
from embedtune_trainer.objectives.miner_choice import check_miner, choose_miner
from embedtune_trainer.objectives.options import names_of, read_options
from embedtune_trainer.rows.table import LabelledRows, Rows

FIELD: Final = "spec.objective"
_CALLED: Final[dict[Layout, str]] = {
    "labelled": "labelled rows",
    "pairs": "pairs",
    "scored": "scored pairs",
    "margins": "pairs with a negative and a score",
    "text-image": "texts with images",
}


@dataclass(frozen=True)
class Entry:
    """One of the sets of rows that are trained on.

    Attributes:
        rows: those to train on.
        place: of its dataset in the spec, for messages.
        set_aside: rows that are not trained on, since their items are measured on.
    """

    rows: Rows
    place: str = "spec.data.train"
    set_aside: int = 0


@dataclass(frozen=True)
class ChosenLoss:
    """The loss of one entry.

    Attributes:
        name: as in the spec.
        kind: its line in the table.
        options: of the type that the line names.
        miner: with its options; None if the loss takes none.
        hard_negatives: how they are mined; None if they are not.
        weight: what it is multiplied by.
        also: more losses of the same batches.
    """

    name: str
    kind: LossKind
    options: ApiModel
    miner: ApiModel | None
    hard_negatives: HardNegatives | None
    weight: float = 1.0
    also: tuple["ChosenLoss", ...] = ()

    @property
    def all(self) -> tuple["ChosenLoss", ...]:
        """This one, and more."""
        return (self, *self.also)


def choose_losses(objective: Objective, entries: Sequence[Entry]) -> tuple[ChosenLoss, ...]:
    """The loss of each entry.

    Where the entries have several losses, each takes those of the options that it has.

    Raises:
        BadSpec: a loss that does not suit the rows, a wrong option, or one that no loss takes.
    """
    if objective.sampler == "class":
        _check_classes(entries)
    found = _choose(objective, entries, FIELD, objective.weight)
    more = [_more(part, entries, number) for number, part in enumerate(objective.also)]
    kinds = [chosen.kind for chosen in found]
    if objective.hard_negatives and not any(kind.hard_negatives for kind in kinds):
        told = " and ".join(dict.fromkeys(chosen.name for chosen in found))
        fitting = " or ".join(name for name, kind in LOSSES.items() if kind.hard_negatives)
        raise BadSpec(
            f"{FIELD}.hardNegatives: {told} takes none; remove them, or use {fitting} on pairs"
        )
    whole = [replace(chosen, also=tuple(also)) for chosen, *also in zip(found, *more, strict=True)]
    for chosen, entry in zip(whole, entries, strict=True):
        _check_negatives(chosen, entry)
    return tuple(whole)


def _choose(
    objective: Objective, entries: Sequence[Entry], place: str, weight: float
) -> list[ChosenLoss]:
    alone = len(entries) == 1
    names = [_loss_name(objective, entry, place, alone=alone) for entry in entries]
    kinds = [LOSSES[name] for name in names]
    check_miner(objective, " and ".join(dict.fromkeys(names)), kinds, place)
    accepted = set[str]().union(*(names_of(kind.options) for kind in kinds))
    return [
        ChosenLoss(
            name,
            kind,
            read_options(kind.options, _own(objective, kind, accepted), f"{place}.lossOptions"),
            choose_miner(objective, kind, place),
            objective.hard_negatives if kind.hard_negatives else None,
            weight,
        )
        for name, kind in zip(names, kinds, strict=True)
    ]


def _more(part: AlsoLoss, entries: Sequence[Entry], number: int) -> list[ChosenLoss]:
    """One of objective.also, for each entry."""
    given = Objective(
        loss=part.loss,
        loss_options=part.loss_options,
        miner=part.miner,
        miner_options=part.miner_options,
    )
    return _choose(given, entries, f"{FIELD}.also[{number}]", part.weight)


def _loss_name(objective: Objective, entry: Entry, place: str, *, alone: bool) -> str:
    layout = layout_of(entry.rows)
    suitable = [name for name, kind in LOSSES.items() if layout in kind.layouts]
    name = suitable[0] if objective.loss == "auto" else objective.loss
    auto = place == FIELD
    if name not in suitable and not alone:
        what = (
            "set that to auto, and each entry has the loss that suits it" if auto else "remove it"
        )
        raise BadSpec(
            f"{entry.place}: its rows are {_CALLED[layout]}, which {place}.loss {name} cannot be"
            f" trained on; {what}"
        )
    if name not in suitable:
        raise BadSpec(
            f"{place}.loss: {name} cannot be trained on {_CALLED[layout]}; use"
            f" {' or '.join(suitable)}{', or auto' if auto else ''}"
        )
    return name


def _check_classes(entries: Sequence[Entry]) -> None:
    """Refuse batches of classes where there are none."""
    for entry in entries:
        if (layout := layout_of(entry.rows)) != "labelled":
            raise BadSpec(
                f"{FIELD}.sampler: the rows of {entry.place} are {_CALLED[layout]}, which have no"
                " classes; set it to auto"
            )


def _check_negatives(chosen: ChosenLoss, entry: Entry) -> None:
    """Refuse hard negatives that no loss of the entry looks at."""
    given = () if isinstance(entry.rows, LabelledRows) else entry.rows.negatives
    taken = any(loss.kind.hard_negatives for loss in chosen.all)
    if given and not taken and layout_of(entry.rows) != "margins":
        raise BadSpec(
            f"{FIELD}.loss: {chosen.name} takes no hard negatives, and {entry.rows.source} has"
            f" {len(given)} columns of them; leave them out of {entry.place}.columns"
        )


def _own(objective: Objective, kind: LossKind, accepted: set[str]) -> dict[str, Any]:
    others = accepted - names_of(kind.options)
    return {name: value for name, value in objective.loss_options.items() if name not in others}
