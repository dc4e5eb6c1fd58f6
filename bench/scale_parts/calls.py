"""The system's calls to the API server, from the audit log."""

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path


def count(lines: Iterable[str]) -> Counter[str]:
    """Calls by verb and resource, such as "patch finetunejobs/status"."""
    found: Counter[str] = Counter()
    for line in lines:
        entry = json.loads(line)
        reference = entry.get("objectRef", {})
        parts = (reference.get("resource") or entry["requestURI"], reference.get("subresource"))
        found[f"{entry['verb']} {'/'.join(part for part in parts if part)}"] += 1
    return found


def by_verb(calls: Counter[str]) -> dict[str, int]:
    """Calls by verb alone."""
    found: Counter[str] = Counter()
    for name, number in calls.items():
        found[name.split()[0]] += number
    return dict(sorted(found.items()))


class AuditLog:
    """Reads what was added since it was last asked."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def news(self) -> Counter[str]:
        """Calls since the last time."""
        with self._path.open("rb") as stream:
            stream.seek(self._offset)
            data = stream.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        return count(whole.decode().splitlines())
