"""Writes what is generated from the API types; `make generate` runs it, `make check` compares.

The check also holds the CRD against that of the last release, if there is a tag of one.
"""

import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from embedtune_api.additive import harms
from embedtune_api.schema import custom_resource_definition

ROOT = Path(__file__).resolve().parent.parent
HEADER = "# Generated from crds/embedtune_api by `make generate`; do not edit.\n"
# A chart cannot read outside its own folder, so it holds a copy.
TARGETS = (
    ROOT / "crds/embedtune.dev_finetunejobs.yaml",
    ROOT / "helm/embedtune/files/crds/embedtune.dev_finetunejobs.yaml",
)


def schema(crd: dict[str, Any]) -> dict[str, Any]:
    """The schema of its only version."""
    (version,) = crd["spec"]["versions"]
    found: dict[str, Any] = version["schema"]["openAPIV3Schema"]
    return found


def since_release() -> list[str]:
    """What has changed since the last release that would harm jobs in a cluster."""
    tag = _git("describe", "--tags", "--abbrev=0", "--match", "v*").strip()
    if not tag:
        return []
    released = yaml.safe_load(_git("show", f"{tag}:{TARGETS[0].relative_to(ROOT)}"))
    changes = harms(schema(released), schema(custom_resource_definition()))
    return [f"the CRD of {tag} is not merely added to: {change}" for change in changes]


def _git(*words: str) -> str:
    """What git says; nothing where there is no repository, or no such thing in it."""
    command = ["git", "-C", str(ROOT), *words]
    try:
        return subprocess.run(command, check=False, capture_output=True, text=True).stdout
    except FileNotFoundError:
        return ""


def main() -> int:
    """Write every generated file, or with --check only say which differ."""
    text = HEADER + yaml.safe_dump(
        custom_resource_definition(), sort_keys=False, width=100, allow_unicode=True
    )
    stale = [t for t in TARGETS if not t.exists() or t.read_text() != text]
    if "--check" in sys.argv[1:]:
        wrong = [f"{t.relative_to(ROOT)} is out of date: run `make generate`" for t in stale]
        wrong += since_release()
        sys.stderr.writelines(f"{line}\n" for line in wrong)
        return 1 if wrong else 0
    for target in stale:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
