"""`embedtune evaluate`: how good a model is on data, by the metrics that a job has.

What reads data and networks is imported when it is about to, so that help is quick.
"""

import argparse
import json
import sys
from typing import Any, Final

from embedtune_api.base import InvalidJob
from embedtune_api.contract import ExitCode
from embedtune_api.evaluation import Evaluation
from embedtune_api.spec import Dataset
from embedtune_trainer.errors import BadSpec
from embedtune_trainer.model_argument import (
    HELP,
    dataset_of,
    model_at_hand,
    open_on_device,
    wanted_of,
)

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
    from embedtune_trainer.evaluation.plan import measure_on

    searched_with, searched_in, evaluation = _asked(arguments)
    with model_at_hand(arguments.model) as (folder, store, scratch):
        encoders = open_on_device(folder)
        files = DataFiles(store, scratch / "data", wanted_of(encoders))
        queries = files.read(searched_with, "DATA" if searched_in is None else "--queries").rows
        index = None if searched_in is None else files.read(searched_in, "--index").rows
        measure = measure_on(queries, index, evaluation, seed=0)
        found = measure.run(encoders, lambda: False)
        told = {name: f"{found[name]:.4f}" for name in measure.metrics}
        count = len(measure)
    if arguments.json:
        sys.stdout.write(json.dumps({"queries": count, "metrics": told}, indent=2) + "\n")
    else:
        _show(told)
    return ExitCode.DONE


def _asked(arguments: argparse.Namespace) -> tuple[Dataset, Dataset | None, Evaluation]:
    """What to search with, what to search in if that is other rows, and how to measure.

    Raises:
        BadSpec: not just one of DATA, or --queries with --index; or an option is wrong.
    """
    pair = arguments.queries, arguments.index
    given = [one for one in (arguments.data, *pair) if one is not None]
    if len(given) != (1 if arguments.data is not None else 2):
        raise BadSpec("give DATA, or --queries and --index")
    options: dict[str, Any] = {"batchSize": arguments.batch_size}
    if arguments.cutoffs:
        options["cutoffs"] = arguments.cutoffs
    try:
        first, *more = (dataset_of(one, arguments) for one in given)
        return first, more[0] if more else None, Evaluation.parse(options)
    except InvalidJob as error:
        raise BadSpec(str(error)) from None


def _show(metrics: dict[str, str]) -> None:
    """A table like that of a run, the headline first and bold."""
    from rich.console import Console
    from rich.table import Table

    table = Table("metric")
    table.add_column("value", justify="right")
    for number, (name, value) in enumerate(metrics.items()):
        table.add_row(name, value, style="bold" if number == 0 else None)
    Console().print(table)
