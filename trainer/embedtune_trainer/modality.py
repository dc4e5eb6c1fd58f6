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
_OF_KIND: dict[str, Modality] = {"vision": "image", "hub-cut": "image", "mlp": "vector"}
CONFIG = "config.json"
"""transformers', if it has a model_type; other libraries have files of that name, too."""
SETTINGS = (CONFIG, "embedtune.json", "pair.json", "open_clip_config.json")
"""What describes a model: transformers' file, or that of embedtune or open_clip without it."""
_OF_BOTH = ({"text_config", "vision_config"}, {"text", "image"}, {"model_cfg"})
"""Keys of those that say of a model that it takes texts and images."""
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
    wanted = found if model.task == "auto" else _TASKS[model.task]
    if model.backbone is not None and found == _PAIR:
        return wanted  # one of its encoders can be had alone
    if wanted != found:
        raise BadSpec(
            f"spec.model.task: {model.task}, but the model takes"
            f" {' and '.join(dict.fromkeys(found))}; leave task at auto, or take another backbone"
        )
    return found


def _of_config(config: dict[str, Any]) -> Wanted:
    if any(keys <= config.keys() for keys in _OF_BOTH):
        return _PAIR
    kind = _OF_KIND.get(config.get("kind", ""))
    if kind is None:
        kind = "image" if {"num_channels", "image_size"} & config.keys() else "text"
    return Wanted(kind, kind)


def _config(uri: str, store: Store, scratch: Path) -> dict[str, Any]:
    """What a model's folder says of itself; empty if it does not, as some folders of texts."""
    if uri.startswith("hf://"):  # comes whole, by its commit
        folder = store.fetch_folder(uri, scratch)
        return next((found for name in SETTINGS if (found := _read(folder / name))), {})
    for name in SETTINGS:
        try:
            found = _read(store.fetch_file(f"{uri.rstrip('/')}/{name}", scratch / name))
        except SourceNotFound:
            continue
        if found:
            return found
    return {}


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}  # what is wrong with it is said when the model is loaded
    known = isinstance(found, dict) and (path.name != CONFIG or "model_type" in found)
    return found if known else {}
