"""Files written whole, readable by their owner alone, and only when their content changes."""

import os
from pathlib import Path


def write_if_changed(path: Path, text: str) -> bool:
    """Writes a file so that no reader sees half of it; says whether its content changed."""
    if path.exists() and path.read_text() == text:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as handle:
        handle.write(text)
    partial.replace(path)
    return True
