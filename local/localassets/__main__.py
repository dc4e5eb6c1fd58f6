"""`python -m localassets [FILE...]`: puts what FineTuneJob files name in a folder for each bucket.

python -m localassets examples/trec.yaml
embedtune run examples/trec.yaml --s3-root /tmp/embedtune
"""

import argparse
import sys
from pathlib import Path

from localassets import PackageGone
from localassets.catalogue import ASSETS, named_in, place

FOLDER = Path("/tmp/embedtune")


def main() -> int:
    """Link each asset as FOLDER/BUCKET/NAME; 1 if a package is gone."""
    parser = argparse.ArgumentParser(
        prog="python -m localassets",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="assets:\n" + "\n".join(f"  s3://{key}" for key in ASSETS),
    )
    parser.add_argument(
        "files", nargs="*", type=Path, metavar="FILE", help="FineTuneJob; none: all assets"
    )
    parser.add_argument("--folder", type=Path, default=FOLDER, help=f"default {FOLDER}")
    options = parser.parse_args()
    keys = list(ASSETS)
    if options.files:
        keys = [key for file in options.files for key in named_in(file)]
        if not keys:
            parser.error("the files name none of the assets that --help lists")
    gone = 0
    for key in dict.fromkeys(keys):
        try:
            print(place(key, options.folder))
        except PackageGone as error:
            print(f"{key}: {error}", file=sys.stderr)
            gone = 1
    return gone


if __name__ == "__main__":
    sys.exit(main())
