"""SigLIP 2's images in their own shape (NaFlex, Tschannen et al. 2025): a grid of patches each.

An image is brought to the most patches that fit, its aspect ratio kept as far as whole patches do,
and the grids of a batch are padded to one length. SigLIP 2's checkpoints of a fixed size are
SigLIPs, and no case for this module.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import isqrt
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers import PreTrainedModel

from embedtune_api.spec import Encoder
from embedtune_trainer.embedder.assemble import Own, assemble
from embedtune_trainer.embedder.features import Backbone, Feature, FeatureKind
from embedtune_trainer.embedder.lora import save_merged
from embedtune_trainer.embedder.model import Embedder
from embedtune_trainer.embedder.processor import Indices
from embedtune_trainer.embedder.saved import (
    SETTINGS,
    own_of,
    read_settings,
    read_weights,
    write_settings,
    write_weights,
)
from embedtune_trainer.embedder.trace import BATCH
from embedtune_trainer.embedder.vision_families import FAMILIES
from embedtune_trainer.errors import BadSpec, UnsupportedModel
from embedtune_trainer.images.peers import PILLOW_CODES
from embedtune_trainer.images.preprocess import normalised
from embedtune_trainer.images.preprocessing import Preprocessing
from embedtune_trainer.images.processor import ImageProcessor, ImageTable

NAFLEX: Final = "siglip2_vision_model"
PREPROCESSOR: Final = "preprocessor_config.json"
STEPS: Final = ("do_resize", "do_rescale", "do_normalize")


@dataclass(frozen=True)
class Patches:
    """A batch of images as patches.

    Attributes:
        values_BNP: the pixels of each patch, row by row and colour by colour.
        mask_BN: 1 where a patch is, 0 where padding is.
        grids_B2: patches from top to bottom and from left to right; on the CPU, which reads them.
    """

    values_BNP: Tensor
    mask_BN: Tensor
    grids_B2: Tensor

    def to(self, device: torch.device) -> "Patches":
        """The same on the device."""
        return Patches(self.values_BNP.to(device), self.mask_BN.to(device), self.grids_B2)


@dataclass(frozen=True)
class PatchLevels:
    """The same with pixels as bytes.

    Attributes:
        levels_BNS3: uint8, the S pixels of each patch row by row.
        mask_BN: see Patches.
        grids_B2: see Patches.
        preprocessing: how levels become numbers.
    """

    levels_BNS3: Tensor
    mask_BN: Tensor
    grids_B2: Tensor
    preprocessing: Preprocessing

    def to(self, device: torch.device) -> Patches:
        """As the backbone takes them, on the device."""
        levels_BNS3 = self.levels_BNS3.to(device, non_blocking=True)
        x_B3NS = normalised(levels_BNS3, self.preprocessing)
        values_BNP = x_B3NS.permute(0, 2, 3, 1).flatten(2)
        return Patches(values_BNP, self.mask_BN.to(device, non_blocking=True), self.grids_B2)


@dataclass(frozen=True)
class Grid:
    """How images become patches.

    Attributes:
        patch: side of one, in pixels.
        most: of an image.
        colours: interpolation, mean and deviation; its size is the square's with the most patches.
    """

    patch: int
    most: int
    colours: Preprocessing

    @classmethod
    def of(cls, patch: int, most: int, colours: Preprocessing) -> "Grid":
        """With the size that belongs to them."""
        side = isqrt(most) * patch
        return cls(patch, most, replace(colours, size=(side, side), resize=None))

    def size(self, height: int, width: int) -> tuple[int, int]:
        """What an image of this height and width is brought to, in pixels."""
        from transformers.models.siglip2.image_processing_pil_siglip2 import (
            get_image_size_for_max_num_patches,
        )

        found: tuple[int, int] = get_image_size_for_max_num_patches(
            height, width, self.patch, self.most
        )
        return found


class PatchProcessor(ImageProcessor):
    """Images to Patches."""

    def __init__(self, grid: Grid) -> None:
        super().__init__(grid.colours)
        self.grid = grid

    def preprocessing_of(self, image: Image.Image) -> Preprocessing:
        """For the image's own shape."""
        size = self.grid.size(image.height, image.width)
        return replace(self.preprocessing, size=size)

    def ready(
        self,
        table: ImageTable,
        indices: Indices,
        variation: int | None = None,
        *,
        pinned: bool = False,
    ) -> PatchLevels:
        """These images' patches, padded to the longest grid of the batch.

        Raises:
            BadData: one of them cannot be decoded; the first in the batch's order is named.
        """
        grids: list[tuple[int, int]] = [(0, 0)] * len(indices)
        rows: list[Any] = [None] * len(indices)

        def place(row: int) -> None:
            image_YX3 = np.asarray(self._image(table, int(indices[row]), variation))
            side = self.grid.patch
            down, across = image_YX3.shape[0] // side, image_YX3.shape[1] // side
            cut = image_YX3.reshape(down, side, across, side, 3).transpose(0, 2, 1, 3, 4)
            grids[row], rows[row] = (down, across), cut.reshape(down * across, side * side, 3)

        for _ in self._pool.map(place, range(len(indices))):
            pass
        longest = max(len(row) for row in rows)
        shape = (len(rows), longest, self.grid.patch**2, 3)
        levels_BNS3 = torch.zeros(shape, dtype=torch.uint8, pin_memory=pinned)
        mask_BN = torch.zeros(shape[:2], dtype=torch.long, pin_memory=pinned)
        for row, patches in enumerate(rows):
            levels_BNS3.numpy()[row, : len(patches)] = patches
            mask_BN[row, : len(patches)] = 1
        return PatchLevels(levels_BNS3, mask_BN, torch.tensor(grids), self.preprocessing)


class NaflexBackbone(Backbone):
    """SigLIP 2's network of images.

    Attributes:
        kind: of the feature.
    """

    network: PreTrainedModel

    def __init__(self, network: PreTrainedModel, kind: FeatureKind) -> None:
        super().__init__(network, int(network.config.hidden_size))
        self.kind = kind

    def forward(self, inputs: Patches) -> Feature:
        """Patches to (B, H), or to (B, N, H) with their mask."""
        out = self.network(
            pixel_values=inputs.values_BNP,
            pixel_attention_mask=inputs.mask_BN,
            spatial_shapes=inputs.grids_B2,
            return_dict=True,
        )
        if self.kind == "vector":
            return Feature(out.pooler_output)
        return Feature(out.last_hidden_state, inputs.mask_BN)


def naflex_embedder(
    network: PreTrainedModel, folder: Path, raw: Mapping[str, Any], encoder: Encoder, seed: int
) -> Embedder:
    """An encoder of images, for a network that is loaded already.

    Args:
        network: SigLIP 2's.
        folder: what embedtune saved beside it, if it did.
        raw: preprocessor_config.json.
        encoder: what the spec says.
        seed: of new layers.

    Raises:
        UnsupportedModel: another preprocessing.
        BadSpec: the spec asks for what this network cannot do.
    """
    refuse_cut(encoder)
    grid = _grid(network, folder, raw, encoder)
    pooled = encoder.pooling in ("auto", "none")
    kind: FeatureKind = "vector" if pooled else FAMILIES[NAFLEX].raw
    own = Own(kind, (), class_token=False)
    if (folder / SETTINGS).exists():
        settings = read_settings(folder)
        kind = settings["feature"] if pooled else kind
        own = own_of(settings, read_weights(folder, network=False)["layers"], kind, cls=False)
    if kind != "vector":
        network.get_submodule("head").requires_grad_(False)

    def write(embedder: Embedder, target: Path) -> None:
        save_merged(network, target)
        content = json.dumps({**raw, "max_num_patches": grid.most}, indent=2)
        (target / PREPROCESSOR).write_text(content + "\n", encoding="utf-8")
        described = {
            "kind": "hub-vision",
            "feature": kind,
            "preprocessing": grid.colours.to_dict(),
        }
        write_settings(target, embedder, described)
        write_weights(target, embedder, network=False)

    backbone = NaflexBackbone(network, kind)
    return assemble(backbone, own, encoder, seed, processor=PatchProcessor(grid), write=write)


def refuse_cut(encoder: Encoder) -> None:
    """Refuse a cut.

    Raises:
        BadSpec: the spec has one.
    """
    if encoder.cut != "auto":
        raise BadSpec("spec.model.cut: a SigLIP 2 for images of any shape has its own; use auto")


def probe(network: PreTrainedModel) -> dict[str, Any]:
    """Inputs for a trace: BATCH images with as many patches as the network has positions."""
    config: Any = network.config
    side = isqrt(config.num_patches)
    width = config.num_channels * config.patch_size**2
    return {
        "pixel_values": torch.empty(BATCH, side * side, width, device=network.device),
        "pixel_attention_mask": None,
        "spatial_shapes": torch.full((BATCH, 2), side, device="cpu"),
    }


def _grid(network: PreTrainedModel, folder: Path, raw: Mapping[str, Any], encoder: Encoder) -> Grid:
    from transformers import Siglip2ImageProcessor

    made: Any = Siglip2ImageProcessor
    try:
        known: dict[str, Any] = made(**raw).to_dict()
    except (TypeError, ValueError) as error:
        raise UnsupportedModel(f"{folder.name}/{PREPROCESSOR}: {error}") from error
    patch, most = int(network.config.patch_size), int(known["max_num_patches"])
    off = [name for name in STEPS if not known[name]]
    if off or known["patch_size"] != patch or abs(255 * known["rescale_factor"] - 1) > 1e-6:
        raise UnsupportedModel(
            f"{folder.name}/{PREPROCESSOR}: is not that of a SigLIP 2 with patches of {patch}"
            " pixels"
        )
    if encoder.image_size is not None:
        most = (encoder.image_size // patch) ** 2
        if not most:
            raise BadSpec(
                f"spec.model.imageSize: {encoder.image_size} is less than a patch of {patch} pixels"
            )
    mean, std = known["image_mean"], known["image_std"]
    colours = Preprocessing(
        interpolation=PILLOW_CODES[int(known["resample"])],
        mean=(float(mean[0]), float(mean[1]), float(mean[2])),
        std=(float(std[0]), float(std[1]), float(std[2])),
    )
    return Grid.of(patch, most, colours)
