"""Reading takes the memory of a chunk, not of the file."""

import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

pytestmark = pytest.mark.slow

LIMIT = 110 * 2**20
ROWS = 300_000
TEXT = "a text of some length, so that few rows make a file that is large enough to tell" * 5

READ = f"""
import resource, sys
from pathlib import Path
import numpy, pyarrow.parquet
from embedtune_api.spec import Dataset
from embedtune_trainer.rows.formats import columnar, csv, jsonl
from embedtune_trainer.rows.read import Wanted, read_rows

def anonymous():
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmData:")[2].split()[0]) * 1024

resource.setrlimit(resource.RLIMIT_DATA, (anonymous() + {LIMIT}, resource.RLIM_INFINITY))
path = Path(sys.argv[1])
if sys.argv[2] == "as lists":
    made = [({TEXT!r} + f" {{i}}", str(i % 9)) for i in range({ROWS})]
else:
    dataset = Dataset.parse({{"uri": path.as_uri()}})
    rows = read_rows(path, dataset, Wanted("text", "text"), scratch=path.parent / "work")
    assert len(rows) == {ROWS}
    assert rows.items.values[-1] == {TEXT!r} + " {ROWS - 1}", rows.items.values[-1]
    assert len(rows.take(range(0, {ROWS}, 2)).items.identities_N2) == {ROWS // 2}
"""


def texts():
    return (f"{TEXT} {i}" for i in range(ROWS))


def write(path: Path) -> None:
    if path.suffix == ".csv":
        path.write_text("text,label\n" + "".join(f'"{t}",{i % 9}\n' for i, t in enumerate(texts())))
    elif path.suffix == ".jsonl":
        lines = (f'{{"text": "{t}", "label": {i % 9}}}\n' for i, t in enumerate(texts()))
        path.write_text("".join(lines))
    else:
        table = pa.table({"text": list(texts()), "label": [i % 9 for i in range(ROWS)]})
        pq.write_table(table, path, compression="none")


def in_bounds(path: Path, how: str = "as rows") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", READ, str(path), how]
    # Arrow's own allocator reserves more than it uses, and what is reserved counts
    environ = {**os.environ, "ARROW_DEFAULT_MEMORY_POOL": "system"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environ)


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_more_than_a_limit_can_be_read_within_it(tmp_path, ending):
    path = tmp_path / f"t.{ending}"
    write(path)
    assert path.stat().st_size > LIMIT
    done = in_bounds(path)
    assert done.returncode == 0, done.stderr
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [path]


def test_the_limit_is_one_that_lists_would_exceed(tmp_path):
    assert "MemoryError" in in_bounds(tmp_path / "t.csv", "as lists").stderr
