"""`embedtune run` from end to end: a tiny model gets better, and plain sentence-transformers
embeds the same with it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np

from embedtune_api.contract import TrainResult
from embedtune_api.job import FineTuneJob
from embedtune_api.spec import Storage as StorageSpec
from embedtune_trainer.artifact import verify
from embedtune_trainer.progress import FanOut
from embedtune_trainer.sources.storage import RetryPolicy, open_storage
from embedtune_trainer.train import run
from tests.trainer import tiny

TEXTS = ["the big cat", "paris", "a small hammer that one", "unknown words here", "red"]


def embedtune(*arguments: str, env: dict[str, str] | None = None) -> str:
    """Run the command line; returns what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "embedtune_trainer.cli", *arguments],
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def sentence_transformers_embeds(folder: Path) -> Any:
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(folder), device="cpu").encode(TEXTS)


def embedtune_embeds(folder: Path) -> Any:
    from embedtune_api.spec import Encoder
    from embedtune_trainer.embedder.load import Fetched, load_encoder
    from embedtune_trainer.rows.table import Texts

    embedder = load_encoder(
        Fetched("file://", folder), Encoder(backbone=f"file://{folder}"), seed=0
    )
    return embedder.encode(Texts(TEXTS), 2).numpy()


def test_on_files(tiny_backbone: Path, tmp_path: Path) -> None:
    base = shutil.copytree(tiny_backbone, tmp_path / "base")
    (base / "README.md").write_text("---\nlicense: cc0-1.0\n---\n")
    train = tiny.write_csv(tmp_path / "train.csv", tiny.rows())
    job = tiny.job(
        "",
        f"file://{train}",
        f"file://{tmp_path}/out",
        model={"backbone": f"file://{base}", "projection": {"dim": 16}},
        training={"epochs": 8, "batchSize": 32, "learningRate": 2e-3},
    )
    file = tiny.write_job(tmp_path / "job.yaml", job)
    result = TrainResult.model_validate_json(embedtune("run", str(file), "--json"))
    assert result.model is not None
    assert result.metrics is not None
    assert float(result.metrics.headline.after or 0) > float(result.metrics.headline.before) + 0.1
    folder = Path(result.model.uri.removeprefix("file://"))
    assert folder == tmp_path / "out/default/tiny/local"
    assert result.model.embedding_dim == verify(folder).embedding_dim == 16
    embeddings = sentence_transformers_embeds(folder)
    np.testing.assert_allclose(embeddings, embedtune_embeds(folder), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-5)
    assert "| licence of the base model | cc0-1.0 |" in (folder / "README.md").read_text()


def test_the_same_run_gives_the_same_model(tiny_backbone: Path, tmp_path: Path) -> None:
    train_file = tiny.write_csv(tmp_path / "train.csv", tiny.rows(64))
    job = tiny.job(f"file://{tiny_backbone}", f"file://{train_file}", f"file://{tmp_path}/out")
    digests = [digest(job, tmp_path / str(i)) for i in range(2)]
    other = tiny.job(
        f"file://{tiny_backbone}",
        f"file://{train_file}",
        f"file://{tmp_path}/out",
        training={"epochs": 2, "batchSize": 32, "learningRate": 1e-3, "seed": 1},
    )
    assert digests[0] == digests[1] != digest(other, tmp_path / "other")


def digest(job: dict[str, Any], work_dir: Path) -> str:
    """Run it in this process; the model's digest."""
    store = open_storage(StorageSpec(), Event(), RetryPolicy())
    result = run(FineTuneJob.parse(job), store, work_dir, FanOut(()), lambda: False)
    assert result.model is not None
    return result.model.digest
