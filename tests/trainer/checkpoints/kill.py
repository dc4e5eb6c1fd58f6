"""The kill test: python -m tests.trainer.checkpoints.kill --kills 20

Each kind of training is run once without an interruption, and then again with SIGKILL at so many
random moments, each time taken up by the next process; one that gets through begins anew. The
weights that come out must be the same files to the last byte. The last line says whether they all
were; the exit code, too.
"""

import argparse
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

from embedtune_trainer import cli
from tests.trainer import tiny
from tests.trainer.checkpoints import killed
from tests.trainer.checkpoints.kinds import KINDS, prepared, put_out

LONGEST_MS: Final = 60
FORK = False
_FROM: Final = re.compile(r"going on from a checkpoint step=(\d+)")


def run(
    job: dict[str, Any], folder: Path, kill: tuple[int, float] | None
) -> tuple[int, int | None]:
    """One process; the exit code, and the step that it went on from."""
    file = tiny.write_job(folder / "job.json", job)
    if FORK:
        code, said = forked(["run", str(file), "--json"], folder, kill)
    else:
        code, said = started(["run", str(file), "--json"], kill)
    if code not in (0, -signal.SIGKILL):
        raise RuntimeError(f"the run ended with {code}:\n{said}")
    found = _FROM.search(said)
    return code, int(found[1]) if found else None


def started(arguments: list[str], kill: tuple[int, float] | None) -> tuple[int, str]:
    """`embedtune` in a new process; its exit code, and what it wrote to stderr."""
    program = ["embedtune_trainer.cli"]
    if kill is not None:
        program = ["tests.trainer.checkpoints.killed", *map(str, kill)]
    done = subprocess.run(
        [sys.executable, "-m", *program, *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stderr


def forked(arguments: list[str], folder: Path, kill: tuple[int, float] | None) -> tuple[int, str]:
    """The same in a fork of this process, which has imported the packages and done no more."""
    child = os.fork()
    if not child:
        with (folder / "stderr").open("w") as said, Path(os.devnull).open("w") as nowhere:
            os.dup2(said.fileno(), 2)
            os.dup2(nowhere.fileno(), 1)
            if kill is not None:
                killed.arrange(*kill)
            os._exit(cli.main(arguments))
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), (folder / "stderr").read_text()


def weights(folder: Path) -> dict[str, str]:
    """sha256 of every safetensors file below a folder, and of the report of the training."""
    found = {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*.safetensors"))
    }
    for path in folder.rglob("training.json"):
        report = json.dumps(json.loads(path.read_text())["report"], sort_keys=True)
        found["the report"] = hashlib.sha256(report.encode()).hexdigest()
    return found


def steps_of(folder: Path) -> int:
    """How many steps a finished run had."""
    (path,) = folder.rglob("training.json")
    return int(json.loads(path.read_text())["report"]["steps"])


def import_all() -> None:
    """What a run imports, once for all forks."""
    os.environ["OMP_NUM_THREADS"] = "1"
    for name in ("embedder.load", "embedder.pair", "checkpoints.open", "training.fit"):
        import_module(f"embedtune_trainer.{name}")
    for name in ("evaluation.plan", "export.finish", "reporting.scribe", "sources.s3"):
        import_module(f"embedtune_trainer.{name}")
    for name in (
        "transformers.models.bert.modeling_bert",
        "transformers.models.clip.modeling_clip",
    ):
        import_module(name)


def newest(folder: Path) -> int:
    """The newest step that can be gone on from; 0 if there is none, or the model is there."""
    there = (folder / "default/tiny/local/checkpoints").glob("[0-9]*/checkpoint.json")
    steps = (int(path.parent.name) for path in there)
    return max(steps, default=0)


def same(kind: str, expected: dict[str, str], folder: Path) -> bool:
    """Whether a finished run left the same weights, and nothing else of its way there."""
    found = weights(folder)
    for name, digest in expected.items():
        word = "same" if found.get(name) == digest else "DIFFERS"
        print(f"{kind}:   {name} {digest[:16]} {word}")
    left = [path for path in folder.rglob("*") if "checkpoints" in path.parts]
    if left:
        print(f"{kind}:   LEFT {left}")
    return expected == found and not left


def prepared_apart(kind: str, folder: Path) -> dict[str, Any]:
    """See prepared; made in a process of its own, so that this one computes nothing."""
    with ProcessPoolExecutor(1, get_context("fork")) as pool:
        return pool.submit(prepared, kind, folder).result()


def killed_often(kind: str, kills: int, chance: random.Random, folder: Path) -> bool:
    """Whether trainings that are killed, so often in all, come out as one that is not."""
    job = prepared_apart(kind, folder)
    whole, pieces = folder / "whole", folder / "pieces"
    run(put_out(job, whole), folder, None)
    steps, expected = steps_of(whole), weights(whole)
    good, killed = True, 0
    while True:
        there = newest(pieces)
        kill = (chance.randint(there + 1, steps), round(chance.uniform(0, LONGEST_MS), 1))
        last = killed == kills
        through = last or there >= steps - 3  # there is no other checkpoint before the end
        code, begun = run(put_out(job, pieces), folder, None if through else kill)
        if begun != (there or None):
            raise RuntimeError(f"went on from {begun}, and not from {there}")
        if code:
            killed += 1
            when = f"{kill[1]} ms into step {kill[0]} of {steps}"
            print(f"{kind}: kill {killed}, {when}, begun at {there}", flush=True)
            continue
        print(f"{kind}: finished, begun at {there}", flush=True)
        good &= same(kind, expected, pieces)
        if last:
            return good
        shutil.rmtree(pieces)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20, help="of each kind (default 20)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fork", action="store_true", help="of one process; many times faster")
    parser.add_argument("--kind", choices=KINDS, action="append")
    arguments = parser.parse_args()
    if arguments.fork:
        global FORK  # noqa: PLW0603
        FORK = True
        import_all()
    chance = random.Random(arguments.seed)
    folder = Path(tempfile.mkdtemp(prefix="embedtune-kill-"))
    begun = time.monotonic()
    try:
        good = [
            killed_often(kind, arguments.kills, chance, folder / kind)
            for kind in arguments.kind or KINDS
        ]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    word = "all the same, byte for byte" if all(good) else "NOT THE SAME"
    seconds = time.monotonic() - begun
    print(f"{len(good)} kinds, {arguments.kills} kills each, {seconds:.0f} s: {word}")
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
