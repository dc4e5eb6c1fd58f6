"""spec.objective.lossOptimizer: how the weights are trained that losses have of their own."""

from collections.abc import Sequence
from typing import Final

from torch import nn

from embedtune_api.spec import Objective
from embedtune_trainer.errors import BadSpec
from embedtune_trainer.training.optimizers import KINDS
from embedtune_trainer.training.options import check_options
from embedtune_trainer.training.step import LossOptimizer

LEARNING_RATE: Final = 0.01
"""They begin at random, so that what suits a pre-trained encoder would hardly move them."""
_FIELD: Final = "spec.objective.lossOptimizer"


def loss_optimizer_of(
    objective: Objective, losses: Sequence[nn.Module | None]
) -> LossOptimizer | None:
    """The optimizer of these losses' weights; None if they have none.

    Raises:
        BadSpec: it is given, and no loss has weights; or an option is wrong.
    """
    # a cluster, and --s3-root, hand on a spec with its defaults: those are not told from given ones
    default = Objective.model_fields["loss_optimizer"].default
    given = objective.loss_optimizer != default or objective.loss_optimizer_options
    if not any(p.requires_grad for loss in losses if loss for p in loss.parameters()):
        if given:
            raise BadSpec(f"{_FIELD}: the loss has no weights of its own; remove it")
        return None
    options: dict[str, object] = dict(objective.loss_optimizer_options)
    rate = options.pop("learningRate", LEARNING_RATE)
    if not isinstance(rate, int | float) or isinstance(rate, bool) or rate <= 0:
        raise BadSpec(f"{_FIELD}Options.learningRate: must be a number above 0 (got {rate!r})")
    name = objective.loss_optimizer
    check_options(KINDS[name].defaults, options, f"{_FIELD}Options", name)
    return LossOptimizer(name, rate, options)
