"""From what was fetched to a model that can be trained: which kind of backbone it is, and how."""

from embedtune_api.spec import Encoder
from embedtune_trainer.embedder.model import Embedder
from embedtune_trainer.errors import BadSpec
from embedtune_trainer.sources.fetch import Fetched

__all__ = ["Fetched", "load_encoder"]

NOTHING_LEFT = (
    "spec.model.freeze: nothing is left to train; freeze less, or add spec.model.projection"
)


def load_encoder(fetched: Fetched, encoder: Encoder, seed: int) -> Embedder:
    """One encoder as the spec asks, in evaluation mode.

    Raises:
        UnsupportedModel: the backbone cannot be loaded.
        BadSpec: the spec asks for what this model cannot do, or leaves nothing to train.
    """
    from embedtune_trainer.embedder.text import load_text_encoder

    if fetched.folder is None:
        raise BadSpec(f"spec.model.backbone: {fetched.uri} cannot be loaded")
    embedder = load_text_encoder(fetched.folder, encoder, seed)
    if not any(parameter.requires_grad for parameter in embedder.parameters()):
        raise BadSpec(NOTHING_LEFT)
    return embedder
