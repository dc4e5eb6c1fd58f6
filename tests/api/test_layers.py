"""Importing one side must not load the other's libraries: looked at in a fresh interpreter."""

import subprocess
import sys

import pytest

CASES = [
    ("embedtune_api.job", {"torch", "kopf", "lightkube", "yaml", "embedtune_trainer"}),
    ("embedtune_operator.__main__", {"torch", "transformers", "numpy", "embedtune_trainer"}),
    ("embedtune_trainer.__main__", {"kopf", "kubernetes", "lightkube", "embedtune_operator"}),
    ("embedtune_trainer.train", {"kopf", "kubernetes", "torch", "embedtune_operator"}),
    ("embedtune_trainer.rows.summary", {"torch", "transformers", "sentence_transformers"}),
]


@pytest.mark.parametrize(("module", "unwanted"), CASES, ids=[c[0] for c in CASES])
def test_a_side_does_not_load_the_others_libraries(module: str, unwanted: set[str]) -> None:
    code = f"import sys, importlib; importlib.import_module({module!r}); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert unwanted & set(done.stdout.split()) == set()


def test_the_operator_folder_does_not_shadow_the_standard_library() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import operator; print(operator.__file__)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip().endswith("operator.py")
