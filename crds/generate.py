"""Writes what is generated from the API types; `make generate` runs it, `make check` compares."""

import sys
from pathlib import Path

import yaml

from embedtune_api.schema import custom_resource_definition

ROOT = Path(__file__).resolve().parent.parent
HEADER = "# Generated from crds/embedtune_api by `make generate`; do not edit.\n"
# A chart cannot read outside its own folder, so it holds a copy.
TARGETS = (
    ROOT / "crds/embedtune.dev_finetunejobs.yaml",
    ROOT / "helm/embedtune/files/crds/embedtune.dev_finetunejobs.yaml",
)


def main() -> int:
    """Write every generated file, or with --check only say which differ."""
    text = HEADER + yaml.safe_dump(
        custom_resource_definition(), sort_keys=False, width=100, allow_unicode=True
    )
    stale = [t for t in TARGETS if not t.exists() or t.read_text() != text]
    if "--check" in sys.argv[1:]:
        for target in stale:
            sys.stderr.write(f"{target.relative_to(ROOT)} is out of date: run `make generate`\n")
        return 1 if stale else 0
    for target in stale:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
