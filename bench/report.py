"""The report of the TREC example, and its picture: PYTHONPATH=local python bench/report.py

Runs examples/trec.yaml on this machine (a minute or two on two quiet cores), then has Chromium draw
report.html, and writes docs/report.png. Without Chromium the page alone is left.
"""

import shutil
import subprocess
import sys
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
BUCKETS = Path("/tmp/embedtune")
PICTURE = ROOT / "docs/report.png"
WIDTH, HEIGHT = 1280, 3460
COLOURS = 256
"""Of the picture's palette: all that PNG can number."""


def main() -> int:
    """Run the example and draw its report; the exit code."""
    job = ROOT / "examples/trec.yaml"
    subprocess.run([sys.executable, "-m", "localassets", str(job)], check=True)
    subprocess.run(
        [
            *(sys.executable, "-m", "embedtune_trainer.cli", "run", str(job)),
            *("--s3-root", str(BUCKETS)),
        ],
        check=True,
    )
    page = BUCKETS / "models/tuned/search/question-search/local/report/report.html"
    print(page)
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        print("no picture: install chromium", file=sys.stderr)
        return 1
    subprocess.run(
        [
            *(browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
            *(f"--window-size={WIDTH},{HEIGHT}", f"--screenshot={PICTURE}", page.as_uri()),
        ],
        check=True,
        capture_output=True,
    )
    Image.open(PICTURE).convert("RGB").quantize(COLOURS).save(PICTURE, optimize=True)
    print(PICTURE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
