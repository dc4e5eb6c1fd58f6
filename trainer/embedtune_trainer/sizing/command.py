"""`embedtune size`: what a job needs, before it runs.

A pod of the operator does the same ahead of the training's, where spec.resources leaves something
out; what it finds goes into its termination message, as contract.SizeResult.
"""

import argparse
import logging
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import Final

from embedtune_api.contract import ExitCode, Failure, SizeResult
from embedtune_trainer.errors import UnsupportedModel
from embedtune_trainer.failures import ending_of
from embedtune_trainer.jobfile import read_job, with_s3_root

DESCRIPTION: Final = """\
Say what a FineTuneJob needs: GPUs and their memory, CPU, memory,
/dev/shm and disk, each with its reasons. No weights are fetched and nothing is trained: the
backbone is looked at by its configuration, and some rows of the data are read.

On a cluster this happens by itself where spec.resources leaves something out."""


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """`size` among the commands."""
    size = commands.add_parser(
        "size",
        help="estimate the resources that a job needs",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    size.add_argument("file", type=Path, metavar="FILE", help="YAML or JSON file with one job")
    size.add_argument(
        "--gpus", type=int, default=0, help="GPUs of a job that names none (default 0)"
    )
    size.add_argument("--s3-root", type=Path, metavar="DIR", help="see embedtune run --s3-root")
    size.add_argument("--json", action="store_true", help="print the result as JSON")
    size.add_argument(
        "--termination-log", type=Path, metavar="FILE", help="also leave the result in this file"
    )
    size.set_defaults(action=_size)


def _size(arguments: argparse.Namespace) -> int:
    try:
        result = _result(arguments)
    except Exception as error:
        ending = ending_of(error)
        _leave(SizeResult(failure=Failure(reason=ending.reason, message=ending.message)), arguments)
        raise
    _leave(result, arguments)
    if arguments.json:
        sys.stdout.write(result.model_dump_json(by_alias=True, exclude_none=True) + "\n")
    else:
        sys.stdout.write(_text(result))
    sys.stdout.flush()
    return ExitCode.DONE


def _result(arguments: argparse.Namespace) -> SizeResult:
    """The estimate; a backbone of which nothing can be said is for the training to judge."""
    from embedtune_trainer.machine import prepare_process
    from embedtune_trainer.sources.storage import RetryPolicy, open_storage

    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    job = read_job(arguments.file)
    if arguments.s3_root is not None:
        job = with_s3_root(job, arguments.s3_root)
    with TemporaryDirectory(prefix="embedtune-") as name:
        scratch = Path(name)
        prepare_process(scratch)
        store = open_storage(job.spec.storage, Event(), RetryPolicy())
        from embedtune_trainer.sizing.estimate import estimate
        from embedtune_trainer.sizing.gather import gather

        try:
            facts = gather(job.spec, store, scratch)
        except UnsupportedModel as error:
            failure = Failure(reason=error.exit_code.reason, message=str(error))
            return SizeResult(failure=failure)
        return SizeResult(resources=estimate(facts, job.spec, arguments.gpus))


def _leave(result: SizeResult, arguments: argparse.Namespace) -> None:
    if arguments.termination_log is not None:
        arguments.termination_log.write_text(result.to_message(), encoding="utf-8")


def _text(result: SizeResult) -> str:
    """For people."""
    found = result.resources
    if found is None:
        why = result.failure.message if result.failure else ""
        return f"no estimate can be made, and a cluster gives its own defaults: {why}\n"
    rows = [
        ("cpu", found.cpu),
        ("memory", found.memory),
        ("gpus", str(found.gpus)),
        ("GPU memory", found.gpu_memory or "none"),
        ("shared memory", found.shm or "none"),
        ("ephemeral storage", found.ephemeral_storage or "none"),
    ]
    lines = [f"{name:<19}{value}" for name, value in rows]
    return "\n".join([*lines, "", *found.reasoning]) + "\n"
