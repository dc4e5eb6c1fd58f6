"""torchvision's classification models by name: torchvision://NAME or torchvision://NAME.WEIGHTS."""

import difflib
import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, Final
from urllib.error import URLError

import torch
from torch import Tensor, nn
from torchvision import models  # type: ignore[import-untyped]
from torchvision.models.vision_transformer import (  # type: ignore[import-untyped]
    interpolate_embeddings,
)

from embedtune_trainer.errors import StorageUnavailable, UnsupportedModel
from embedtune_trainer.images.peers import preprocessing_from_torchvision

_DENSE_LAYER: Final = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\..*)$")


def names() -> list[str]:
    """All of them."""
    found: list[str] = models.list_models(module=models)
    return found


class TorchvisionModel:
    """One of them.

    Attributes:
        uri: what the user wrote.
        name: in the library.
        preprocessing: what its weights were made with.
    """

    library: Final = "torchvision"

    def __init__(self, uri: str, weights_name: str | None = None) -> None:
        """`weights_name` is the file name of the user's own weights, if there are any.

        Raises:
            UnsupportedModel: no such model or weights; the message names those that come near.
        """
        self.uri = uri
        self.name, _, chosen = uri.removeprefix("torchvision://").partition(".")
        if self.name not in names():
            near = difflib.get_close_matches(self.name, names(), 3, 0.3)
            raise UnsupportedModel(
                f"torchvision has no classification model {self.name!r}; near it:"
                f" {', '.join(near or names()[:3])}"
            )
        known: Any = models.get_model_weights(self.name)
        if chosen and chosen not in known.__members__:
            raise UnsupportedModel(
                f"torchvision has no weights {chosen!r} of {self.name}, but"
                f" {', '.join(known.__members__)}"
            )
        same_file = [w for w in known if PurePosixPath(w.url).name == weights_name]
        self._weights = known[chosen] if chosen else next(iter(same_file), known.DEFAULT)
        # files of the library were made with inputs that two networks scale themselves
        self._scales_inputs = bool(same_file or chosen or weights_name is None)
        self.preprocessing = preprocessing_from_torchvision(self._weights.transforms())

    def build(self, size: tuple[int, int]) -> nn.Module:
        """The network with random weights.

        Args:
            size: height and width of its images.
        """
        options: dict[str, Any] = {}
        if self.name.startswith("vit_"):
            options["image_size"] = size[0]
        if self.name in ("googlenet", "inception_v3"):
            options |= {"init_weights": False, "transform_input": self._scales_inputs}
        if self.name == "maxvit_t":
            options["input_size"] = size
        network: nn.Module = models.get_model(self.name, weights=None, **options)
        return network

    def own_weights(self) -> Mapping[str, Tensor]:
        """The library's weights, downloaded or from its cache (TORCH_HOME).

        Raises:
            StorageUnavailable: they cannot be downloaded.
        """
        try:
            state: dict[str, Tensor] = torch.hub.load_state_dict_from_url(
                self._weights.url,
                map_location="cpu",
                progress=False,
                check_hash=True,
                weights_only=True,
            )
        except (URLError, OSError) as error:
            raise StorageUnavailable(
                f"{self.uri}: its weights cannot be downloaded from {self._weights.url} ({error});"
                " put the file into your own storage and name it in spec.model.weights"
            ) from error
        return state

    def fitted(self, state: Mapping[str, Tensor], network: nn.Module) -> Mapping[str, Tensor]:
        """A state dict for this network, of an older version of it, or of another image size."""
        if self.name.startswith("densenet"):
            state = {_DENSE_LAYER.sub(_joined, key): value for key, value in state.items()}
        position = state.get("encoder.pos_embedding")
        if isinstance(network, models.VisionTransformer) and position is not None:
            state = interpolate_embeddings(network.image_size, network.patch_size, dict(state))
        return state


def _joined(found: re.Match[str]) -> str:
    """`norm.1.weight` of old checkpoints is `norm1.weight`."""
    return found[1] + found[2]
