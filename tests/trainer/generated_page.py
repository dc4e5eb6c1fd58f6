"""A page of docs/ that is generated from what the tests use: `make generate` writes it, `make
check` compares.
"""

import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs"


def main(name: str, text: str) -> int:
    """Write the page, or with --check only say whether it is out of date; the exit code."""
    page = DOCS / name
    if "--check" not in sys.argv[1:]:
        page.write_text(text, encoding="utf-8")
    elif page.read_text(encoding="utf-8") != text:
        sys.stderr.write(f"docs/{name} is out of date: run `make generate`\n")
        return 1
    return 0
