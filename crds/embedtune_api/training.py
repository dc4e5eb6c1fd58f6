"""spec.training: the optimisation."""

from typing import Annotated, Literal

from pydantic import Field

from embedtune_api.base import ApiModel
from embedtune_api.fields import ModuleGlob, Options, int_or_auto
from embedtune_api.objective_names import OptimizerName
from embedtune_api.selection import KeepBest, StopEarly, WiseFT


class Rate(ApiModel):
    """A learning rate of their own for some modules."""

    modules: Annotated[tuple[ModuleGlob, ...], Field(min_length=1, max_length=64)]
    """
    Globs over module paths as freeze takes them; head stands for what is behind the backbone. In a
    pair of encoders the paths begin with text. or image., and temperature is its scale.
    """
    factor: Annotated[float, Field(gt=0, le=1000)]
    """What the learning rate is multiplied by, e.g. 0.1."""


class Ema(ApiModel):
    """An exponential moving average of the weights, which is measured and kept in their place."""

    decay: Annotated[float, Field(gt=0, lt=1)] = 0.999
    """
    Share of the average that an update leaves; lower in the first updates, at most (1 + n) /
    (10 + n) in the nth. Default 0.999.
    """


class Training(ApiModel):
    """The optimisation."""

    epochs: Annotated[int, Field(ge=1, le=10000)] = 5
    """Times that every training row is seen. Default 5."""
    batch_size: Annotated[int | Literal["auto"], *int_or_auto(4, 65536)] = 64
    """
    Rows in a batch, 4 to 65536 and at least twice itemsPerClass, or auto: the largest power of two
    up to 1024 that fits into memory and gives 16 batches an epoch. Default 64.
    """
    micro_batch: Annotated[int | Literal["auto"], *int_or_auto(1, 65536)] | None = None
    """
    Items that an encoder takes at a time with a gradient, counted as long as the longest: of
    shorter texts so many more. A batch that is more is encoded twice, which gives the same gradient
    in the memory of one part. auto: as many as fit into memory. Default: the whole batch.
    """
    accumulate: Annotated[int, Field(ge=1, le=4096)] = 1
    """
    Batches whose mean gradient makes one update of the weights; their rows are not each other's
    negatives, for which microBatch is. Default 1.
    """
    optimizer: OptimizerName = "AdamW"
    """
    torch's optimizer of that name. LBFGS and SparseAdam are not among them: neither can train an
    embedding model by batches. Default AdamW.
    """
    optimizer_options: Options = Field(default_factory=dict)
    """
    Options of the optimizer as torch has them, in camel case; of pairs such as betas each half:
    beta1, beta2, etaMinus, etaPlus, stepMin, stepMax. Default torch's.
    """
    learning_rate: Annotated[float, Field(gt=0, le=1)] | None = None
    """
    Highest learning rate, a number such as 5e-5. Default for Adam and its kin, by what is trained:
    text backbones 2e-5, text-image pairs 1e-5, vision transformers 2e-5, convolutional networks
    1e-4, adapters 2e-4, and layers behind a frozen backbone 1e-3; other optimizers need one.
    """
    warmup_ratio: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Fraction of the updates in which the learning rate rises linearly from 0. Default 0.1."""
    scheduler: Literal[
        "linear",
        "cosine",
        "cosine_with_restarts",
        "polynomial",
        "constant",
        "constant_with_warmup",
    ] = "linear"
    """
    The learning rate after the warm-up, by the names in transformers: linear falls to 0, constant
    and constant_with_warmup stay (both after warmupRatio). Default linear.
    """
    scheduler_options: Options = Field(default_factory=dict)
    """
    cosine and cosine_with_restarts take cycles (default 0.5 and 1), polynomial takes power
    (default 1) and end, the fraction of the learning rate that it ends at (default 0).
    """
    weight_decay: Annotated[float, Field(ge=0, le=1)] | None = None
    """
    The optimizer's weight decay, not applied to biases and norms. Default 0.01 for AdamW, else 0.
    """
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    """
    What the learning rate is multiplied by from each layer of the backbone to the one below it,
    e.g. 0.9; the layers behind the backbone have all of it. Default 1.
    """
    rates: Annotated[tuple[Rate, ...], Field(max_length=64)] = ()
    """Learning rates of some modules; where several match, their factors multiply."""
    max_gradient_norm: Annotated[float, Field(ge=0, le=1e6)] = 1.0
    """The gradient is scaled down to this Euclidean length if it is longer; 0: never. Default 1."""
    ema: Ema | None = None
    """Measure and keep an average of the weights. Default: the weights themselves."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """
    What the encoders calculate in; weights, embeddings and loss are float32. auto is bfloat16
    where that is faster: on GPUs and processors that have it, else float32. Default auto.
    """
    keep_best: KeepBest | None = None
    """Keep the best of the weights that were measured. Default: the last ones."""
    stop_early: StopEarly | None = None
    """Stop when the model no longer gets better. Default: after the last epoch."""
    wise_ft: WiseFT | None = Field(default=None, alias="wiseFT")
    """Keep weights between the backbone's and the tuned ones. Default: the tuned ones."""
    compile: bool = False
    """
    Compile the encoders with torch.compile: minutes at the start, for fewer in a long training on a
    GPU. Default false.
    """
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    """Seed of everything random: split, batches, dropout, new layers. Default 0."""
    augmentation: Literal["auto", "none"] = "auto"
    """
    How images are varied from epoch to epoch: auto crops and flips them, and changes their
    colours a little; none shows them as they are. Default auto.
    """

    @property
    def rows_in_batch(self) -> int:
        """batchSize, once it is known.

        Raises:
            TypeError: it is still auto.
        """
        if self.batch_size == "auto":
            raise TypeError("the batch size is still to be found")
        return self.batch_size
