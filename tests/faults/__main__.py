"""`python -m tests.faults [LIFE ...]`: every fault at every write; the first part of `make faults`.

With all lives it writes docs/fault-matrix.md, with some it prints their page.
"""

import asyncio
import sys
import tempfile
import time
from pathlib import Path

from tests.conftest import ROOT
from tests.faults.lives import LIVES
from tests.faults.matrix import Lab, every_fault
from tests.faults.setup import faults_plane
from tests.faults.table import page

PAGE = ROOT / "docs/fault-matrix.md"
LIMIT_S = 2400.0


async def main(names: list[str]) -> int:
    """Returns 1 if anything went wrong."""
    print(f"every fault at every write; it ends within {LIMIT_S / 60:.0f} minutes", flush=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, faults_plane(Path(folder) / "plane") as plane:
        async with asyncio.timeout(LIMIT_S), Lab(plane, Path(folder)) as lab:
            outcomes = await every_fault(lab, names or list(LIVES))
            text = page(lab.calm, outcomes, time.monotonic() - began)
    if names:
        print(text)
    else:
        PAGE.write_text(text)
        print(f"{PAGE} is written")
    return int(any(o.wrong for o in outcomes))


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1:])))
