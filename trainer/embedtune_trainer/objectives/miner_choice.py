"""spec.objective.miner: which one a loss has, and whether it takes that."""

from collections.abc import Sequence

from embedtune_api.base import ApiModel
from embedtune_api.spec import Objective
from embedtune_trainer.errors import BadSpec
from embedtune_trainer.objectives.kind import LossKind
from embedtune_trainer.objectives.options import read_options


def check_miner(objective: Objective, told: str, kinds: Sequence[LossKind], place: str) -> None:
    """Refuse a miner that none of these losses takes, and options without a miner.

    Args:
        objective: what the spec says.
        told: the losses, for the message.
        kinds: their lines in the table.
        place: of what the spec says, for the message.

    Raises:
        BadSpec: the message lists the miners that they take.
    """
    taken = dict.fromkeys(name for kind in kinds for name in kind.miners)
    if objective.miner != "auto" and objective.miner not in taken:
        what = f"use one of {', '.join(taken)}" if taken else "remove it"
        raise BadSpec(f"{place}.miner: {told} takes no {objective.miner}; {what}")
    if objective.miner_options and not any(_name(objective, kind) for kind in kinds):
        what = f"name one of {', '.join(taken)} in miner" if taken else "remove them"
        raise BadSpec(f"{place}.minerOptions: {told} has no miner; {what}")


def choose_miner(objective: Objective, kind: LossKind, place: str) -> ApiModel | None:
    """The miner of a loss with its options; None if it has none.

    Raises:
        BadSpec: an option is wrong.
    """
    name = _name(objective, kind)
    if name is None:
        return None
    return read_options(kind.miners[name], objective.miner_options, f"{place}.minerOptions")


def _name(objective: Objective, kind: LossKind) -> str | None:
    if objective.miner == "auto":
        return kind.default_miner
    return objective.miner if objective.miner in kind.miners else None
