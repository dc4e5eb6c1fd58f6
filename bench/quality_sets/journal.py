"""Finished trainings, written down at once, so that a run that is cut off can go on."""

import hashlib
import json
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from quality_sets.verdict import Found

ROOT = Path(__file__).resolve().parents[2]
CODE = (
    *("crds/embedtune_api", "trainer/embedtune_trainer", "examples", "bench/quality_sets"),
    *("bench/theirs.py", "bench/vision_triplet.py", "bench/images.py"),
)
PACKAGES = (
    *("torch", "transformers", "sentence-transformers", "pytorch-metric-learning"),
    *("open-clip-torch", "scikit-learn"),
)


class Journal:
    """A file of JSON lines.

    Trainings by other code, packages, rows or threads are in it, too, and are not found.
    """

    def __init__(self, path: Path, **facts: object) -> None:
        """`facts` are those that a training depends on besides its data set, system and seed."""
        self._path = path
        self._facts = {"code": _digest(), "packages": packages(), **facts}

    def get(self, name: str, system: str, seed: int) -> Found | None:
        """What is there of this training; None if nothing is."""
        if not self._path.exists():
            return None
        wanted = self._key(name, system, seed)
        for line in self._path.read_text(encoding="utf-8").splitlines():
            known = json.loads(line)
            if known["key"] == wanted:
                return Found(**known["found"])
        return None

    def add(self, name: str, system: str, seed: int, found: Found) -> None:
        """Write one more."""
        line = json.dumps({"key": self._key(name, system, seed), "found": asdict(found)})
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(line + "\n")

    def forget(self, name: str) -> None:
        """Drop all trainings on this data set, so that the next run makes them anew."""
        lines = self._path.read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if json.loads(line)["key"]["set"] != name]
        self._path.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")

    def _key(self, name: str, system: str, seed: int) -> dict[str, object]:
        return {"set": name, "system": system, "seed": seed, **self._facts}


def packages() -> dict[str, str]:
    """Versions of what trains."""
    return {name: version(name) for name in PACKAGES}


def _digest() -> str:
    """Of all code that a training runs, and of the settings."""
    digest = hashlib.sha256()
    for place in CODE:
        for path in sorted((ROOT / place).rglob("*")) or [ROOT / place]:
            if path.suffix in (".py", ".yaml"):
                digest.update(path.read_bytes())
    return digest.hexdigest()
