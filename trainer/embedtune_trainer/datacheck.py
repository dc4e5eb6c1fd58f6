"""`embedtune data check`: what a data file holds, before any GPU is asked for.

What reads data is imported when it is about to be read, so that help is quick.
"""

import argparse
import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import TYPE_CHECKING, Final

from embedtune_api.contract import ExitCode
from embedtune_api.spec import Dataset, Storage

if TYPE_CHECKING:
    from embedtune_trainer.rows.table import Modality
ITEMS: Final[dict[str, "tuple[Modality, Modality]"]] = {
    "text": ("text", "text"),
    "image": ("image", "image"),
    "vector": ("vector", "vector"),
    "text-image": ("text", "image"),
}
"""Modalities of a row's items, by what the model takes."""


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """`data check` among the commands."""
    data = commands.add_parser("data", help="look at data before training on it")
    actions = data.add_subparsers(required=True, metavar="COMMAND")
    check = actions.add_parser(
        "check",
        help="show what a data file holds, and what is wrong with it",
        description="Show layout, columns, classes, duplicates, lengths, sample rows and problems"
        " of a data file, as a job would read it. Exit code 65 if a job could not.",
    )
    check.add_argument("file", metavar="FILE", help="a path, or a URI that a job takes")
    check.add_argument(
        "--items", choices=sorted(ITEMS), default="text", help="what the model takes (text)"
    )
    for option, field in (("--format", "format"), ("--layout", "layout")):
        check.add_argument(option, default="auto", help=f"as spec.data.train.{field} (auto)")
    check.add_argument("--skip-bad-rows", action="store_true", help="as onBadRow: skip")
    check.add_argument("--json", action="store_true", help="print JSON, not text")
    check.set_defaults(action=_check)


def _check(arguments: argparse.Namespace) -> int:
    from embedtune_trainer.rows.check import check_trainable
    from embedtune_trainer.rows.read import ImageFetcher, Wanted, read
    from embedtune_trainer.rows.summary import render, summarize
    from embedtune_trainer.sources.fetch import fetch_dataset
    from embedtune_trainer.sources.storage import RetryPolicy, open_storage

    dataset = Dataset.parse(
        {
            "uri": _uri(arguments.file),
            "format": arguments.format,
            "layout": arguments.layout,
            "onBadRow": "skip" if arguments.skip_bad_rows else "fail",
        }
    )
    with TemporaryDirectory(prefix="embedtune-") as scratch:
        store = open_storage(Storage(), Event(), RetryPolicy())
        path = fetch_dataset(store, dataset.uri, Path(scratch) / "data")
        images = ImageFetcher(Path(scratch) / "images", store)
        reading = read(path, dataset, Wanted(*ITEMS[arguments.items]), fetch=images)
    summary = summarize(reading)
    as_json = json.dumps(summary.to_dict(), indent=2, ensure_ascii=False) + "\n"
    sys.stdout.write(as_json if arguments.json else render(summary))
    sys.stdout.flush()
    check_trainable(reading.rows)
    return ExitCode.DONE


def _uri(file: str) -> str:
    return file if "://" in file else Path(file).absolute().as_uri()
