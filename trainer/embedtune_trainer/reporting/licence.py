"""The licence of a backbone, as its own card states it."""

from pathlib import Path
from typing import Any

import yaml

from embedtune_trainer.sources.hub_files import CARD


def licence_of(folder: Path | None) -> str | None:
    """What the folder's README.md says in its front matter; None if it says nothing.

    The hub's `license: other` has its name in `license_name`, or at least a `license_link`.
    """
    meta = front_matter(folder / CARD) if folder is not None else {}
    licence = meta.get("license")
    if licence == "other":
        licence = meta.get("license_name") or meta.get("license_link") or licence
    if isinstance(licence, list):
        licence = ", ".join(str(one) for one in licence)
    return licence if isinstance(licence, str) and licence.strip() else None


def front_matter(path: Path) -> dict[str, Any]:
    """The YAML between the two lines of --- at a file's head; empty if there is none."""
    try:
        first, *lines = path.read_text(encoding="utf-8").splitlines() or [""]
        if first.strip() != "---" or "---" not in lines:
            return {}
        meta = yaml.safe_load("\n".join(lines[: lines.index("---")]))
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return meta if isinstance(meta, dict) else {}
