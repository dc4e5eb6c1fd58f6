"""FineTuneJob's spec: what a user asks for.

The CEL rules stand beside the fields that they guard. Where a rule cannot be said in the schema's
own words (enum, bounds, pattern) it is said twice, as CEL for the API server and as a pydantic
validator for `embedtune run`, and tests/api holds both to the same cases.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from embedtune_api.base import ApiModel
from embedtune_api.quantity import parse_quantity


def cel(*rules: tuple[str, str]) -> dict[str, Any]:
    """CEL rules as a schema extra: pairs of an expression and what to do when it is false."""
    return {
        "x-kubernetes-validations": [{"rule": rule, "message": message} for rule, message in rules]
    }


def _quantity(value: str | int) -> str | int:
    parse_quantity(value)
    return value


NOT_FILE = cel(
    (
        "!self.startsWith('file://')",
        "file:// is for `embedtune run` on your machine; a pod cannot see it, use s3://",
    )
)
Uri = Annotated[
    str,
    Field(
        pattern=r"^(s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[^\s]*)?|file://[^\s]+)$",
        max_length=1024,
        json_schema_extra=NOT_FILE,
    ),
]
Quantity = Annotated[
    str | int,
    AfterValidator(_quantity),
    Field(
        json_schema_extra={
            "x-kubernetes-int-or-string": True,
            "pattern": r"^([0-9]*[1-9][0-9]*(\.[0-9]+)?|[0-9]+\.[0-9]*[1-9][0-9]*)"
            r"(m|k|Ki|M|Mi|G|Gi|T|Ti)?$",
            "minimum": 1,
        }
    ),
]
ModuleGlob = Annotated[str, Field(min_length=1, max_length=256, pattern=r"^\S+$")]
Option = str | bool | int | float
Options = Annotated[dict[str, Option], Field(max_length=32)]


class Projection(ApiModel):
    """A new linear layer on top of the pooled feature."""

    dim: Annotated[int, Field(ge=1, le=65536)]
    """Dimension of the embedding. No default."""


class Model(ApiModel):
    """The backbone, and what turns it into an embedding model."""

    backbone: Uri
    """
    The pre-trained model: a sentence-transformers or Hugging Face folder, for example
    s3://bases/all-MiniLM-L6-v2 (file:// with `embedtune run`). Required.
    """
    pooling: Literal["auto", "mean", "cls", "max", "last"] = "auto"
    """
    How the vectors of a text's tokens become one vector, padding left out: mean (their average),
    cls (the first token's), max (the largest value of each dimension), last (the last token's).
    Default auto: what the backbone's own pooling configuration says, or mean if it has none.
    """
    projection: Projection | None = None
    """A new linear layer after the pooling. Default: none, and the backbone's own are kept."""
    freeze: Annotated[tuple[ModuleGlob, ...], Field(max_length=64)] = ()
    """
    Globs over the backbone's module paths whose weights are not trained, for example embeddings
    or encoder.layer.[0-3]; the word backbone freezes all of it. A glob that matches no module
    fails the job. Default: none, so everything is trained.
    """
    normalize: bool | None = None
    """
    Whether embeddings are scaled to length 1. Default: what the backbone's folder says, or true
    if it says nothing.
    """
    max_seq_length: Annotated[int, Field(ge=2, le=32768)] | None = None
    """
    Texts are cut after this many tokens. Default: what the backbone's folder says, or else as
    many as the backbone can take.
    """


class CsvColumns(ApiModel):
    """Which columns of the header hold what."""

    item: Annotated[str, Field(min_length=1, max_length=256)]
    """Name of the column that holds the text. Required."""
    label: Annotated[str, Field(min_length=1, max_length=256)]
    """Name of the column that holds the class. Required."""


class CsvOptions(ApiModel):
    """How a CSV file is read (RFC 4180: comma or the delimiter here, double quotes)."""

    header: Literal["auto", "present", "absent"] = "auto"
    """
    Whether the first row names the columns. Default auto: it does if one of its cells is exactly
    label (in any case) or if columns is given; else every row is data in the order item,label.
    """
    columns: CsvColumns | None = None
    """
    Columns by name. Default: label, and one of item, text, sentence, question, query, title,
    content.
    """
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    """One character between cells. Default: a tab for .tsv and .tab files, else a comma."""
    encoding: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$", max_length=32)] = "utf-8"
    """The file's character encoding by its Python name. Default utf-8 (a BOM is skipped)."""


class Dataset(ApiModel):
    """One data file."""

    uri: Uri
    """Where the file lies, for example s3://datasets/train.csv. Required."""
    format: Literal["auto", "csv"] = "auto"
    """The file's format. Default auto: told from the name's ending (.csv, .tsv, .tab)."""
    csv: CsvOptions = CsvOptions()
    """How to read a CSV file."""


METRIC_PATTERN = r"^(map|mrr|r_precision|(precision|recall|hit|f1|ndcg)_at_[1-9][0-9]{0,3})$"


class Evaluation(ApiModel):
    """
    What the model is measured on before and after, as a search: each query's neighbours count as
    relevant when they have its label. Give at most one of split, uri, or queries with index.
    """

    split: Annotated[float, Field(gt=0, lt=1)] | None = None
    """
    Fraction of the training rows that is held out, the same in every class as far as it goes.
    Each held-out row is searched against the others. Default 0.1 if nothing else is given.
    """
    uri: Uri | None = None
    """A file of held-out rows, in the training file's format; each is searched in the others."""
    queries: Dataset | None = None
    """Rows to search with; needs index."""
    index: Dataset | None = None
    """Rows to search in; needs queries. It may be the training file."""
    cutoffs: Annotated[
        tuple[Annotated[int, Field(ge=1, le=1000)], ...], Field(min_length=1, max_length=8)
    ] = (1, 5, 10)
    """The k of precision, recall, hit, f1 and ndcg at k. Default 1, 5, 10."""
    metric: Annotated[str, Field(pattern=METRIC_PATTERN, max_length=32)] = "ndcg_at_10"
    """
    The headline metric that the status shows before and after, for example ndcg_at_10, map, mrr,
    precision_at_1. A metric at k has its k among the cutoffs. Default ndcg_at_10.
    """
    batch_size: Annotated[int, Field(ge=1, le=65536)] = 256
    """Texts encoded at a time. Default 256."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            (
                "(has(self.split) ? 1 : 0) + (has(self.uri) ? 1 : 0)"
                " + (has(self.queries) || has(self.index) ? 1 : 0) <= 1",
                "give at most one of split, uri, or queries with index",
            ),
            ("has(self.queries) == has(self.index)", "queries and index go together"),
            (
                "!has(self.metric) || !has(self.cutoffs) || !self.metric.contains('_at_')"
                " || int(self.metric.split('_at_')[1]) in self.cutoffs",
                "metric names a k that is not among cutoffs: add it there",
            ),
        )
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        pair = self.queries is not None or self.index is not None
        if (self.split is not None) + (self.uri is not None) + pair > 1:
            raise ValueError("give at most one of split, uri, or queries with index")
        if (self.queries is None) != (self.index is None):
            raise ValueError("queries and index go together")
        if "_at_" in self.metric and int(self.metric.rsplit("_", 1)[1]) not in self.cutoffs:
            raise ValueError("metric names a k that is not among cutoffs: add it there")
        return self


class Data(ApiModel):
    """What the model learns from, and what it is measured on."""

    train: Dataset
    """Labelled rows to train on. Required."""
    evaluation: Evaluation = Evaluation()
    """What to measure on. Default: a tenth of the training rows is held out."""


class Objective(ApiModel):
    """The loss, and which triplets of a batch it is taken over."""

    loss: Literal["TripletMarginLoss"] = "TripletMarginLoss"
    """The loss function. Default TripletMarginLoss."""
    loss_options: Options = Field(default_factory=dict)
    """
    Options of the loss. TripletMarginLoss takes margin (default 0.2), distance (cosine or
    euclidean; default cosine) and soft (a softplus in place of the hinge; default false).
    """
    miner: Literal["TripletMarginMiner"] = "TripletMarginMiner"
    """What chooses the triplets of a batch. Default TripletMarginMiner."""
    miner_options: Options = Field(default_factory=dict)
    """
    Options of the miner. TripletMarginMiner takes typeOfTriplets: all, semihard (negatives
    farther than the positive, within the margin) or hard (each anchor's farthest positive with
    its nearest negative). Default semihard.
    """
    items_per_class: Annotated[int, Field(ge=2, le=1024)] = 4
    """Rows of one class in a batch, at least 2, since an anchor needs a positive. Default 4."""


class Training(ApiModel):
    """The optimisation."""

    epochs: Annotated[int, Field(ge=1, le=10000)] = 5
    """Times that every training row is seen. Default 5."""
    batch_size: Annotated[int, Field(ge=4, le=65536)] = 64
    """Rows in a batch, at least twice itemsPerClass. Default 64."""
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 2e-5
    """Highest learning rate of AdamW, a number such as 5e-5. Default 2e-5."""
    warmup_ratio: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Fraction of the steps in which the learning rate rises linearly from 0. Default 0.1."""
    scheduler: Literal["linear", "constant"] = "linear"
    """The learning rate after the warm-up: linear falls to 0, constant stays. Default linear."""
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.01
    """AdamW's weight decay, not applied to biases and norms. Default 0.01."""
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    """Seed of everything random: split, batches, dropout, new layers. Default 0."""


class Output(ApiModel):
    """Where the model goes."""

    uri: Uri
    """
    A prefix; the model is put under PREFIX/NAMESPACE/NAME/UID/, its manifest.json written last.
    Required.
    """


class SecretRef(ApiModel):
    """A Secret in the job's own namespace."""

    name: Annotated[
        str, Field(min_length=1, max_length=253, pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$")
    ]
    """
    Name of the Secret. Its keys: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, optional,
    AWS_SESSION_TOKEN. Required.
    """


class Storage(ApiModel):
    """The S3 service, and with whose key it is used."""

    endpoint: Annotated[str, Field(pattern=r"^https?://[^\s/]+/?$", max_length=512)] | None = None
    """
    URL of the S3 service, for example http://minio.minio.svc:9000. Default: the platform's, as
    set in the chart (with `embedtune run`: the environment's AWS_ENDPOINT_URL), or else AWS.
    """
    region: Annotated[str, Field(pattern=r"^[a-z0-9-]+$", max_length=64)] | None = None
    """Region of the S3 service. Default: the platform's, or us-east-1."""
    secret_ref: SecretRef | None = None
    """
    The Secret with the credentials, in the job's own namespace. Default: none, and S3 is used
    without signing in.
    """


class Resources(ApiModel):
    """What the training pod asks for. CPU, memory and GPUs are requests and limits at once."""

    gpus: Annotated[int, Field(ge=0, le=64)] | None = None
    """Number of nvidia.com/gpu. Default: the platform's (0 unless set in the chart)."""
    cpu: Quantity | None = None
    """CPU cores, for example "4" or 500m. Default: the platform's."""
    memory: Quantity | None = None
    """Memory, for example 16Gi. Default: the platform's."""


class RunPolicy(ApiModel):
    """When to retry, to give up and to clean up."""

    backoff_limit: Annotated[int, Field(ge=0, le=100)] = 3
    """
    Failures that are retried before the job fails; what no retry can mend fails at once. Default 3.
    """
    active_deadline_seconds: Annotated[int, Field(ge=1, le=31_536_000)] | None = None
    """Seconds after which a job that is not done fails. Default: none."""
    ttl_seconds_after_finished: Annotated[int, Field(ge=0, le=31_536_000)] | None = None
    """
    Seconds after which a finished job's pod and its logs are removed. The FineTuneJob and the
    model stay. Default: never.
    """


_FIXED = ("model", "data", "objective", "training", "output", "storage", "resources")


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
    output: Output
    """Where the model goes. Cannot be changed."""
    storage: Storage = Storage()
    """The S3 service and its credentials. Cannot be changed."""
    resources: Resources = Resources()
    """What the training pod asks for. Cannot be changed."""
    run_policy: RunPolicy = RunPolicy()
    """When to retry, to give up and to clean up."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            *(
                (
                    f"self.{name} == oldSelf.{name}",
                    f"spec.{name} cannot be changed once set: create another FineTuneJob",
                )
                for name in _FIXED
            ),
            (
                "self.training.batchSize >= 2 * self.objective.itemsPerClass",
                "training.batchSize must be at least twice objective.itemsPerClass,"
                " so that a batch holds two classes",
            ),
        )
    )

    @model_validator(mode="after")
    def _two_classes_fit(self) -> Self:
        if self.training.batch_size < 2 * self.objective.items_per_class:
            raise ValueError(
                "training.batchSize must be at least twice objective.itemsPerClass,"
                " so that a batch holds two classes"
            )
        return self
