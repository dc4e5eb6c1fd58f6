"""spec.parallelism: how many pods and processes train together."""

from typing import Annotated, Self

from pydantic import ConfigDict, Field, model_validator

from embedtune_api.base import ApiModel
from embedtune_api.fields import cel

_LEAST = (
    "!has(self.minNodes) || self.minNodes <= self.nodes",
    "parallelism.minNodes must be at most parallelism.nodes",
)


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
    min_nodes: Annotated[int, Field(ge=1, le=100)] | None = None
    """
    Fewest pods that train, 1 to nodes, the first one among them. They begin when all are there, or
    when these are and no other has come for a minute; one that comes later joins after five minutes
    of training, for which all go on from a checkpoint. Default: nodes.
    """
    processes_per_node: Annotated[int, Field(ge=1, le=64)] | None = None
    """
    Processes in each pod, 1 to 64; with GPUs no more than a pod has. Default: one for each GPU, and
    1 without.
    """

    model_config = ConfigDict(json_schema_extra=cel(_LEAST))

    @model_validator(mode="after")
    def _no_more_than_all(self) -> Self:
        if self.least > self.nodes:
            raise ValueError(_LEAST[1])
        return self

    @property
    def least(self) -> int:
        """Fewest pods that train."""
        return self.nodes if self.min_nodes is None else self.min_nodes

    def processes(self, gpus: int) -> int:
        """Processes in each pod, which has so many GPUs."""
        return self.processes_per_node or max(1, gpus)
