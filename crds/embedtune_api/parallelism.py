"""spec.parallelism: how many pods and processes train together."""

from typing import Annotated

from pydantic import Field

from embedtune_api.base import ApiModel


class Parallelism(ApiModel):
    """
    Several processes that take each step together. batchSize stays that of the whole job: each
    process takes its share of every batch, sees all of its negatives, and the result is that of
    one process.
    """

    nodes: Annotated[int, Field(ge=1, le=100)] = 1
    """
    Pods that train together, 1 to 100, each with what spec.resources asks for. They begin when all
    of them are there; when one fails, all go on from the last checkpoint. Default 1.
    """
    processes_per_node: Annotated[int, Field(ge=1, le=64)] | None = None
    """
    Processes in each pod, 1 to 64; with GPUs no more than a pod has. Default: one for each GPU, and
    1 without.
    """

    def processes(self, gpus: int) -> int:
        """Processes in each pod, which has so many GPUs."""
        return self.processes_per_node or max(1, gpus)
