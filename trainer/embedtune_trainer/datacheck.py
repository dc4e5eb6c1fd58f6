"""`embedtune data check`: what data files hold, before any GPU is asked for.

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
    from embedtune_trainer.datafiles import DataFiles
    from embedtune_trainer.rows.table import Modality
ITEMS: Final[dict[str, "tuple[Modality, Modality]"]] = {
    "text": ("text", "text"),
    "image": ("image", "image"),
    "vector": ("vector", "vector"),
    "text-image": ("text", "image"),
}
"""Modalities of a row's items, by what the model takes."""
JOB_ENDINGS: Final = (".yaml", ".yml")
TRAIN: Final = "spec.data.train"
EVALUATION: Final = "spec.data.evaluation"


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """`data check` among the commands."""
    data = commands.add_parser("data", help="look at data before training on it")
    actions = data.add_subparsers(required=True, metavar="COMMAND")
    check = actions.add_parser(
        "check",
        help="show what a data file holds, and what is wrong with it",
        description="Show layout, columns, classes, duplicates, lengths, sample rows and problems"
        " of a data file, or of each that a FineTuneJob (.yaml) trains on and is measured on, as a"
        " job would read it. Exit code 65 if a job could not.",
    )
    check.add_argument(
        "file", metavar="FILE", help="a path, a URI that a job takes, or a job's .yaml file"
    )
    check.add_argument(
        "--items",
        choices=sorted(ITEMS),
        default="text",
        help="what the model takes (text); a job says it itself, as the other options",
    )
    for option, field in (("--format", "format"), ("--layout", "layout")):
        check.add_argument(option, default="auto", help=f"as spec.data.train.{field} (auto)")
    check.add_argument("--skip-bad-rows", action="store_true", help="as onBadRow: skip")
    check.add_argument(
        "--s3-root", type=Path, metavar="DIR", help="of a job: see embedtune run --s3-root"
    )
    check.add_argument("--json", action="store_true", help="print JSON, not text")
    check.set_defaults(action=_check)


def _check(arguments: argparse.Namespace) -> int:
    from embedtune_trainer.rows.check import check_trainable
    from embedtune_trainer.rows.summary import render, summarize

    of_job = arguments.file.lower().endswith(JOB_ENDINGS)
    told = {}
    trained_on = []
    with TemporaryDirectory(prefix="embedtune-") as scratch:
        files, datasets = (_job if of_job else _file)(arguments, Path(scratch))
        for place, dataset in datasets.items():
            reading = files.read(dataset, place)
            told[place] = summarize(reading)
            if not arguments.json:
                heading = f"{place}: " if of_job else ""
                sys.stdout.write(heading + render(told[place]) + "\n" * of_job)
                sys.stdout.flush()
            if not place.startswith(EVALUATION):
                trained_on.append(reading.rows)
    if arguments.json:
        shown = {place: summary.to_dict() for place, summary in told.items()}
        shown = shown if of_job else shown[TRAIN]
        sys.stdout.write(json.dumps(shown, indent=2, ensure_ascii=False) + "\n")
        sys.stdout.flush()
    for rows in trained_on:
        check_trainable(rows)
    return ExitCode.DONE


def _file(arguments: argparse.Namespace, scratch: Path) -> "tuple[DataFiles, dict[str, Dataset]]":
    """One file, read as the options say."""
    from embedtune_trainer.datafiles import DataFiles
    from embedtune_trainer.rows.read import Wanted
    from embedtune_trainer.sources.storage import RetryPolicy, open_storage

    file = arguments.file
    dataset = Dataset.parse(
        {
            "uri": file if "://" in file else Path(file).absolute().as_uri(),
            "format": arguments.format,
            "layout": arguments.layout,
            "onBadRow": "skip" if arguments.skip_bad_rows else "fail",
        }
    )
    store = open_storage(Storage(), Event(), RetryPolicy())
    return DataFiles(store, scratch, Wanted(*ITEMS[arguments.items])), {TRAIN: dataset}


def _job(arguments: argparse.Namespace, scratch: Path) -> "tuple[DataFiles, dict[str, Dataset]]":
    """Every data file of a job, by its place in the spec, read as the job says."""
    from embedtune_trainer.datafiles import DataFiles, about
    from embedtune_trainer.jobfile import read_job, with_s3_root
    from embedtune_trainer.modality import wanted_by
    from embedtune_trainer.sources.storage import RetryPolicy, open_storage

    job = read_job(Path(arguments.file))
    if arguments.s3_root is not None:
        job = with_s3_root(job, arguments.s3_root)
    spec, evaluation = job.spec, job.spec.data.evaluation
    store = open_storage(spec.storage, Event(), RetryPolicy())
    with about("spec.model.backbone"):
        wanted = wanted_by(spec.model, store, scratch / "config")
    datasets = dict(spec.data.entries)
    if evaluation.uri is not None:
        datasets[EVALUATION] = spec.data.like_first(evaluation.uri)
    for name, dataset in (("queries", evaluation.queries), ("index", evaluation.index)):
        if dataset is not None:
            datasets[f"{EVALUATION}.{name}"] = dataset
    return DataFiles(store, scratch / "data", wanted), datasets
