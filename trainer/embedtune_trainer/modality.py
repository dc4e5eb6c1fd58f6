"""What a model takes, told from its spec and its config.json before anything large is fetched."""

import json
from pathlib import Path
from typing import Any

from embedtune_api.spec import Model
from embedtune_trainer.errors import BadSpec, SourceNotFound
from embedtune_trainer.rows.layout import Wanted
from embedtune_trainer.rows.table import Modality
from embedtune_trainer.sources.storage import Store

_OF_SCHEME: dict[str, Modality] = {"torchvision": "image", "timm": "image", "mlp": "vector"}
_PAIR = Wanted("text", "image")
_TASKS = {
    "text-to-text": Wanted("text", "text"),
    "image-to-image": Wanted("image", "image"),
    "text-to-image": _PAIR,
}


def wanted_by(model: Model, store: Store, scratch: Path) -> Wanted:
    """The modalities of the rows' left and right items.

    Args:
        model: spec.model.
        store: where a folder's config.json is read from.
        scratch: where it is downloaded to.

    Raises:
        BadSpec: spec.model.task is not what the backbone is for.
    """
    if model.backbone is None:
        found = _PAIR
    else:
        modality = _OF_SCHEME.get(model.backbone.partition("://")[0])
        found = (
            Wanted(modality, modality)
            if modality is not None
            else _of_config(_config(model.backbone, store, scratch))
        )
    if model.task != "auto" and _TASKS[model.task] != found:
        raise BadSpec(
            f"spec.model.task: {model.task}, but the model takes"
            f" {' and '.join(dict.fromkeys(found))}; leave task at auto, or take another backbone"
        )
    return found


def _of_config(config: dict[str, Any]) -> Wanted:
    if {"text_config", "vision_config"} <= config.keys():
        return _PAIR
    is_vision = "num_channels" in config or "image_size" in config or "preprocessing" in config
    return Wanted("image", "image") if is_vision else Wanted("text", "text")


def _config(uri: str, store: Store, scratch: Path) -> dict[str, Any]:
    """config.json of a model's folder; empty if there is none, as in some folders of texts."""
    try:
        if uri.startswith("hf://"):  # comes whole, by its commit
            path = store.fetch_folder(uri, scratch) / "config.json"
        else:
            path = store.fetch_file(f"{uri.rstrip('/')}/config.json", scratch / "config.json")
        found = json.loads(path.read_bytes())
    except (SourceNotFound, OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
