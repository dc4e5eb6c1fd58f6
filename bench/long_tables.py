"""The memory that reading a long table takes: CSV, JSON lines and Parquet of 1.5 GB each.

Each file is made, read in a process of its own, and removed. The process reads its own anonymous
memory (RssAnon of /proc/self/status: what the kernel cannot take back, unlike pages of mapped
files) ten times a second while it reads, tells apart and numbers the rows, and goes through them
in a random order once.
"""

import argparse
import csv
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

RESULT = Path(__file__).parent / "results" / "long_tables.md"
WORDS = ("the", "quick", "brown", "fox", "jumps", "over", "seven", "wizards", "in", "Zürich")
LIMIT_MB = 500


def rows(seed: int) -> Iterator[tuple[str, str]]:
    """Texts of 1 to 60 words, all different, and their labels; without an end."""
    import random

    chance = random.Random(seed)
    number = 0
    while True:
        number += 1
        text = " ".join(chance.choices(WORDS, k=chance.randint(1, 60)))
        yield f"{text} {number}", f"class {chance.randrange(20_000)}"


def write_csv(path: Path, size: int) -> None:
    """Until the file is that many bytes large."""
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("text", "label"))
        for row in rows(0):
            writer.writerow(row)
            if stream.tell() >= size:
                return


def write_jsonl(path: Path, size: int) -> None:
    """As write_csv."""
    with path.open("w") as stream:
        for text, label in rows(0):
            stream.write(json.dumps({"text": text, "label": label}, ensure_ascii=False) + "\n")
            if stream.tell() >= size:
                return


def write_parquet(path: Path, size: int) -> None:
    """As write_csv; not compressed, so that the file's size is that of its texts."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([("text", pa.string()), ("label", pa.string())])
    made = rows(0)
    with pq.ParquetWriter(path, schema, compression="none", use_dictionary=["label"]) as writer:
        while path.stat().st_size < size:
            texts, labels = zip(*(next(made) for _ in range(200_000)), strict=True)
            writer.write_table(pa.table([list(texts), list(labels)], schema))


WRITERS: dict[str, Callable[[Path, int], None]] = {
    "csv": write_csv,
    "jsonl": write_jsonl,
    "parquet": write_parquet,
}


class Watch:
    """The most anonymous memory of this process, in MB."""

    def __init__(self) -> None:
        self.peak_mb = anonymous_mb()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._stop.wait(0.1):
            self.peak_mb = max(self.peak_mb, anonymous_mb())

    def end(self) -> float:
        """The peak."""
        self._stop.set()
        self._thread.join()
        return self.peak_mb


def anonymous_mb() -> float:
    """Of this process, now."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / 1000
    raise AssertionError("the kernel tells no RssAnon")


def read_and_measure(path: Path, scratch: Path) -> dict[str, float]:
    """In a process of its own."""
    import numpy as np

    from embedtune_api.spec import Dataset
    from embedtune_trainer.rows.columns.identity import numbered
    from embedtune_trainer.rows.read import Wanted, read_rows
    from embedtune_trainer.rows.table import LabelledRows, Texts

    before = anonymous_mb()
    begun = time.perf_counter()
    watch = Watch()
    dataset = Dataset.parse({"uri": path.as_uri()})
    found = read_rows(path, dataset, Wanted("text", "text"), scratch=scratch)
    seconds = time.perf_counter() - begun
    reading_mb = watch.end()
    assert isinstance(found, LabelledRows)
    assert isinstance(found.items, Texts)
    expected = rows(0)
    for text, label in zip(found.items.values, found.labels, strict=True):
        if (text, label) != next(expected):
            raise AssertionError(f"a row is not what was written: {text!r}")
    watch = Watch()
    begun = time.perf_counter()
    characters = 0
    for some in np.array_split(np.random.default_rng(0).permutation(len(found)), 1000):
        characters += sum(map(len, found.items.values.take(some)))
    shuffled_seconds = time.perf_counter() - begun
    (numbers_N,), count = numbered(found.items.identities_N2)
    if count != len(found) or len(numbers_N) != len(found):
        raise AssertionError("rows that differ are taken for the same")
    return {
        "rows": len(found),
        "seconds": seconds,
        "before_mb": before,
        "reading_mb": reading_mb,
        "shuffled_seconds": shuffled_seconds,
        "all_mb": watch.end(),
    }


def measured(kind: str, size: int, folder: Path) -> dict[str, float]:
    """Make a file, read it in a process of its own, remove it."""
    path = folder / f"train.{kind}"
    try:
        WRITERS[kind](path, size)
        command = [sys.executable, __file__, "--read", str(path), "--scratch", str(folder / "work")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise AssertionError(done.stderr)
        found: dict[str, float] = json.loads(done.stdout)
        return {**found, "bytes": path.stat().st_size}
    finally:
        path.unlink(missing_ok=True)


def main() -> None:
    """Run all of it and write it down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bytes", type=int, default=1_500_000_000)
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--scratch", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.read:
        print(json.dumps(read_and_measure(options.read, options.scratch)))
        return
    lines = [
        "| file | GB | rows | reading and checking | rows/s | anonymous memory before | peak |"
        " all rows in random order | peak, with that and identities |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory(prefix="long-tables-") as folder:
        for kind in WRITERS:
            got = measured(kind, options.bytes, Path(folder))
            if got["reading_mb"] > LIMIT_MB:
                raise AssertionError(f"{kind}: reading took {got['reading_mb']:.0f} MB")
            lines.append(
                f"| {kind} | {got['bytes'] / 1e9:.2f} | {got['rows']:,.0f} | {got['seconds']:.0f} s"
                f" | {got['rows'] / got['seconds']:,.0f} | {got['before_mb']:.0f} MB"
                f" | {got['reading_mb']:.0f} MB | {got['shuffled_seconds']:.0f} s"
                f" | {got['all_mb']:.0f} MB |"
            )
            print(lines[-1], flush=True)
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(
        "# Long tables: time and memory of reading them\n\n" + "\n".join(lines) + "\n\n"
        f"Every row read was compared with the row written. Reading fails above {LIMIT_MB} MB.\n\n"
        f"Command: `python bench/long_tables.py --bytes {options.bytes}` on {platform.platform()},"
        f" {os.cpu_count()} cores, load {os.getloadavg()[1]:.1f}; Python"
        f" {platform.python_version()}.\n"
    )


if __name__ == "__main__":
    main()
