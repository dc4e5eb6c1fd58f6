"""The run in a pod: job in, metrics out, a last word in the termination message, an exit code.

`python -m embedtune_trainer` comes here, once in a pod or, by `launch`, in several processes.
Whatever ends a run is told by `failures`; on SIGTERM see `stopping`.
"""

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from embedtune_api import contract
from embedtune_api.contract import ExitCode, TrainResult
from embedtune_api.job import FineTuneJob
from embedtune_trainer.errors import BadSpec
from embedtune_trainer.failures import EndedElsewhere, Ending, ending_of
from embedtune_trainer.gauges import PrometheusReporter
from embedtune_trainer.machine import prepare_process
from embedtune_trainer.processes import Processes
from embedtune_trainer.progress import FanOut, LogReporter, Reporter
from embedtune_trainer.sources.storage import RetryPolicy, open_storage
from embedtune_trainer.stopping import stop_on_signals

log = logging.getLogger("embedtune")


@dataclass(frozen=True)
class Options:
    """Where things are; the defaults are the contract's."""

    job: Path
    work_dir: Path
    termination_log: Path
    metrics_port: int
    storage_patience_s: float


def main(argv: Sequence[str] | None = None) -> int:
    """Run the mounted job; the exit code is of the contract."""
    options = _options(argv)
    processes = Processes.of_environment()
    who = f" process={processes.rank}" if processes.size > 1 else ""
    logging.basicConfig(
        level=logging.INFO if processes.is_main else logging.WARNING,
        stream=sys.stdout,
        format=f"time=%(asctime)s level=%(levelname)s{who} %(message)s",
        datefmt="%Y-%m-%dT%H:%M:%S%z",
    )
    stop = Event()
    stop_on_signals(stop, lambda ending: _write_first(ending, options.termination_log))
    try:
        result = _run(options, stop, processes)
    except BaseException as error:
        ending = ending_of(error)
        log.exception(
            "failed exit_code=%d reason=%s message=%r",
            ending.exit_code,
            ending.reason,
            ending.message,
            exc_info=None if ending.expected or isinstance(error, EndedElsewhere) else error,
        )
        write_result(ending.result, options.termination_log)
        return ending.exit_code
    if processes.is_main:
        write_result(result, options.termination_log)
    return ExitCode.DONE


def read_job(path: Path) -> FineTuneJob:
    """The job as the operator wrote it.

    Raises:
        BadSpec: the file cannot be read or is not JSON.
        InvalidJob: a field is wrong.
    """
    try:
        data = json.loads(path.read_bytes())
    except OSError as error:
        raise BadSpec(f"{path}: the job cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise BadSpec(f"{path}: the job is not JSON: {error}") from None
    if not isinstance(data, dict):
        raise BadSpec(f"{path}: the job is not a JSON object")
    return FineTuneJob.parse(data)


def write_result(result: TrainResult, path: Path) -> None:
    """Leave the last word where the kubelet looks for it. It cannot fail: the exit code remains."""
    try:
        path.write_text(result.to_message(), encoding="utf-8")
    except OSError as error:
        log.warning("the result cannot be written to %s: %s", path, error)


def _write_first(ending: Ending, path: Path) -> None:
    """Leave it unless another process of the pod, after whose failure this one ends, has spoken."""
    if not path.exists() or path.stat().st_size == 0:
        write_result(ending.result, path)


def _run(options: Options, stop: Event, processes: Processes) -> TrainResult:
    job = read_job(options.job)
    threads = prepare_process(options.work_dir)
    reporter = _reporter(options.metrics_port) if processes.is_main else FanOut(())
    reporter.note(
        "run",
        job=f"{job.metadata.namespace}/{job.metadata.name}",
        processes=processes.size,
        cpu_threads=threads,
    )
    policy = RetryPolicy(give_up_after_s=options.storage_patience_s)
    store = open_storage(job.spec.storage, stop, policy)
    from embedtune_trainer import train
    from embedtune_trainer.datafiles import about
    from embedtune_trainer.published import published_result

    with processes.joined():
        with about("spec.output.uri"):
            there = processes.on_main(
                lambda: published_result(job, store, options.work_dir / "published")
            )
        if there is not None:
            log.info("the model is there already, uri=%s", job.output_uri)
            return there
        return train.run(job, store, options.work_dir, reporter, stop.is_set, processes)


def _reporter(metrics_port: int) -> Reporter:
    gauges = PrometheusReporter(_gpu_memory_bytes)
    gauges.serve(metrics_port)
    return FanOut((gauges, LogReporter()))


def _gpu_memory_bytes() -> int:
    import torch

    return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0


def _options(argv: Sequence[str] | None) -> Options:
    parser = argparse.ArgumentParser(
        prog="python -m embedtune_trainer",
        description="Runs the FineTuneJob that the operator mounts. People want `embedtune run`.",
    )
    parser.add_argument("--job", type=Path, default=Path(contract.JOB_FILE))
    parser.add_argument("--work-dir", type=Path, default=Path(contract.WORK_DIR))
    parser.add_argument("--termination-log", type=Path, default=Path(contract.TERMINATION_LOG))
    parser.add_argument("--metrics-port", type=int, default=contract.METRICS_PORT)
    parser.add_argument(
        "--storage-patience-s", type=float, default=RetryPolicy.give_up_after_s, metavar="SECONDS"
    )
    return Options(**vars(parser.parse_args(argv)))
