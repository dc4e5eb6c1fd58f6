"""The operator as a process that is forked from one which has imported everything.

Killing it is killing a process like any other, and starting it again costs a tenth of a second in
place of seconds: the kills are a hundred.
"""

import multiprocessing
import os
import sys
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from localcluster.controlplane import ControlPlane
from tests.operator.world import OperatorProcess, eventually

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["embedtune_operator.runtime", "tests.faults.forked"])


class ForkedOperator(OperatorProcess):
    """See the module."""

    def __init__(self, plane: ControlPlane, logs: Path, **env: str) -> None:
        super().__init__(plane, logs, **env)
        self._forked: ForkServerProcess | None = None

    def start(self, *, wait: bool = True) -> None:
        """Start it."""
        arguments = (dict(self._env), str(self._logs))
        self._forked = _FORKS.Process(target=_operate, args=arguments, daemon=True)
        self._forked.start()
        if wait:
            eventually(lambda: self.get("/readyz")[0] == 200, what=f"ready; see {self._logs}")

    def kill(self) -> None:
        """End it as the kernel would."""
        if self._forked is not None:
            self._forked.kill()
            self._forked.join()


def _operate(env: dict[str, str], logs: str) -> None:
    from embedtune_operator.__main__ import main

    log = os.open(logs, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ.clear()
    os.environ.update(env)
    sys.exit(main())
