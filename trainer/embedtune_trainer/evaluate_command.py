"""`embedtune evaluate`: how good a model is on data, by the metrics that a job has.

What reads data and networks is imported when it is about to, so that help is quick.
"""

import argparse
import json
import logging
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import TYPE_CHECKING, Any, Final

from embedtune_api.base import InvalidJob
from embedtune_api.contract import ExitCode
from embedtune_api.spec import Data, Storage
from embedtune_trainer.errors import BadSpec
from embedtune_trainer.model_argument import (
    HELP,
    as_uri,
    dataset_of,
    fetch_model,
    open_on_device,
    wanted_of,
)

if TYPE_CHECKING:
    from embedtune_trainer.datafiles import DataFiles
    from embedtune_trainer.evaluation.measures import Measure
DESCRIPTION: Final = """\
Measure a model on data as a job would: each row is searched in the others, or
each of --queries in --index. Rows with the label of the query, or paired with
it, count as relevant; scored pairs are measured by rank correlation."""
EPILOG: Final = """\
examples:
  embedtune evaluate tuned/ test.csv
  embedtune evaluate s3://models/tuned/search/ftj/UID/ --queries q.csv --index i.csv
  embedtune evaluate hf://sentence-transformers/all-MiniLM-L6-v2 test.csv --json"""


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """`evaluate` among the commands."""
    evaluate = commands.add_parser(
        "evaluate",
        help="measure a model on data, as a job does",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    evaluate.add_argument("model", metavar="MODEL", help=HELP)
    evaluate.add_argument("data", metavar="DATA", nargs="?", help="a path or URI of data")
    evaluate.add_argument("--queries", metavar="DATA", help="rows to search with")
    evaluate.add_argument("--index", metavar="DATA", help="rows to search in")
    evaluate.add_argument(
        "--cutoffs",
        type=int,
        nargs="+",
        metavar="K",
        help="the k of precision, recall, hit, f1 and ndcg at k (1 5 10)",
    )
    for option, field in (("--format", "format"), ("--layout", "layout")):
        evaluate.add_argument(option, default="auto", help=f"as spec.data.train.{field} (auto)")
    evaluate.add_argument(
        "--batch-size", type=int, default=256, metavar="N", help="items at a time (256)"
    )
    evaluate.add_argument("--json", action="store_true", help="print JSON, not a table")
    evaluate.set_defaults(action=_evaluate)


def _evaluate(arguments: argparse.Namespace) -> int:
    from embedtune_trainer.datafiles import DataFiles
    from embedtune_trainer.machine import prepare_process
    from embedtune_trainer.sources.storage import RetryPolicy, open_storage

    data = _data(arguments)
    with TemporaryDirectory(prefix="embedtune-") as name:
        scratch = Path(name)
        prepare_process(scratch)
        store = open_storage(Storage(), Event(), RetryPolicy())
        folder = fetch_model(as_uri(arguments.model), store, scratch / "model")
        encoders = open_on_device(folder)
        files = DataFiles(store, scratch / "data", wanted_of(encoders))
        measure = _measure(data, files)
        found = measure.run(encoders, lambda: False)
        told = {name: f"{found[name]:.4f}" for name in measure.metrics}
        count = len(measure)
    if arguments.json:
        sys.stdout.write(json.dumps({"queries": count, "metrics": told}, indent=2) + "\n")
    else:
        _show(told)
    return ExitCode.DONE


def _data(arguments: argparse.Namespace) -> Data:
    """The data as a job would name it.

    Raises:
        BadSpec: not just one of DATA, or --queries with --index; or an option is wrong.
    """
    searched = arguments.queries is not None and arguments.index is not None
    either = arguments.queries is not None or arguments.index is not None
    if (arguments.data is not None) == either or either != searched:
        raise BadSpec("give DATA, or --queries and --index")
    evaluation: dict[str, Any] = {"batchSize": arguments.batch_size}
    if arguments.cutoffs:
        evaluation["cutoffs"] = arguments.cutoffs
    try:
        train = dataset_of(arguments.index if searched else arguments.data, arguments).to_dict()
        if searched:
            queries = dataset_of(arguments.queries, arguments).to_dict()
            evaluation |= {"queries": queries, "index": train}
        else:
            evaluation["uri"] = train["uri"]
        return Data.parse({"train": train, "evaluation": evaluation})
    except InvalidJob as error:
        raise BadSpec(str(error)) from None


def _measure(data: Data, files: "DataFiles") -> "Measure":
    """What a job that trained on nothing would measure on."""
    from embedtune_trainer.evaluation.plan import plan_evaluation

    logger = logging.getLogger("embedtune")
    before = logger.level
    logger.setLevel(logging.ERROR)  # that rows are both trained on and searched is no fault here
    try:
        rows = files.read(data.entries[0][1], "DATA" if data.evaluation.uri else "--index").rows
        _, measure = plan_evaluation(
            data,
            [rows],
            0,
            lambda dataset, _: (
                rows if dataset.uri == rows.source else files.read(dataset, "--queries").rows
            ),
        )
    finally:
        logger.setLevel(before)
    return measure


def _show(metrics: dict[str, str]) -> None:
    """A table like that of a run, the headline first and bold."""
    from rich.console import Console
    from rich.table import Table

    table = Table("metric")
    table.add_column("value", justify="right")
    for number, (name, value) in enumerate(metrics.items()):
        table.add_row(name, value, style="bold" if number == 0 else None)
    Console().print(table)
