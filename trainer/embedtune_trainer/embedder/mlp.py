"""Embeddings of vectors that come as data: mlp://DIM, a projection alone."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from embedtune_api.spec import Encoder
from embedtune_trainer.embedder.assemble import Own, assemble
from embedtune_trainer.embedder.features import Backbone, Feature
from embedtune_trainer.embedder.model import Embedder
from embedtune_trainer.embedder.processor import Indices, Processor
from embedtune_trainer.embedder.saved import write_settings, write_weights
from embedtune_trainer.errors import BadData, BadSpec
from embedtune_trainer.rows.table import Items, Modality, Vectors

SCHEME = "mlp://"


class VectorTable:
    """Prepared vectors.

    Attributes:
        values_ND: float32, in a file that is mapped where they are many.
    """

    def __init__(self, values_ND: NDArray[np.float32]) -> None:
        self.values_ND = values_ND

    def __len__(self) -> int:
        return len(self.values_ND)

    @property
    def lengths_N(self) -> Indices:
        """The same for each."""
        return np.ones(len(self), np.int64)


class VectorProcessor(Processor):
    """Vectors as they are."""

    modality: Modality = "vector"

    def __init__(self, dim: int) -> None:
        self.dim = dim

    def table(self, items: Items) -> VectorTable:
        """Check their dimension.

        Raises:
            BadData: it is another.
        """
        if not isinstance(items, Vectors):
            raise TypeError(f"an encoder of vectors cannot take items that are {items.modality}")
        found = items.values_ND.shape[1]
        if len(items) and found != self.dim:
            raise BadData(
                f"the vectors have {found} numbers, but spec.model.backbone is {SCHEME}{self.dim}"
            )
        return VectorTable(items.values_ND)

    def ready(
        self,
        table: VectorTable,
        indices: Indices,
        variation: int | None = None,  # noqa: ARG002  vectors are not varied
        *,
        pinned: bool = False,
    ) -> Tensor:
        """(B, DIM) float32."""
        x_BD = torch.from_numpy(table.values_ND[indices])
        return x_BD.pin_memory() if pinned else x_BD


class VectorBackbone(Backbone):
    """Nothing: the vectors are the features."""

    def forward(self, inputs: Tensor) -> Feature:
        """(B, DIM) to (B, DIM)."""
        return Feature(self.network(inputs))


def load_mlp_encoder(encoder: Encoder, seed: int) -> Embedder:
    """A projection of vectors, as the spec has it.

    Raises:
        BadSpec: there is no projection, or the spec asks for what vectors cannot have.
    """
    if encoder.projection is None:
        raise BadSpec(
            f"spec.model.projection: is required with {encoder.backbone}, which is nothing else"
        )
    return mlp_embedder(encoder, Own("vector", ()), seed)


def dimension(encoder: Encoder) -> int:
    """Numbers of each vector.

    Raises:
        BadSpec: the spec asks for what vectors cannot have.
    """
    for field, given in (
        ("cut", encoder.cut != "auto"),
        ("freeze", encoder.freeze or encoder.freeze_all_but),
        ("lora", encoder.lora),
    ):
        if given:
            raise BadSpec(f"spec.model.{field}: {SCHEME} has no backbone to which it would apply")
    return int(encoder.backbone.removeprefix(SCHEME))


def mlp_embedder(encoder: Encoder, own: Own, seed: int) -> Embedder:
    """The rest of the way, for a new model and for one that was saved."""
    dim = dimension(encoder)

    def write(embedder: Embedder, folder: Path) -> None:
        write_settings(folder, embedder, {"kind": "mlp", "backbone": f"{SCHEME}{dim}"})
        write_weights(folder, embedder)

    return assemble(
        VectorBackbone(nn.Identity(), dim),
        own,
        encoder,
        seed,
        processor=VectorProcessor(dim),
        write=write,
    )
