"""Writes what is generated from the API types; `make generate` runs it, `make check` compares.

The check also holds each CRD against that of the last release, if there is a tag of one.
"""

import sys
from pathlib import Path
from typing import Any

import yaml

from embedtune_api import GROUP
from embedtune_api.additive import harms
from embedtune_api.schema import definitions
from localcluster import released

ROOT = Path(__file__).resolve().parent.parent
HEADER = "# Generated from crds/embedtune_api by `make generate`; do not edit.\n"
# A chart cannot read outside its own folder, so it holds a copy.
FOLDERS = (ROOT / "crds", ROOT / "helm/embedtune/files/crds")


def file_name(plural: str) -> str:
    """Of the CRD with this plural."""
    return f"{GROUP}_{plural}.yaml"


def schema(crd: dict[str, Any]) -> dict[str, Any]:
    """The schema of its only version."""
    (version,) = crd["spec"]["versions"]
    found: dict[str, Any] = version["schema"]["openAPIV3Schema"]
    return found


def since_release() -> list[str]:
    """What has changed since the last release that would harm jobs in a cluster."""
    tag = released.newest_tag()
    if not tag:
        return []
    found = []
    for plural, definition in definitions().items():
        before = released.file_of(tag, f"crds/{file_name(plural)}")
        if not before:
            continue  # that release had no such kind
        changes = harms(schema(yaml.safe_load(before)), schema(definition))
        found += [f"the CRD {plural} of {tag} is not merely added to: {c}" for c in changes]
    return found


def main() -> int:
    """Write every generated file, or with --check only say which differ."""
    texts = {
        folder / file_name(plural): HEADER
        + yaml.safe_dump(definition, sort_keys=False, width=100, allow_unicode=True)
        for plural, definition in definitions().items()
        for folder in FOLDERS
    }
    stale = [t for t, text in texts.items() if not t.exists() or t.read_text() != text]
    if "--check" in sys.argv[1:]:
        wrong = [f"{t.relative_to(ROOT)} is out of date: run `make generate`" for t in stale]
        wrong += since_release()
        sys.stderr.writelines(f"{line}\n" for line in wrong)
        return 1 if wrong else 0
    for target in stale:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(texts[target])
    return 0


if __name__ == "__main__":
    sys.exit(main())
