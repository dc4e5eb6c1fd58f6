"""timm's models by name: timm://NAME or timm://NAME.TAG."""

import difflib
import importlib
from collections.abc import Mapping
from typing import Any, Final, cast

import timm
import torch
from timm.models import load_state_dict_from_hf
from torch import Tensor, nn

from embedtune_trainer.errors import StorageUnavailable, UnsupportedModel
from embedtune_trainer.images.peers import preprocessing_from_timm


class TimmModel:
    """One of them.

    Attributes:
        uri: what the user wrote.
        name: in the library, with its tag.
        preprocessing: what its weights were made with.
    """

    library: Final = "timm"

    def __init__(self, uri: str, weights_name: str | None = None) -> None:  # noqa: ARG002  as the other library's
        """Look it up.

        Raises:
            UnsupportedModel: no such model; the message names those that come near.
        """
        self.uri = uri
        self.name = uri.removeprefix("timm://")
        architecture, _, tag = self.name.partition(".")
        if not timm.is_model(architecture):
            near = difflib.get_close_matches(architecture, timm.list_models(), 3, 0.3)
            raise UnsupportedModel(
                f"timm has no model {architecture!r}; near it: {', '.join(near) or 'none'}"
            )
        try:
            found = timm.get_pretrained_cfg(self.name, allow_unregistered=False)
        except RuntimeError:
            tags = timm.list_pretrained(f"{architecture}.*") or timm.list_pretrained(architecture)
            raise UnsupportedModel(
                f"timm has no weights {tag!r} of {architecture}, but {', '.join(tags) or 'none'}"
            ) from None
        self._config: Any = cast("Any", found)
        self.preprocessing = preprocessing_from_timm(self._config.to_dict())

    def build(self, size: tuple[int, int]) -> nn.Module:
        """The network with random weights.

        Args:
            size: height and width of its images.
        """
        other = self._config.fixed_input_size and size != self.preprocessing.size
        options: dict[str, Any] = {"img_size": size} if other else {}
        network: nn.Module = timm.create_model(self.name, pretrained=False, **options)
        return network

    def own_weights(self) -> Mapping[str, Tensor]:
        """The library's weights from the Hugging Face hub, or its cache.

        Raises:
            UnsupportedModel: the library has none.
            StorageUnavailable: they cannot be downloaded.
        """
        if not self._config.hf_hub_id:
            raise UnsupportedModel(
                f"{self.uri}: timm has no weights of it on the Hugging Face hub; name a state dict"
                " in spec.model.weights"
            )
        place = self._config.hf_hub_id
        try:
            return cast("dict[str, Tensor]", load_state_dict_from_hf(place, weights_only=True))
        except (OSError, RuntimeError) as error:
            reason = str(error).strip().splitlines()[0]
            raise StorageUnavailable(
                f"{self.uri}: its weights cannot be downloaded from hf://{place} ({reason}); put"
                " the file into your own storage and name it in spec.model.weights"
            ) from error

    def fitted(self, state: Mapping[str, Tensor], network: nn.Module) -> Mapping[str, Tensor]:
        """A state dict for this network, of its original code, or of another image size."""
        code = importlib.import_module(type(network).__module__)
        convert = getattr(code, "checkpoint_filter_fn", None)
        if convert is None or _shapes(state) == _shapes(network.state_dict()):
            return state
        return cast("dict[str, Tensor]", convert(dict(state), network))


def _shapes(state: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in state.items()}
