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
_S3 = r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[^\s]*)?"
_PVC = r"pvc://[a-z0-9]([a-z0-9.-]*[a-z0-9])?/[^\s]+"
_REPOSITORY = r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?(@[A-Za-z0-9._/-]+)?"
_FILE = r"file://[^\s]+"


def _uri(*forms: str) -> Any:  # noqa: ANN401  what Annotated takes
    return Field(pattern=f"^({'|'.join(forms)})$", max_length=1024, json_schema_extra=NOT_FILE)


OutputUri = Annotated[str, _uri(_S3, _FILE)]
FileUri = Annotated[str, _uri(_S3, _PVC, _FILE)]
DataUri = Annotated[str, _uri(_S3, _PVC, rf"hf://datasets/{_REPOSITORY}(/[^\s]*)?", _FILE)]
BackboneUri = Annotated[
    str,
    _uri(
        _S3,
        rf"hf://{_REPOSITORY}",
        r"(torchvision|timm)://[A-Za-z0-9_.-]+",
        r"mlp://[1-9][0-9]{0,5}",
        _PVC,
        _FILE,
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


_FREEZE_RULE = (
    "size(self.freeze) == 0 || size(self.freezeAllBut) == 0",
    "give freeze or freezeAllBut, not both",
)
_PAIR_RULES = (
    ("has(self.text) == has(self.image)", "text and image go together"),
    (
        "has(self.backbone) != has(self.text)",
        "give backbone, or text and image with a backbone each",
    ),
    (
        "!has(self.text) || (self.cut == 'auto' && self.pooling == 'auto'"
        " && !has(self.weights) && !has(self.projection) && size(self.freeze) == 0"
        " && size(self.freezeAllBut) == 0 && !has(self.lora) && !has(self.normalize)"
        " && !has(self.maxSeqLength) && !has(self.imageSize))",
        "with text and image, say cut, pooling, projection, freeze and the like in them",
    ),
)
ColumnName = Annotated[str, Field(min_length=1, max_length=256)]


class Projection(ApiModel):
    """New layers on top of the pooled feature: hidden layers, and a linear one to the embedding."""

    dim: Annotated[int, Field(ge=1, le=65536)]
    """Dimension of the embedding. No default."""
    hidden: Annotated[tuple[Annotated[int, Field(ge=1, le=65536)], ...], Field(max_length=8)] = ()
    """Sizes of the hidden layers, for example [512]. Default: none, a linear projection."""
    activation: Literal["relu", "gelu", "silu", "tanh", "sigmoid", "none"] = "relu"
    """What follows each hidden layer. Default relu."""
    norm: Literal["none", "batch", "layer"] = "none"
    """Normalisation of each hidden layer, before its activation. Default none."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Dropout after each hidden layer, 0 to 1. Default 0."""


class Lora(ApiModel):
    """Low-rank adapters (Hu et al. 2021) in place of all weights, merged into them at the end."""

    rank: Annotated[int, Field(ge=1, le=1024)] = 8
    """Rank of the adapters. Default 8."""
    alpha: Annotated[float, Field(gt=0, le=4096)] = 16.0
    """Adapters are scaled by alpha / rank. Default 16."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Dropout in front of the adapters, 0 to 1. Default 0."""
    targets: Annotated[tuple[ModuleGlob, ...], Field(max_length=64)] = ()
    """Globs over the paths of the linear layers that get one. Default: all of the backbone's."""


class EncoderOptions(ApiModel):
    """What turns a backbone into an embedding model."""

    weights: FileUri | None = None
    """
    State dict (safetensors or .pth) for a torchvision:// or timm:// backbone. Default: the
    library's own weights, from its hub.
    """
    cut: Annotated[str, Field(min_length=1, max_length=256, pattern=r"^\S+$")] = "auto"
    """
    Path of the module whose output is the feature; `embedtune inspect` lists them. Default auto:
    what stands before the head.
    """
    pooling: Literal["auto", "mean", "cls", "max", "last", "weightedMean", "gem", "none"] = "auto"
    """
    How the vectors of a text's tokens, or of an image's places, become one vector, padding left
    out: mean (their average), cls (the first token's), max (the largest value of each dimension),
    last (the last token's), weightedMean (later tokens weigh more), gem (generalised mean), none
    (the feature is one vector already). Default auto: what the backbone's own configuration says,
    or mean if it has none.
    """
    pooling_options: Options = Field(default_factory=dict)
    """Options of the pooling. gem takes p (default 3), eps (1e-6) and learnable (false)."""
    projection: Projection | None = None
    """New layers after the pooling. Default: none, and the backbone's own are kept."""
    freeze: Annotated[tuple[ModuleGlob, ...], Field(max_length=64)] = ()
    """
    Globs over the backbone's module paths whose weights are not trained, for example embeddings
    or encoder.layer.[0-3]; the word backbone freezes all of it. A glob that matches no module
    fails the job. Default: none, so everything is trained.
    """
    freeze_all_but: Annotated[tuple[ModuleGlob, ...], Field(max_length=64)] = ()
    """Globs of the only modules of the backbone that are trained. Default: none."""
    lora: Lora | None = None
    """Train low-rank adapters in place of the backbone's weights. Default: none."""
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
    image_size: Annotated[int, Field(ge=8, le=4096)] | None = None
    """Side of the square that images are brought to, in pixels. Default: the backbone's own."""

    model_config = ConfigDict(json_schema_extra=cel(_FREEZE_RULE))

    @model_validator(mode="after")
    def _one_freeze(self) -> Self:
        if self.freeze and self.freeze_all_but:
            raise ValueError(_FREEZE_RULE[1])
        return self


class Encoder(EncoderOptions):
    """A backbone, and what turns it into an embedding model."""

    backbone: BackboneUri
    """
    The pre-trained model: a sentence-transformers or Hugging Face folder as s3://BUCKET/KEY,
    pvc://CLAIM/PATH or hf://OWNER/NAME[@REVISION]; torchvision://resnet50 or timm://NAME; or
    mlp://DIM for data that are vectors (file:// with `embedtune run`). Required.
    """


class Model(EncoderOptions):
    """
    One backbone, or a text and an image encoder that are trained into one space, and what turns
    them into embedding models.
    """

    backbone: BackboneUri | None = None
    """
    The pre-trained model: a sentence-transformers or Hugging Face folder as s3://BUCKET/KEY,
    pvc://CLAIM/PATH or hf://OWNER/NAME[@REVISION], for text, images, or both (CLIP, SigLIP);
    torchvision://resnet50 or timm://NAME; or mlp://DIM for data that are vectors (file:// with
    `embedtune run`). Required, unless text and image are given.
    """
    task: Literal["auto", "text-to-text", "image-to-image", "text-to-image"] = "auto"
    """What the model is for. Default auto: told from the backbone."""
    text: Encoder | None = None
    """The text encoder of a pair; goes with image."""
    image: Encoder | None = None
    """The image encoder of a pair; goes with text. Both give embeddings of one dimension."""

    model_config = ConfigDict(json_schema_extra=cel(_FREEZE_RULE, *_PAIR_RULES))

    @model_validator(mode="after")
    def _one_or_a_pair(self) -> Self:
        if (self.text is None) != (self.image is None):
            raise ValueError(_PAIR_RULES[0][1])
        if (self.backbone is None) != (self.text is not None):
            raise ValueError(_PAIR_RULES[1][1])
        if self.text is not None and self._options() != EncoderOptions():
            raise ValueError(_PAIR_RULES[2][1])
        return self

    def _options(self) -> EncoderOptions:
        return EncoderOptions(**{name: getattr(self, name) for name in EncoderOptions.model_fields})

    @property
    def encoder(self) -> Encoder | None:
        """The one backbone with what belongs to it, or None if this is a pair."""
        if self.backbone is None:
            return None
        return Encoder(backbone=self.backbone, **dict(self._options()))

    @property
    def backbones(self) -> tuple[str, ...]:
        """URIs of all backbones: one, or the text's and the image's."""
        towers = (self, self.text, self.image)
        return tuple(t.backbone for t in towers if t is not None and t.backbone is not None)


class Columns(ApiModel):
    """Which column holds what, by the names in the header or the keys of the records."""

    item: ColumnName | None = None
    """The text, image or vector of a labelled row."""
    label: ColumnName | None = None
    """The class of a labelled row."""
    anchor: ColumnName | None = None
    """The first item of a pair."""
    positive: ColumnName | None = None
    """The second item of a pair."""
    negatives: Annotated[tuple[ColumnName, ...], Field(max_length=32)] = ()
    """Hard negatives of the pair's anchor, a column each. Default: none."""
    score: ColumnName | None = None
    """How alike the two items of a pair are."""
    text: ColumnName | None = None
    """The text of a text-image pair."""
    image: ColumnName | None = None
    """The image of a text-image pair: a path, a URL, or the file's bytes."""


class CsvOptions(ApiModel):
    """How a CSV file is read (RFC 4180: comma or the delimiter here, double quotes)."""

    header: Literal["auto", "present", "absent"] = "auto"
    """
    Whether the first row names the columns. Default auto: it does if its cells are names that
    dataset.columns defaults to, or if columns is given; else every row is data.
    """
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    """One character between cells. Default: a tab for .tsv and .tab files, else a comma."""
    encoding: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$", max_length=32)] = "utf-8"
    """The file's character encoding by its Python name. Default utf-8 (a BOM is skipped)."""


class Dataset(ApiModel):
    """Rows in a file or a folder."""

    uri: DataUri
    """
    Where they lie, for example s3://datasets/train.csv, pvc://CLAIM/PATH or
    hf://datasets/OWNER/NAME[@REVISION][/FILE]. Required.
    """
    format: Literal[
        "auto", "csv", "jsonl", "parquet", "documents", "datasets", "images", "webdataset"
    ] = "auto"
    """
    csv, jsonl, parquet, documents (a DocumentArray that docarray saved), datasets (a folder that
    Hugging Face datasets saved), images (a folder with a subfolder for each class), webdataset (tar
    files). Default auto: told from the name's ending (.csv, .tsv, .jsonl, .parquet, .tar, ...).
    """
    layout: Literal["auto", "labelled", "pairs", "scored", "text-image"] = "auto"
    """
    What a row is: labelled (item, label), pairs (anchor, positive, hard negatives), scored (two
    items and how alike they are), text-image. Default auto: told from the columns; two columns
    without a header are item,label, or text and image for a model of both.
    """
    columns: Columns | None = None
    """
    Columns by name. Default: label, score, image, text and caption, and usual names such as item,
    sentence, question, query, anchor and positive.
    """
    csv: CsvOptions = CsvOptions()
    """How to read a CSV file."""
    on_bad_row: Literal["fail", "skip"] = "fail"
    """
    What a row that is wrong does: fail the job, or be left out, counted and listed; more than 1 %
    fails in any case. Default fail.
    """
    limit: Annotated[int, Field(ge=1)] | None = None
    """Rows that are read, from the first. Default: all."""


METRIC_PATTERN = (
    r"^(auto|spearman"
    r"|(image_to_text_)?(map|mrr|r_precision|(precision|recall|hit|f1|ndcg)_at_[1-9][0-9]{0,3}))$"
)


class Evaluation(ApiModel):
    """
    What the model is measured on before and after, as a search: each query's neighbours count as
    relevant when they have its label, or are paired with it. Scored pairs are measured by the rank
    correlation of their similarities with the scores. Give at most one of split, uri, or queries
    with index.
    """

    split: Annotated[float, Field(gt=0, lt=1)] | None = None
    """
    Fraction of the training rows that is held out, the same in every class as far as it goes.
    Each held-out row is searched against the others. Default 0.1 if nothing else is given.
    """
    uri: DataUri | None = None
    """A file of held-out rows, in the training file's format; each is searched in the others."""
    queries: Dataset | None = None
    """Rows to search with; needs index."""
    index: Dataset | None = None
    """Rows to search in; needs queries. It may be the training file."""
    cutoffs: Annotated[
        tuple[Annotated[int, Field(ge=1, le=1000)], ...], Field(min_length=1, max_length=8)
    ] = (1, 5, 10)
    """The k of precision, recall, hit, f1 and ndcg at k. Default 1, 5, 10."""
    metric: Annotated[str, Field(pattern=METRIC_PATTERN, max_length=32)] = "auto"
    """
    The headline metric that the status shows before and after, for example ndcg_at_10, map, mrr,
    precision_at_1, spearman; with image_to_text_ before it, of the search for texts with images. A
    metric at k has its k among the cutoffs. Default auto: spearman for scored pairs, else
    ndcg_at_10, or ndcg at the largest cutoff if 10 is none.
    """
    batch_size: Annotated[int, Field(ge=1, le=65536)] = 256
    """Items encoded at a time. Default 256."""

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
    """Rows to train on: labelled, pairs, scored pairs, or texts with images. Required."""
    evaluation: Evaluation = Evaluation()
    """What to measure on. Default: a tenth of the training rows is held out."""


class Objective(ApiModel):
    """The loss, and which triplets of a batch it is taken over."""

    loss: Literal[
        "auto",
        "TripletMarginLoss",
        "MultipleNegativesRankingLoss",
        "CosineSimilarityLoss",
        "CLIPLoss",
    ] = "auto"
    """
    The loss function. Default auto: TripletMarginLoss for labelled rows,
    MultipleNegativesRankingLoss for pairs, CosineSimilarityLoss for scored pairs, CLIPLoss for
    texts with images.
    """
    loss_options: Options = Field(default_factory=dict)
    """
    Options of the loss. TripletMarginLoss takes margin (default 0.2), distance (cosine or
    euclidean; default cosine) and soft (a softplus in place of the hinge; default false).
    MultipleNegativesRankingLoss takes scale (default 20) and symmetric (default false). CLIPLoss
    takes temperature (default: the checkpoint's, or 0.07) and learnable (default true).
    """
    miner: Literal["TripletMarginMiner"] = "TripletMarginMiner"
    """What chooses the triplets of a batch for a triplet loss. Default TripletMarginMiner."""
    miner_options: Options = Field(default_factory=dict)
    """
    Options of the miner. TripletMarginMiner takes typeOfTriplets: all (that violate the margin),
    semihard (for each positive the nearest negative that is farther) or hard (each anchor's
    farthest positive with its nearest negative). Default semihard.
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
    augmentation: Literal["auto", "none"] = "auto"
    """
    How images are varied from epoch to epoch: auto crops and flips them, and changes their
    colours a little; none shows them as they are. Default auto.
    """


class Output(ApiModel):
    """Where the model goes."""

    uri: OutputUri
    """
    A prefix; the model is put under PREFIX/NAMESPACE/NAME/UID/, its manifest.json written last.
    Required.
    """


class SecretRef(ApiModel):
    """A Secret in the job's own namespace."""

    name: Annotated[
        str, Field(min_length=1, max_length=253, pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$")
    ]
    """Name of the Secret. Required."""


class Storage(ApiModel):
    """The S3 service, and with whose key it is used."""

    endpoint: Annotated[str, Field(pattern=r"^https?://[^\s/]+/?$", max_length=512)] | None = None
    """
    URL of the S3 service, for example http://minio.minio.svc:9000. Default: the platform's, as
    set in the chart (with `embedtune run`: the environment's AWS_ENDPOINT_URL), or else AWS.
    """
    region: Annotated[str, Field(pattern=r"^[a-z0-9-]+$", max_length=64)] | None = None
    """Region of the S3 service. Default: the platform's, or us-east-1."""
    hf_token_secret_ref: SecretRef | None = None
    """
    The Secret with the key HF_TOKEN for hf://, in the job's own namespace. Default: none, and
    only what is public can be had.
    """
    secret_ref: SecretRef | None = None
    """
    The Secret with the keys AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, optional,
    AWS_SESSION_TOKEN, in the job's own namespace. Default: none, and S3 is used without signing in.
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

    @property
    def uris(self) -> tuple[str, ...]:
        """What the job reads: backbones, weights and data."""
        model, evaluation = self.model, self.data.evaluation
        towers = (t for t in (model, model.text, model.image) if t is not None)
        datasets = (d for d in (self.data.train, evaluation.queries, evaluation.index) if d)
        found = (
            *(uri for tower in towers for uri in (tower.backbone, tower.weights)),
            *(dataset.uri for dataset in datasets),
            evaluation.uri,
        )
        return tuple(uri for uri in found if uri is not None)

    @property
    def claims(self) -> tuple[str, ...]:
        """Names of the claims that pvc:// URIs name, each once."""
        prefix = "pvc://"
        named = (u.removeprefix(prefix).split("/")[0] for u in self.uris if u.startswith(prefix))
        return tuple(dict.fromkeys(named))
