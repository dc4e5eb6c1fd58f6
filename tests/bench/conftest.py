"""The benches import each other by their plain names, as Python runs their files."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2] / "bench"))
