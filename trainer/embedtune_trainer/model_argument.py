"""The argument MODEL of commands that use a finished model, and what is behind it.

Nothing heavy is imported before it is asked for, so that help is quick.
"""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import TYPE_CHECKING, Final, NamedTuple

from embedtune_api.contract import MANIFEST
from embedtune_api.spec import Dataset, Storage

if TYPE_CHECKING:
    from embedtune_trainer.embedder.encoders import Encoders
    from embedtune_trainer.rows.layout import Wanted
    from embedtune_trainer.sources.storage import Store

HELP: Final = "a model's folder, or its URI (s3://, file://, hf://)"


def as_uri(given: str) -> str:
    """A path on this machine as a URI; a URI as it is."""
    return given if "://" in given else Path(given).absolute().as_uri()


def dataset_of(given: str, arguments: argparse.Namespace) -> Dataset:
    """A data file as the options say.

    Raises:
        InvalidJob: an option is wrong.
    """
    return Dataset.parse(
        {"uri": as_uri(given), "format": arguments.format, "layout": arguments.layout}
    )


class AtHand(NamedTuple):
    """What a command works with.

    Attributes:
        folder: the model's.
        store: where other URIs are.
        scratch: a folder for what is fetched.
    """

    folder: Path
    store: "Store"
    scratch: Path


@contextmanager
def model_at_hand(given: str) -> Iterator[AtHand]:
    """The argument's model on this machine, in a process that is ready to compute.

    One that comes from elsewhere is checked by its manifest; what was fetched is gone afterwards.

    Raises:
        UnsupportedModel: a file of it is not what its manifest says.
        TrainerError: see Store.
    """
    from embedtune_trainer.artifact import verify
    from embedtune_trainer.machine import prepare_process
    from embedtune_trainer.sources.storage import RetryPolicy, open_storage

    uri = as_uri(given)
    with TemporaryDirectory(prefix="embedtune-") as name:
        scratch = Path(name)
        prepare_process(scratch)
        store = open_storage(Storage(), Event(), RetryPolicy())
        folder = store.fetch_folder(uri, scratch / "model")
        if not uri.startswith("file://") and (folder / MANIFEST).exists():
            verify(folder)
        yield AtHand(folder, store, scratch)


def open_on_device(folder: Path) -> "Encoders":
    """A model on the GPU, if there is one.

    Raises:
        UnsupportedModel: the folder cannot be loaded.
    """
    import torch

    from embedtune_trainer.embedder.opened import open_encoders
    from embedtune_trainer.machine import keep_kernels

    encoders = open_encoders(folder)
    keep_kernels(wanted_of(encoders))
    if torch.cuda.is_available():
        encoders.module.to("cuda")
    return encoders


def wanted_of(encoders: "Encoders") -> "Wanted":
    """The modalities that the model takes."""
    from embedtune_trainer.rows.layout import Wanted

    return Wanted(encoders.left.processor.modality, encoders.right.processor.modality)
