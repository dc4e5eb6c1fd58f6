"""Importing much without the garbage collector."""

import gc
import subprocess
import sys

from embedtune_trainer.imports import uncollected

CYCLE = """
from embedtune_trainer.imports import uncollected

class Told:
    def __del__(self):
        print("collected")

with uncollected():
    told = Told()
    told.itself = told
    del told
"""


def test_nothing_is_collected_while_importing() -> None:
    before = gc.get_freeze_count()
    try:
        with uncollected():
            assert not gc.isenabled()
        assert gc.isenabled()
        assert gc.get_freeze_count() > before
        gc.disable()
        with uncollected():
            assert not gc.isenabled()
        assert not gc.isenabled(), "as it was"
    finally:
        gc.enable()
        gc.unfreeze()


def test_what_was_imported_is_collected_at_the_end() -> None:
    """Extension modules complain on stderr of what is not."""
    done = subprocess.run(
        [sys.executable, "-c", CYCLE], capture_output=True, text=True, check=True, timeout=60
    )
    assert (done.stdout, done.stderr) == ("collected\n", "")
