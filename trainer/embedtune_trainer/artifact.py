"""The model as a folder: weights, a card for people, what it was trained with, a manifest.

manifest.json is canonical JSON without times, so the same run gives the same digest. It holds the
sha256 of every other file and is written last: a folder without it is not a model.
"""

import hashlib
import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

from pydantic import Field, ValidationError

from embedtune_api import __version__
from embedtune_api.base import ApiModel
from embedtune_api.contract import CHECKPOINTS, MANIFEST
from embedtune_api.job import FineTuneJob
from embedtune_api.status import Metrics, ModelRef
from embedtune_trainer.errors import UnsupportedModel
from embedtune_trainer.sources.storage import folder_files, without_manifest
from embedtune_trainer.usage import Kind, kind_of, using

CARD = "README.md"
TRAINING = "training.json"
TABLE = "model.txt"
"""What the model consists of, as `embedtune inspect` shows it."""
_TAGS = """library_name: embedtune
tags: [feature-extraction, embedtune]"""
_ST_TAGS = """library_name: sentence-transformers
pipeline_tag: sentence-similarity
tags: [sentence-transformers, feature-extraction, sentence-similarity, embedtune]"""
"""The card's metadata, if sentence-transformers reads the model."""
_PACKAGES = ("torch", "transformers", "tokenizers", "safetensors")


class Savable(Protocol):
    """What of an embedder is wanted here."""

    @property
    def embedding_dim(self) -> int:
        """Dimension of its embeddings."""

    def save(self, folder: Path) -> None:
        """Write it in sentence-transformers' layout."""


class ManifestFile(ApiModel):
    """One file of a model."""

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    size: Annotated[int, Field(ge=0)]
    """Bytes."""


class Manifest(ApiModel):
    """manifest.json."""

    version: Literal[1] = 1
    base_model: str
    """URI of the backbone."""
    embedding_dim: int
    files: dict[str, ManifestFile]
    """Every other file by its path in the folder."""


def stage(
    embedder: Savable,
    folder: Path,
    job: FineTuneJob,
    metrics: Metrics,
    objective: str,
    report: Mapping[str, Any],
    table: str = "",
) -> ModelRef:
    """Write the model into an empty folder.

    Args:
        embedder: the tuned model.
        folder: where to; made if it is missing.
        job: what it was trained by, with the URI that it will have.
        metrics: before and after.
        objective: what it was trained with, for its card.
        report: facts of the training, the same for the same run (no times).
        table: what the model consists of; empty if that could not be found out.

    Returns:
        What the status says of it. It is true once the folder is published at its URI.
    """
    folder.mkdir(parents=True, exist_ok=True)
    embedder.save(folder)
    card = model_card(job, metrics, objective, embedder.embedding_dim, kind_of(folder))
    if table:
        (folder / TABLE).write_text(table + "\n", encoding="utf-8")
        card += f"{TABLE} shows the network's modules.\n"
    (folder / CARD).write_text(card, encoding="utf-8")
    training = {
        "job": job.trainer_input(),
        "metrics": metrics.to_dict(),
        "report": dict(report),
        "versions": {"embedtune": __version__} | {name: version(name) for name in _PACKAGES},
    }
    (folder / TRAINING).write_text(json.dumps(training, indent=2, sort_keys=True) + "\n")
    files = {
        name: ManifestFile(sha256=file_sha256(path), size=path.stat().st_size)
        for name, path in without_manifest(folder_files(folder)).items()
    }
    manifest = Manifest(
        base_model=base_model(job), embedding_dim=embedder.embedding_dim, files=files
    )
    data = canonical_json(manifest.to_dict())
    (folder / MANIFEST).write_bytes(data)
    return ModelRef(
        uri=job.output_uri,
        digest="sha256:" + hashlib.sha256(data).hexdigest(),
        size_bytes=len(data) + sum(file.size for file in files.values()),
        embedding_dim=embedder.embedding_dim,
        base_model=base_model(job),
    )


def base_model(job: FineTuneJob) -> str:
    """URI of the backbone, or both with a comma between."""
    return ", ".join(job.spec.model.backbones)


def load_manifest(folder: Path) -> Manifest:
    """Read a model's manifest.

    Raises:
        UnsupportedModel: there is none, or it is not one.
    """
    path = folder / MANIFEST
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise UnsupportedModel(f"{folder}: no {MANIFEST}, so this is no finished model") from None
    except ValidationError as error:
        raise UnsupportedModel(f"{path}: not a manifest: {error}") from None


def verify(folder: Path) -> Manifest:
    """Check every file of a model against its manifest.

    Raises:
        UnsupportedModel: a file is missing, changed, or not in the manifest.
    """
    manifest = load_manifest(folder)
    there = {
        name: path
        for name, path in without_manifest(folder_files(folder)).items()
        if not name.startswith(f"{CHECKPOINTS}/")  # of a run that will replace this model
    }
    wrong = {
        **dict.fromkeys(manifest.files.keys() - there.keys(), "is missing"),
        **dict.fromkeys(there.keys() - manifest.files.keys(), "is not in the manifest"),
        **{
            name: "is not what the manifest says"
            for name in manifest.files.keys() & there.keys()
            if file_sha256(there[name]) != manifest.files[name].sha256
        },
    }
    if wrong:
        raise UnsupportedModel(
            f"{folder}: " + ", ".join(f"{name} {what}" for name, what in sorted(wrong.items()))
        )
    return manifest


def canonical_json(data: Mapping[str, Any]) -> bytes:
    """The one way to write this JSON: sorted keys, no spaces, UTF-8, a newline at the end."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode() + b"\n"


def file_sha256(path: Path) -> str:
    """The file's sha256 in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def model_card(
    job: FineTuneJob, metrics: Metrics, objective: str, embedding_dim: int, kind: Kind
) -> str:
    """README.md: what the model is, how good, and how to use it."""
    spec = job.spec
    evaluation = spec.data.evaluation
    measured_on = (
        f"queries {evaluation.queries.uri}, searched in {evaluation.index.uri}"
        if evaluation.queries and evaluation.index
        else evaluation.uri or "rows held out of the training data"
    )
    use = using("path/to/this/folder", kind)
    rows = "\n".join(
        f"| {name} | {value} | {metrics.after.get(name, '')} |"
        for name, value in metrics.before.items()
    )
    return f"""---
{_ST_TAGS if kind == "sentence-transformers" else _TAGS}
---

# {job.metadata.name}

An embedding model of {embedding_dim} dimensions, fine-tuned by embedtune.

| | |
|---|---|
| base model | {base_model(job)} |
| job | {job.metadata.namespace}/{job.metadata.name} ({job.metadata.uid}) |
| training data | {", ".join(data.uri for _, data in spec.data.entries)} |
| measured on | {measured_on} |
| objective | {objective} |

## Use it

```python
{use}
```

## How good it is

| metric | before | after |
|---|---|---|
{rows}

The whole job, versions and training report are in {TRAINING}; {MANIFEST} has the sha256 of every
file.
"""
