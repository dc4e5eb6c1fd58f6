"""An embedder as an ONNX graph: what a tokenizer or a decoder gives, to embeddings.

Pooling, projection and normalisation are in the graph, so that whoever runs it needs no more than
onnxruntime. The batch is of any size, texts are of any length that the backbone can take.
"""

import logging
import warnings
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor, nn

from embedtune_trainer.embedder.model import Embedder
from embedtune_trainer.embedder.naflex import NaflexBackbone
from embedtune_trainer.embedder.siglip import SiglipTextBackbone
from embedtune_trainer.embedder.tokens import Tokens
from embedtune_trainer.errors import UnsupportedModel

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnx

OUTPUT: Final = "embeddings"
"""The graph's one output: (B, D) float32."""
OPSET: Final = 18
EXTERNAL_ABOVE_BYTES: Final = 1_500_000_000
"""Weights of more bytes lie in a file beside the graph, since a protobuf holds less than 2 GiB."""
log = logging.getLogger("embedtune")
FIELD: Final = "spec.output.formats: onnx"
_FAILURES: Final = (
    *(RuntimeError, ValueError, TypeError, AssertionError, NotImplementedError),
    torch.onnx.errors.OnnxExporterError,
)
_EXAMPLE: Final = 2
"""Least size of every dimension of the traced example that may vary: torch.export takes a size of
1 for a constant."""


class _Graph(nn.Module):
    """An embedder that takes named tensors one by one."""

    def __init__(self, embedder: Embedder, names: tuple[str, ...]) -> None:
        super().__init__()
        self.embedder = embedder
        self._names = names

    def forward(self, *tensors: Tensor) -> Tensor:
        """As the embedder's."""
        given = dict(zip(self._names, tensors, strict=True))
        out_BD: Tensor = self.embedder(_inputs(given))
        return out_BD


def named_inputs(embedder: Embedder, inputs: Any) -> dict[str, Tensor]:  # noqa: ANN401  what its processor gives
    """A batch by the names of the graph's inputs, on the CPU.

    Args:
        embedder: whose graph it is.
        inputs: as its processor gives them.

    Returns:
        input_ids and attention_mask (B, T) int64, of SigLIP's texts input_ids alone; pixel_values
        (B, 3, Y, X) float32, normalised; or vectors (B, DIM) float32.

    Raises:
        UnsupportedModel: it takes what is no graph's input.
    """
    if isinstance(inputs, Tokens):
        found = {"input_ids": inputs.ids_BT}
        if not _fixed_length(embedder):
            found["attention_mask"] = inputs.mask_BT
    elif isinstance(inputs, Tensor):
        found = {"pixel_values" if inputs.ndim == 4 else "vectors": inputs}
    else:
        raise refused(embedder)
    return {name: tensor.cpu() for name, tensor in found.items()}


def refused(embedder: Embedder) -> UnsupportedModel:
    """The error for a model that no graph can hold."""
    return UnsupportedModel(
        f"{FIELD}: {type(embedder.backbone.network).__name__} reads each image's shape while it"
        " runs, which a graph cannot; leave onnx out"
    )


def check_exportable(embedder: Embedder) -> None:
    """Find out in no time whether a graph can hold this model.

    Raises:
        UnsupportedModel: it cannot.
    """
    if isinstance(embedder.backbone, NaflexBackbone):
        raise refused(embedder)


def write_graph(embedder: Embedder, inputs: Any, path: Path) -> None:  # noqa: ANN401  what its processor gives
    """Write the graph; the same model gives the same bytes.

    Args:
        embedder: in float32; it is used in evaluation mode.
        inputs: some batch, for its shapes.
        path: of the graph; its folder is there.

    Raises:
        UnsupportedModel: it cannot be exported.
    """
    check_exportable(embedder)
    import onnx

    given = {name: _example(t, name) for name, t in named_inputs(embedder, inputs).items()}
    dynamic = torch.export.Dim.DYNAMIC
    varying = {0: dynamic} if _fixed(embedder, given) else {0: dynamic, 1: dynamic}
    graph = _Graph(embedder, tuple(given))
    was_training = embedder.training
    graph.eval()
    try:
        with _quiet():
            program: Any = torch.onnx.export(
                graph,
                tuple(tensor.to(embedder.device) for tensor in given.values()),
                input_names=list(given),
                output_names=[OUTPUT],
                dynamic_shapes=(tuple(varying for _ in given),),
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
    except _FAILURES as error:
        log.warning("torch.onnx.export failed: %s", _root(error))
        raise UnsupportedModel(
            f"{FIELD}: {type(embedder.backbone.network).__name__} cannot be exported for batches of"
            " any size; leave onnx out"
        ) from error
    finally:
        embedder.train(was_training)
    save_graph(_plain(program.model_proto, varying, embedder.embedding_dim), path)
    onnx.checker.check_model(str(path))


def save_graph(model: "onnx.ModelProto", path: Path) -> None:
    """Write a graph, its weights beside it as NAME.data if they are too large for one file."""
    import onnx

    external = model.ByteSize() > EXTERNAL_ABOVE_BYTES
    onnx.save(
        model,
        path,
        save_as_external_data=external,
        location=f"{path.name}.data",
        convert_attribute=False,
    )


def _inputs(given: Mapping[str, Tensor]) -> Any:  # noqa: ANN401  what the backbone takes
    """The opposite of named_inputs."""
    ids_BT = given.get("input_ids")
    if ids_BT is None:
        return next(iter(given.values()))
    mask_BT = given.get("attention_mask")
    return Tokens(ids_BT, torch.ones_like(ids_BT) if mask_BT is None else mask_BT)


def _fixed_length(embedder: Embedder) -> bool:
    """Whether all texts are of one length, padding read as well."""
    return isinstance(embedder.backbone, SiglipTextBackbone)


def _fixed(embedder: Embedder, given: Mapping[str, Tensor]) -> bool:
    """Whether only the batch varies."""
    return "input_ids" not in given or _fixed_length(embedder)


def _example(tensor: Tensor, name: str) -> Tensor:
    """Repeated until no dimension that may vary is of size 1."""
    times = [1] * tensor.ndim
    times[0] = -(-_EXAMPLE // tensor.shape[0])
    if name in ("input_ids", "attention_mask"):
        times[1] = -(-_EXAMPLE // tensor.shape[1])
    return tensor.repeat(times)


def _plain(model: "onnx.ModelProto", varying: Mapping[int, Any], dim: int) -> "onnx.ModelProto":
    """Without what the exporter notes of this machine, and with names for what varies."""
    names = {0: "batch", 1: "length"}
    nodes = [*model.graph.node, *(node for f in model.functions for node in f.node)]
    for part in (model, model.graph, *model.functions, *nodes):
        del part.metadata_props[:]
        part.doc_string = ""
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        del value.metadata_props[:]
        value.doc_string = ""
    renamed = {}
    for value in model.graph.input:
        for place in varying:
            renamed[value.type.tensor_type.shape.dim[place].dim_param] = names[place]
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for size in value.type.tensor_type.shape.dim:
            if size.dim_param in renamed:
                size.dim_param = renamed[size.dim_param]
    out = model.graph.output[0].type.tensor_type.shape.dim
    out[0].dim_param, out[1].dim_value = names[0], dim
    return model


def _root(error: BaseException) -> str:
    """The first line of what it all began with."""
    while error.__cause__ is not None:
        error = error.__cause__
    return (str(error).strip() or type(error).__name__).splitlines()[0]


@contextmanager
def _quiet() -> "Iterator[None]":
    """Without the exporter's remarks, which are not for users."""
    loggers = [
        logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir", "torch.export")
    ]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
