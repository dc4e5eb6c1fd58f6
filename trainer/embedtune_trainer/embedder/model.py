"""The embedding model: backbone, pooling, layers behind it; the same for every modality."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from embedtune_trainer.embedder.features import Backbone
from embedtune_trainer.embedder.freeze import keep_frozen
from embedtune_trainer.embedder.pooling import Pooling
from embedtune_trainer.embedder.processor import Processor
from embedtune_trainer.encoding import Prepared
from embedtune_trainer.rows.table import Items


class Embedder(nn.Module):
    """Inputs to embeddings.

    Attributes:
        processor: items to inputs.
        frozen: paths of the frozen modules of the backbone's network, see freeze.
        embedding_dim: D.
    """

    def __init__(
        self,
        backbone: Backbone,
        pooling: Pooling,
        layers: Sequence[nn.Module],
        processor: Processor,
        *,
        embedding_dim: int,
        frozen: tuple[str, ...],
        write: Callable[["Embedder", Path], None],
    ) -> None:
        """`write` saves the model in the layout that suits its kind."""
        super().__init__()
        self.backbone = backbone
        self.pooling = pooling
        self.layers = nn.ModuleList(layers)
        self.processor = processor
        self.embedding_dim = embedding_dim
        self.frozen = frozen
        self._write = write

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def train(self, mode: bool = True) -> "Embedder":
        """As nn.Module's, but what is frozen stays in evaluation mode."""
        super().train(mode)
        keep_frozen(self.backbone.network, self.frozen)
        return self

    def forward(self, inputs: Any) -> Tensor:  # noqa: ANN401  what the processor gives
        """A batch's inputs to (B, D) embeddings, float32."""
        x_BD: Tensor = self.pooling(self.backbone(inputs))
        for layer in self.layers:
            x_BD = layer(x_BD)
        return x_BD.float()

    def encode(
        self,
        items: Items,
        batch_size: int = 256,
        stop: Callable[[], bool] = lambda: False,
    ) -> Tensor:
        """(N, D) float32 on the CPU, in the items' order, in evaluation mode.

        Items of like length are encoded together. When `stop` says so, it ends early.

        Raises:
            Interrupted: stop() was true.
        """
        return Prepared(items).encode(self, batch_size, stop)

    def save(self, folder: Path) -> None:
        """Write it into a folder that `load` and, where it can, sentence-transformers reads."""
        folder.mkdir(parents=True, exist_ok=True)
        self._write(self, folder)
