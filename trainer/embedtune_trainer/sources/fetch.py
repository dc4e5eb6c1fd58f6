"""What the spec names, brought to this machine: backbones, and data files and folders.

This imports nothing heavy: data is fetched and read before torch is imported.
"""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from embedtune_api.spec import Encoder
from embedtune_trainer.errors import BadSpec, SourceNotFound
from embedtune_trainer.sources.hub import revision_of
from embedtune_trainer.sources.storage import Store

LIBRARIES = ("torchvision", "timm")
"""Schemes that name a network of a library; its weights may lie elsewhere."""
DESCRIPTION = frozenset(
    (
        "config.json",
        "modules.json",
        "config_sentence_transformers.json",
        "sentence_bert_config.json",
        "preprocessor_config.json",
        "processor_config.json",
        "embedtune.json",
        "pair.json",
        "open_clip_config.json",
    )
)
"""Files of a model's folder that say what it is; all are small."""


@dataclass(frozen=True)
class Fetched:
    """A backbone on this machine.

    Attributes:
        uri: what the user wrote.
        folder: its files, for folders of models.
        weights: a state dict, for torchvision:// and timm://.
        revision: the commit that a hub resolved it to.
    """

    uri: str
    folder: Path | None = None
    weights: Path | None = None
    revision: str | None = None


def fetch_backbone(store: Store, encoder: Encoder, folder: Path) -> Fetched:
    """Fetch a backbone's folder, or the weights for a library's network.

    Args:
        store: where URIs are.
        encoder: what names the backbone.
        folder: where downloads go; what lies on this machine already is used there.

    Returns:
        What was fetched; of torchvision://, timm:// and mlp:// only what `weights` names.

    Raises:
        BadSpec: weights are given for a backbone that brings its own.
        TrainerError: see Store.
    """
    uri = encoder.backbone
    scheme = uri.partition("://")[0]
    if encoder.weights is not None:
        if scheme not in LIBRARIES:
            raise BadSpec(
                f"spec.model.weights: is for torchvision:// and timm://; {uri} has its own weights"
            )
        name = PurePosixPath(encoder.weights).name or "weights"
        return Fetched(uri, weights=store.fetch_file(encoder.weights, folder / name))
    if scheme in (*LIBRARIES, "mlp"):
        return Fetched(uri)
    path = store.fetch_folder(uri, folder)
    return Fetched(uri, folder=path, revision=revision_of(path) if scheme == "hf" else None)


def fetch_description(
    store: Store, encoder: Encoder, folder: Path, also: Collection[str] = ()
) -> Fetched:
    """Fetch what says what a backbone is, and no weights.

    Args:
        store: where URIs are.
        encoder: what names the backbone.
        folder: where downloads go; what lies on this machine already is used there.
        also: names of other files that are wanted, if they are there.

    Returns:
        A folder in which there may be no weights; none for torchvision://, timm:// and mlp://.

    Raises:
        TrainerError: see Store.
    """
    uri = encoder.backbone
    if uri.partition("://")[0] in (*LIBRARIES, "mlp"):
        return Fetched(uri)
    return Fetched(uri, folder=store.fetch_folder(uri, folder, DESCRIPTION.union(also)))


def fetch_dataset(store: Store, uri: str, target: Path) -> Path:
    """Fetch data, whether the URI names a file or a folder.

    Args:
        store: where URIs are.
        uri: s3://, pvc://, hf://datasets/OWNER/NAME[@REVISION][/PATH] or file://; with a slash at
            its end it is a folder.
        target: where a download goes.

    Returns:
        The file or the folder.

    Raises:
        SourceNotFound: neither is there.
        TrainerError: see Store.
    """
    if uri.endswith("/"):
        return store.fetch_folder(uri, target)
    try:
        return store.fetch_file(uri, target)
    except SourceNotFound as error:
        no_file = error
    try:
        return store.fetch_folder(uri, target)
    except SourceNotFound:
        raise no_file from None
