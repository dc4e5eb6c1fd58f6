"""What someone who runs a graph has to know of it, for onnx.json."""

from collections.abc import Sequence
from typing import Any

from embedtune_trainer.embedder.model import Embedder
from embedtune_trainer.embedder.siglip import FullLengthTokenizer
from embedtune_trainer.embedder.tokens import TextTokenizer
from embedtune_trainer.export.graph import OUTPUT
from embedtune_trainer.images.processor import ImageProcessor

_INT, _FLOAT = "int64", "float32"


def describe(embedder: Embedder, files: Sequence[str]) -> dict[str, Any]:
    """One encoder's graphs.

    Args:
        embedder: that they were made of.
        files: their paths beside onnx.json.

    Returns:
        Its inputs by name with type and shape (a word stands for what varies), how items become
        inputs, and the output.
    """
    processor = embedder.processor
    told: dict[str, Any] = {"files": list(files), "modality": processor.modality}
    if isinstance(processor, TextTokenizer):
        full = isinstance(processor, FullLengthTokenizer)
        shape = ["batch", processor.max_length if full else "length"]
        names = ("input_ids",) if full else ("input_ids", "attention_mask")
        told["inputs"] = {name: {"type": _INT, "shape": shape} for name in names}
        told["preparation"] = {
            "max_length": processor.max_length,
            "prompt": processor.prompt,
            "padding": "max_length" if full else "longest",
        }
    elif isinstance(processor, ImageProcessor):
        how = processor.preprocessing
        shape = ["batch", 3, *how.size]
        told["inputs"] = {"pixel_values": {"type": _FLOAT, "shape": shape}}
        told["preparation"] = how.to_dict()
    else:
        shape = ["batch", embedder.backbone.feature_dim]
        told["inputs"] = {"vectors": {"type": _FLOAT, "shape": shape}}
    told["output"] = {OUTPUT: {"type": _FLOAT, "shape": ["batch", embedder.embedding_dim]}}
    return told
