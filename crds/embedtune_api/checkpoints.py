"""spec.runPolicy.checkpoints: how often a training is saved, for a retry to go on from."""

from typing import Annotated

from pydantic import Field

from embedtune_api.base import ApiModel


class Checkpoints(ApiModel):
    """
    What a retry goes on from. They lie under the model's own prefix while the job runs, are written
    in the background, and are removed when the model is there. The result is, bit for bit, that of
    a training that was never interrupted.
    """

    every_minutes: Annotated[float, Field(gt=0, le=10080)] = 10
    """
    Minutes between two checkpoints, and so the most that an interruption costs. Default 10.
    """
    every_steps: Annotated[int, Field(ge=1)] | None = None
    """Optimizer steps between two checkpoints, besides everyMinutes. Default: none."""
    keep: Annotated[int, Field(ge=1, le=100)] = 2
    """
    How many of the newest are kept. With 2, one that is damaged costs no more than the steps
    from the one before it. Default 2.
    """
