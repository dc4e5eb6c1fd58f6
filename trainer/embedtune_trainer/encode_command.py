"""`embedtune encode`: the embeddings of a data file's items, into a file.

What reads data and networks is imported when it is about to, so that help is quick.
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from embedtune_api.contract import ExitCode
from embedtune_trainer.errors import BadSpec
from embedtune_trainer.model_argument import HELP, dataset_of, model_at_hand, open_on_device

if TYPE_CHECKING:
    from collections.abc import Iterator

    from embedtune_trainer.embedder.encoders import Encoders
    from embedtune_trainer.embedder.model import Embedder
    from embedtune_trainer.embeddings_file import Part
    from embedtune_trainer.rows.table import Items
AT_A_TIME: Final = 8192
"""Items that are encoded and written at a time; those of like length go together."""
DESCRIPTION: Final = """\
Encode the texts, images or vectors of a data file with a model, and write
their embeddings, one a row and in the file's order.

The name of --out says the format: .npy holds an array of float32, .parquet and
.jsonl hold row (from 0), item (the text, or the image's name) and embedding."""
EPILOG: Final = """\
examples:
  embedtune encode tuned/ queries.csv --out queries.npy
  embedtune encode s3://models/tuned/search/ftj/UID/ rows.parquet --column body \\
    --out rows.parquet
  embedtune encode clip/ photos/ --side image --out photos.jsonl"""


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """`encode` among the commands."""
    encode = commands.add_parser(
        "encode",
        help="encode a data file's items with a model",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    encode.add_argument("model", metavar="MODEL", help=HELP)
    encode.add_argument("file", metavar="FILE", help="a path or URI of data, or a folder of images")
    encode.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="where to: .npy, .parquet, .jsonl"
    )
    encode.add_argument(
        "--side", choices=("text", "image"), help="which encoder, of a model that has both"
    )
    encode.add_argument(
        "--column",
        metavar="NAME",
        help="the column to encode; its number from 1 in a file without a header (default: the"
        " one with a usual name, as text, query, image)",
    )
    encode.add_argument("--format", default="auto", help="as spec.data.train.format (auto)")
    encode.add_argument(
        "--batch-size", type=int, default=256, metavar="N", help="items at a time (256)"
    )
    encode.set_defaults(action=_encode, layout="auto")


def _encode(arguments: argparse.Namespace) -> int:
    from embedtune_trainer.embeddings_file import check_name, write_embeddings

    if arguments.batch_size < 1:
        raise BadSpec(f"--batch-size: {arguments.batch_size} is less than 1")
    dataset = dataset_of(arguments.file, arguments)
    check_name(arguments.out)
    with model_at_hand(arguments.model) as (folder, store, scratch):
        from embedtune_trainer.rows.images import ImageFetcher
        from embedtune_trainer.rows.items import read_items
        from embedtune_trainer.sources.fetch import fetch_dataset

        path = fetch_dataset(store, dataset.uri, scratch / "data")
        embedder = _side(open_on_device(folder), arguments.side, arguments.model)
        images = ImageFetcher(scratch / "images", store)
        kind = embedder.processor.modality
        items = read_items(path, dataset, kind, arguments.column, images, scratch)
        parts = _parts(embedder, items, arguments.batch_size)
        write_embeddings(arguments.out, len(items), embedder.embedding_dim, parts)
    sys.stdout.write(
        f"{arguments.out}: {len(items)} embeddings of {embedder.embedding_dim} dimensions\n"
    )
    return ExitCode.DONE


def _side(encoders: "Encoders", side: str | None, model: str) -> "Embedder":
    """The encoder that is meant.

    Raises:
        BadSpec: there are two, or another one is asked for.
    """
    if encoders.left is encoders.right:
        has = encoders.left.processor.modality
        if side not in (None, has):
            raise BadSpec(f"--side: {model} encodes {has}s, not {side}s; leave --side out")
        return encoders.left
    if side is None:
        raise BadSpec(f"--side: {model} encodes texts and images; say --side text or --side image")
    return encoders.left if side == "text" else encoders.right


def _parts(embedder: "Embedder", items: "Items", batch_size: int) -> "Iterator[Part]":
    """Names and embeddings of the items, some at a time."""
    from embedtune_trainer.rows.table import Images, Texts

    for begin in range(0, len(items), AT_A_TIME):
        some = items.take(range(begin, min(begin + AT_A_TIME, len(items))))
        names = None
        if isinstance(some, Texts):
            names = list(some.values)
        elif isinstance(some, Images):
            names = list(some.names)
        yield names, embedder.encode(some, batch_size).numpy()
