"""A result in sections, of which a later run renews some and keeps the others."""

from collections.abc import Iterable, Mapping
from pathlib import Path


def read(path: Path) -> dict[str, str]:
    """The sections that are there, each with its heading, by what stands in it."""
    if not path.exists():
        return {}
    parts = path.read_text(encoding="utf-8").split("\n## ")[1:]
    return {part.split("\n")[0]: f"## {part.strip()}\n" for part in parts}


def write(path: Path, head: str, sections: Mapping[str, str], order: Iterable[str]) -> None:
    """Those of `order` that there are, behind the head."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = (sections[name] for name in order if name in sections)
    path.write_text("\n".join((head, *kept)), encoding="utf-8")
