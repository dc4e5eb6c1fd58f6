"""`python -m localassets [FOLDER]`: links model and data where examples/local.yaml looks."""

import sys
from pathlib import Path

from localassets import minilm, trec


def main() -> None:
    """Make FOLDER/all-MiniLM-L6-v2 and FOLDER/trec; FOLDER is /tmp/embedtune if not given."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "/tmp/embedtune")
    folder.mkdir(parents=True, exist_ok=True)
    for source in (minilm(), trec().train.parent):
        link = folder / source.name
        link.unlink(missing_ok=True)
        link.symlink_to(source)
        print(link)


if __name__ == "__main__":
    main()
