"""An ONNX graph in the place of the network that it was made of."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from embedtune_trainer.embedder.encoders import Encoders
from embedtune_trainer.embedder.model import Embedder
from embedtune_trainer.errors import UnsupportedModel
from embedtune_trainer.export.graph import OUTPUT, named_inputs


class OnnxEmbedder(Embedder):
    """An embedder that onnxruntime computes, on the CPU; it prepares items as its original."""

    def __init__(self, original: Embedder, path: Path) -> None:
        """`path`: of the graph that was made of the original.

        Raises:
            UnsupportedModel: onnxruntime cannot load it.
        """
        super().__init__(
            original.backbone,
            original.pooling,
            list(original.layers),
            original.processor,
            embedding_dim=original.embedding_dim,
            frozen=(),
            write=lambda _, folder: original.save(folder),
        )
        self._session = _session(path)

    @property
    def device(self) -> torch.device:
        """Where its inputs go."""
        return torch.device("cpu")

    def forward(self, inputs: Any) -> Tensor:  # noqa: ANN401  what the processor gives
        """A batch's inputs to (B, D) embeddings, float32, without a gradient."""
        given = {name: tensor.numpy() for name, tensor in named_inputs(self, inputs).items()}
        (found_BD,) = self._session.run([OUTPUT], given)
        return torch.from_numpy(np.asarray(found_BD, np.float32))


def onnx_encoders(encoders: Encoders, left: Path, right: Path) -> Encoders:
    """Encoders that onnxruntime computes.

    Args:
        encoders: whose graphs they are.
        left: of the left side's graph.
        right: of the right side's; the same file if both sides have one encoder.
    """
    left_side = OnnxEmbedder(encoders.left, left)
    right_side = left_side if left == right else OnnxEmbedder(encoders.right, right)
    return Encoders(left_side, right_side, left_side, encoders.write, encoders.log_scale)


def _session(path: Path) -> Any:  # noqa: ANN401  onnxruntime leaves it untyped
    import onnxruntime  # type: ignore[import-untyped]  # it has none

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions have no common class but this one
        said = str(error).strip().splitlines()[0]
        raise UnsupportedModel(f"{path.name}: onnxruntime cannot load the graph: {said}") from error
