"""spec.model: the backbone, and what turns it into an embedding model."""

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from embedtune_api.base import ApiModel
from embedtune_api.fields import BackboneUri, FileUri, ModuleGlob, Options, cel

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
    """
    What the model is for. text-to-text or image-to-image takes one encoder of a CLIP-like backbone
    alone. Default auto: told from the backbone.
    """
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
