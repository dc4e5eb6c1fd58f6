"""A CLIP or SigLIP checkpoint as transformers has it, out of two encoders that were tuned."""

from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn

from embedtune_api.spec import Encoder
from embedtune_trainer.embedder.clip import ClipParts
from embedtune_trainer.embedder.hub_vision import PREPROCESSOR, PROCESSOR
from embedtune_trainer.embedder.layers import Dense
from embedtune_trainer.embedder.layout import TOKENIZER_FILES
from embedtune_trainer.embedder.lora import merged_state_dict
from embedtune_trainer.embedder.model import Embedder


class Tuned(Protocol):
    """What of a pair is wanted here."""

    text: Embedder
    image: Embedder
    log_scale: nn.Parameter
    bias: nn.Parameter | None


def can_be_whole(encoder: Encoder) -> bool:
    """Whether two encoders as the spec has them still fit into the checkpoint's layout."""
    return encoder.projection is None and encoder.image_size is None


class WholeClip:
    """Writes the checkpoint that two encoders came from with what they learnt."""

    def __init__(self, parts: ClipParts) -> None:
        self._whole = parts.whole
        names = (*TOKENIZER_FILES, PREPROCESSOR, PROCESSOR)
        folder = parts.folder
        self._files = {n: (folder / n).read_bytes() for n in names if (folder / n).is_file()}

    def __call__(self, pair: Tuned, folder: Path) -> None:
        """Weights, configuration, tokenizer and preprocessing."""
        state: dict[str, Tensor] = {
            **_under("text_model", merged_state_dict(pair.text.backbone.network)),
            **_under("vision_model", merged_state_dict(pair.image.backbone.network)),
            **_projection("text_projection", pair.text),
            **_projection("visual_projection", pair.image),
            "logit_scale": pair.log_scale.detach().reshape(self._whole.logit_scale.shape),
        }
        if pair.bias is not None:
            state["logit_bias"] = pair.bias.detach().reshape(self._whole.logit_bias.shape)
        whole: Any = self._whole
        whole.save_pretrained(str(folder), state_dict=state, safe_serialization=True)
        for name, content in self._files.items():
            (folder / name).write_bytes(content)


def _under(name: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{name}.{key}": tensor for key, tensor in state.items()}


def _projection(name: str, embedder: Embedder) -> dict[str, Tensor]:
    """Of CLIP; SigLIP has it inside of its networks."""
    dense = next((layer for layer in embedder.layers if isinstance(layer, Dense)), None)
    return {} if dense is None else {f"{name}.weight": dense.linear.weight.detach()}
