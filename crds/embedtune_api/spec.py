"""FineTuneJob's spec: what a user asks for.

Its parts lie in modules of their own; the nouns that the trainer codes against are here, too.
"""

from typing import Self

from pydantic import ConfigDict, model_validator

from embedtune_api.base import ApiModel
from embedtune_api.data import Columns, Data, Dataset
from embedtune_api.fields import cel
from embedtune_api.loggers import Loggers
from embedtune_api.model import Encoder, Lora, Model, Projection
from embedtune_api.objective import HardNegatives, Objective
from embedtune_api.run import Output, Resources, RunPolicy, Storage
from embedtune_api.runtime import RuntimeRef
from embedtune_api.training import Training

__all__ = [
    "Columns",
    "Data",
    "Dataset",
    "Encoder",
    "FineTuneJobSpec",
    "HardNegatives",
    "Lora",
    "Model",
    "Objective",
    "Output",
    "Projection",
    "Storage",
    "Training",
]

_MODELS_ORIGIN = "the model is made of what the job began with"
_IN_THE_POD = "the pod that runs was made with it"
_FIXED = {
    "model": _MODELS_ORIGIN,
    "data": _MODELS_ORIGIN,
    "objective": _MODELS_ORIGIN,
    "training": _MODELS_ORIGIN,
    "output": "checkpoints and model lie there",
    "storage": _IN_THE_POD,
    "resources": _IN_THE_POD,
    "loggers": _IN_THE_POD,
    "runPolicy.checkpoints": _IN_THE_POD,
}
"""What cannot be changed, and why."""


class FineTuneJobSpec(ApiModel):
    """What to train, on what, and where to put it."""

    model: Model
    """The backbone, and what turns it into an embedding model. Cannot be changed."""
    data: Data
    """What the model learns from and is measured on. Cannot be changed."""
    objective: Objective = Objective()
    """The loss, and the triplets it is taken over. Cannot be changed."""
    training: Training = Training()
    """The optimisation. Cannot be changed."""
    runtime: RuntimeRef | None = None
    """
    The platform's blueprint that the job is run by. Cannot be changed, and neither does a later
    change of the blueprint touch a job that has begun. Default: the namespace's default
    FineTuneRuntime, else the default ClusterFineTuneRuntime, else the chart's values alone.
    """
    output: Output = Output()
    """Where the model goes, and as what. Cannot be changed."""
    storage: Storage = Storage()
    """The S3 service and its credentials. Cannot be changed."""
    resources: Resources = Resources()
    """What the training pod asks for. Cannot be changed."""
    loggers: Loggers = Loggers()
    """Other tools that are told of the training. Cannot be changed."""
    suspend: bool = False
    """
    True stops the job: its pod has a minute to write a checkpoint, and frees what it held. False
    lets it go on from there. Can be changed at any time until the job is finished. Default false.
    """
    run_policy: RunPolicy = RunPolicy()
    """When to retry, to give up and to clean up. Can be changed, checkpoints aside."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            *(
                (
                    f"self.{name} == oldSelf.{name}",
                    f"spec.{name} cannot be changed once set, since {why}: create another"
                    " FineTuneJob",
                )
                for name, why in _FIXED.items()
            ),
            (
                "has(self.runtime) == has(oldSelf.runtime)"
                " && (!has(self.runtime) || self.runtime == oldSelf.runtime)",
                "spec.runtime cannot be changed once set, since"
                f" {_IN_THE_POD}: create another FineTuneJob",
            ),
            (
                "type(self.training.batchSize) == string"
                " || self.training.batchSize >= 2 * self.objective.itemsPerClass",
                "training.batchSize must be at least twice objective.itemsPerClass,"
                " so that a batch holds two classes",
            ),
        )
    )

    @model_validator(mode="after")
    def _two_classes_fit(self) -> Self:
        size = self.training.batch_size
        if size != "auto" and size < 2 * self.objective.items_per_class:
            raise ValueError(
                "training.batchSize must be at least twice objective.itemsPerClass,"
                " so that a batch holds two classes"
            )
        return self

    @property
    def uris(self) -> tuple[str, ...]:
        """What the job reads: backbones, weights and data."""
        model, evaluation = self.model, self.data.evaluation
        towers = (t for t in (model, model.text, model.image) if t is not None)
        searched = (d for d in (evaluation.queries, evaluation.index) if d)
        found = (
            *(uri for tower in towers for uri in (tower.backbone, tower.weights)),
            *(dataset.uri for _, dataset in self.data.entries),
            *(dataset.uri for dataset in searched),
            evaluation.uri,
        )
        return tuple(uri for uri in found if uri is not None)

    @property
    def claims(self) -> tuple[str, ...]:
        """Names of the claims that pvc:// URIs name, each once."""
        prefix = "pvc://"
        named = (u.removeprefix(prefix).split("/")[0] for u in self.uris if u.startswith(prefix))
        return tuple(dict.fromkeys(named))
