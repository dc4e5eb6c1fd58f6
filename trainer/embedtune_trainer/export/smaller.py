"""Graphs of fewer bytes: float16 throughout, or matrices and tables of words in 8 bits."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from torch import nn

from embedtune_trainer.embedder.model import Embedder
from embedtune_trainer.errors import BadSpec
from embedtune_trainer.export.graph import EXTERNAL_ABOVE_BYTES, save_graph

FIELD: Final = "spec.output.onnx.precision"
QUANTIZED: Final = ("MatMul", "Gemm", "Gather")
"""Matrix multiplications, and tables of words."""
_NEEDED: Final = (nn.Linear,)


def check_quantizable(embedder: Embedder) -> None:
    """Find out in no time whether int8 would change anything.

    Raises:
        BadSpec: it would not.
    """
    if not any(isinstance(module, _NEEDED) for module in embedder.modules()):
        raise BadSpec(
            f"{FIELD}: int8 is for matrix multiplications, and"
            f" {type(embedder.backbone.network).__name__} has none; use float16"
        )


def write_float16(graph: Path, path: Path) -> None:
    """The same graph with weights and computation in float16, inputs and output as they were.

    Args:
        graph: in float32.
        path: of the new one.
    """
    import onnx
    from onnxruntime.transformers.float16 import (  # type: ignore[import-untyped]  # it has none
        convert_float_to_float16,
    )

    with _quiet():
        small = convert_float_to_float16(
            onnx.load(str(graph)), keep_io_types=True, disable_shape_infer=False
        )
    save_graph(small, path)


def write_int8(graph: Path, path: Path) -> None:
    """The same graph with matrices in 8 bits, a scale per column; activations get a scale per batch
    when they are known (dynamic quantisation, Jacob et al. 2018).

    Weights use 7 of the 8 bits, without which older x86 CPUs overflow.

    Args:
        graph: in float32.
        path: of the new one.
    """
    from onnxruntime.quantization import (  # type: ignore[import-untyped]  # it has none
        QuantType,
        quantize_dynamic,
    )

    with _quiet():
        quantize_dynamic(
            str(graph),
            str(path),
            op_types_to_quantize=list(QUANTIZED),
            per_channel=True,
            reduce_range=True,
            weight_type=QuantType.QInt8,
            use_external_data_format=_bytes(graph) > EXTERNAL_ABOVE_BYTES,
        )


def _bytes(graph: Path) -> int:
    """With what lies beside it."""
    return sum(path.stat().st_size for path in graph.parent.glob(f"{graph.name}*"))


@contextmanager
def _quiet() -> Iterator[None]:
    """Without remarks that are not for users, which go to the root logger."""
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(before)
