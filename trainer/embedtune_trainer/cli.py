"""`embedtune`: run a FineTuneJob file on this machine, or look at its parts first.

Nothing heavy is imported before a job is about to run, so that help and validation are quick.
"""

import argparse
import logging
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from threading import Event

from embedtune_api.contract import ExitCode, TrainResult
from embedtune_api.job import FineTuneJob
from embedtune_trainer import (
    datacheck,
    encode_command,
    evaluate_command,
    inspect_command,
    pull_command,
    remove_command,
)
from embedtune_trainer.failures import EndedElsewhere, Ending, ending_of
from embedtune_trainer.jobfile import read_job, with_s3_root
from embedtune_trainer.processes import Processes
from embedtune_trainer.sizing import command as size_command
from embedtune_trainer.usage import kind_of

DESCRIPTION = """\
Fine-tune embedding models. The same FineTuneJob file runs here and on a cluster
(kubectl apply -f FILE)."""

EPILOG = """\
example: save as job.yaml, then run it with  embedtune run job.yaml

  apiVersion: embedtune.dev/v1alpha1
  kind: FineTuneJob
  metadata: {name: product-search}
  spec:
    model: {backbone: file:///models/all-MiniLM-L6-v2}
    data:
      train: {uri: file:///data/train.csv}      # columns text,label
    output: {uri: file:///models/tuned}

URIs are file:///ABSOLUTE/PATH or s3://BUCKET/KEY. For S3 set AWS_ACCESS_KEY_ID and
AWS_SECRET_ACCESS_KEY, and AWS_ENDPOINT_URL unless it is AWS (or storage.endpoint in the file).
A cluster does not take file://; a file with s3:// runs here without S3 by --s3-root DIR.

exit codes: 0 done; 64 bad spec; 65 bad data; 66 unsupported model; 67 not found;
68 access denied; 69 diverged; 80 storage unavailable; 81 interrupted; 82 internal error;
137 out of memory. What is 80 or above (but not 137) may go well when run again."""


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code of the contract."""
    arguments = _parser().parse_args(argv)
    try:
        code: int = arguments.action(arguments)
    except Exception as error:
        ending = ending_of(error)
        if not isinstance(error, EndedElsewhere):
            _tell(ending)
        return ending.exit_code
    return code


def _validate(arguments: argparse.Namespace) -> int:
    job = read_job(arguments.file)
    _say(f"{arguments.file}: FineTuneJob {job.metadata.namespace}/{job.metadata.name} is valid")
    if "file://" in job.model_dump_json():
        _say("note: it has file:// URIs, which `embedtune run` takes and a cluster refuses")
    return ExitCode.DONE


def _run(arguments: argparse.Namespace) -> int:
    job = _with_endpoint(read_job(arguments.file), arguments.storage_endpoint)
    if arguments.s3_root is not None:
        job = with_s3_root(job, arguments.s3_root)
    _ = job.output_uri  # a job without is told so before anything is set up
    stop = Event()
    from embedtune_trainer.stopping import stop_on_signals

    stop_on_signals(stop, _tell_at_once)
    processes = Processes.of_environment()
    with ExitStack() as stack:
        work_dir = arguments.work_dir or Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="embedtune-"))
        )
        work_dir.mkdir(parents=True, exist_ok=True)
        result = _train(job, work_dir, stop, arguments.storage_patience_s, stack, processes)
        if not processes.is_main:
            return ExitCode.DONE
        kind = kind_of(work_dir / "model")
    if arguments.json:
        sys.stdout.write(result.model_dump_json(by_alias=True, exclude_none=True) + "\n")
    else:
        from rich.console import Console

        from embedtune_trainer.console import show_result

        show_result(Console(), result, kind)
    return ExitCode.DONE


def _train(
    job: FineTuneJob,
    work_dir: Path,
    stop: Event,
    patience_s: float,
    stack: ExitStack,
    processes: Processes,
) -> TrainResult:
    from rich.console import Console

    from embedtune_trainer.console import ConsoleReporter
    from embedtune_trainer.machine import prepare_process
    from embedtune_trainer.progress import FanOut, LogReporter, Reporter
    from embedtune_trainer.sources.storage import RetryPolicy, open_storage

    prepare_process(work_dir)
    screen = Console(stderr=True)
    if not processes.is_main:
        reporter: Reporter = FanOut(())
        logging.basicConfig(level=logging.WARNING, format="%(message)s")
    elif screen.is_terminal:
        reporter = stack.enter_context(ConsoleReporter(screen))
        logging.basicConfig(level=logging.WARNING, format="%(message)s")
    else:
        reporter = LogReporter()
        logging.basicConfig(level=logging.INFO, format="%(message)s")
    store = open_storage(job.spec.storage, stop, RetryPolicy(give_up_after_s=patience_s))
    from embedtune_trainer import train

    with processes.joined():
        return train.run(job, store, work_dir, reporter, stop.is_set, processes)


def _with_endpoint(job: FineTuneJob, endpoint: str | None) -> FineTuneJob:
    """The job with another S3 endpoint.

    Raises:
        InvalidJob: it is not a URL.
    """
    if endpoint is None:
        return job
    data = job.trainer_input()
    data["spec"].setdefault("storage", {})["endpoint"] = endpoint
    return FineTuneJob.parse(data)


def _tell_at_once(ending: Ending) -> None:
    """Like _tell, from within a run; a progress bar has hidden the cursor."""
    if sys.stderr.isatty():
        sys.stderr.write("\n\x1b[?25h")
    _tell(ending)


def _tell(ending: Ending) -> None:
    for line in ending.message.splitlines():
        sys.stderr.write(f"embedtune: {line}\n")


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="embedtune",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run = commands.add_parser(
        "run",
        help="run a FineTuneJob on this machine",
        description="Run a FineTuneJob on this machine: train, measure before and after, and put"
        " the model under output.uri.",
    )
    run.add_argument("file", type=Path, metavar="FILE", help="YAML or JSON file with one job")
    run.add_argument(
        "--storage-endpoint", metavar="URL", help="S3 service, in place of spec.storage.endpoint"
    )
    run.add_argument(
        "--s3-root",
        type=Path,
        metavar="DIR",
        help="a folder that stands for the S3 service: the file's s3://BUCKET/KEY are read and"
        " written as DIR/BUCKET/KEY",
    )
    run.add_argument(
        "--storage-patience-s",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="how long to wait for an S3 service that does not answer, ten times as long to put the"
        " model there (default 60)",
    )
    run.add_argument(
        "--work-dir",
        type=Path,
        metavar="DIR",
        help="where downloads and the model lie meanwhile (default: a temporary folder)",
    )
    run.add_argument("--json", action="store_true", help="print the result as JSON, not a table")
    run.set_defaults(action=_run)
    validate = commands.add_parser(
        "validate",
        help="check a FineTuneJob file",
        description="Check a FineTuneJob file as the API server would, and say what is wrong"
        " by line and field.",
    )
    validate.add_argument("file", type=Path, metavar="FILE", help="YAML or JSON file with one job")
    validate.set_defaults(action=_validate)
    datacheck.add_command(commands)
    inspect_command.add_command(commands)
    size_command.add_command(commands)
    encode_command.add_command(commands)
    evaluate_command.add_command(commands)
    pull_command.add_command(commands)
    remove_command.add_command(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
