"""The model as a folder: weights, what it was trained with, a manifest, and a report for people.

manifest.json is canonical JSON without times, so the same run gives the same digest. It holds the
sha256 of every file that the model consists of, and the names of those that hold times and are for
people alone: the card, and the folder report/, in which digests.json has their sha256. It is
written last: a folder without it is not a model.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

from pydantic import Field, ValidationError

from embedtune_api import __version__
from embedtune_api.base import ApiModel
from embedtune_api.contract import CHECKPOINTS, MANIFEST, TrainResult
from embedtune_api.job import FineTuneJob
from embedtune_api.status import Metrics, ModelRef
from embedtune_trainer.errors import UnsupportedModel
from embedtune_trainer.reporting.card import CardFacts, model_card
from embedtune_trainer.sources.storage import folder_files, without_manifest
from embedtune_trainer.usage import kind_of

CARD = "README.md"
REPORT = "report"
"""The folder for what people look at."""
DIGESTS = f"{REPORT}/digests.json"
RESULT = f"{REPORT}/result.json"
"""The run's last word but for the model; see published."""
TRAINING = "training.json"
TABLE = "model.txt"
"""What the model consists of, as `embedtune inspect` shows it."""
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
    """Every file that the model consists of, by its path in the folder."""
    reports: tuple[str, ...] = ()
    """Paths of the files for people, which hold times; their digests are in report/digests.json."""


class ReportDigests(ApiModel):
    """report/digests.json."""

    files: dict[str, ManifestFile]
    """Every file that manifest.json names among its reports, but this one."""


@dataclass(frozen=True)
class ForPeople:
    """What lies in the folder for people.

    Attributes:
        table: what the model consists of; empty if that could not be found out.
        facts: for the card.
        write_report: puts what it likes into the folder that it is given, report/.
        result: what the run ends with, but for the model.
    """

    table: str = ""
    facts: CardFacts = field(default_factory=CardFacts)
    write_report: Callable[[Path], None] | None = None
    result: TrainResult | None = None


def stage(
    embedder: Savable,
    folder: Path,
    job: FineTuneJob,
    metrics: Metrics,
    objective: str,
    report: Mapping[str, Any],
    for_people: ForPeople | None = None,
) -> ModelRef:
    """Write the model into an empty folder.

    Args:
        embedder: the tuned model.
        folder: where to; made if it is missing.
        job: what it was trained by, with the URI that it will have.
        metrics: before and after.
        objective: what it was trained with, for its card.
        report: facts of the training, the same for the same run (no times).
        for_people: what may differ between two runs that are the same.

    Returns:
        What the status says of it. It is true once the folder is published at its URI.
    """
    people = for_people or ForPeople()
    folder.mkdir(parents=True, exist_ok=True)
    embedder.save(folder)
    if people.table:
        (folder / TABLE).write_text(people.table + "\n", encoding="utf-8")
    training = {
        "job": job.trainer_input(),
        "metrics": metrics.to_dict(),
        "report": dict(report),
        "versions": {"embedtune": __version__} | {name: version(name) for name in _PACKAGES},
    }
    (folder / TRAINING).write_text(json.dumps(training, indent=2, sort_keys=True) + "\n")
    files = _digests(folder)
    dim = embedder.embedding_dim
    card = model_card(job, metrics, objective, dim, kind_of(folder), people.facts)
    (folder / CARD).write_text(card, encoding="utf-8")
    if people.write_report is not None:
        people.write_report(folder / REPORT)
    (folder / REPORT).mkdir(exist_ok=True)
    if people.result is not None:
        (folder / RESULT).write_text(people.result.to_message() + "\n", encoding="utf-8")
    reports = {name: file for name, file in _digests(folder).items() if name not in files}
    digests = canonical_json(ReportDigests(files=reports).to_dict())
    (folder / DIGESTS).write_bytes(digests)
    manifest = Manifest(
        base_model=base_model(job),
        embedding_dim=dim,
        files=files,
        reports=tuple(sorted([*reports, DIGESTS])),
    )
    data = canonical_json(manifest.to_dict())
    (folder / MANIFEST).write_bytes(data)
    sizes = (file.size for file in (*files.values(), *reports.values()))
    return ModelRef(
        uri=job.output_uri,
        digest="sha256:" + hashlib.sha256(data).hexdigest(),
        size_bytes=len(data) + len(digests) + sum(sizes),
        embedding_dim=dim,
        base_model=base_model(job),
    )


def _digests(folder: Path) -> dict[str, ManifestFile]:
    """All files but the manifest."""
    return {
        name: ManifestFile(sha256=file_sha256(path), size=path.stat().st_size)
        for name, path in without_manifest(folder_files(folder)).items()
    }


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
    """Check every file of a model against its manifest, and the report's against their digests.

    Raises:
        UnsupportedModel: a file is missing, changed, or not in the manifest.
    """
    manifest = load_manifest(folder)
    there = {
        name: path
        for name, path in without_manifest(folder_files(folder)).items()
        if not name.startswith(f"{CHECKPOINTS}/")  # of a run that will replace this model
    }
    told = {**manifest.files, **_told_of_reports(folder, manifest)}
    names = {*manifest.files, *manifest.reports}
    wrong = {
        **dict.fromkeys(names - there.keys(), "is missing"),
        **dict.fromkeys(there.keys() - names, "is not in the manifest"),
        **{
            name: "is not what the manifest says"
            for name in told.keys() & there.keys()
            if file_sha256(there[name]) != told[name].sha256
        },
    }
    if wrong:
        raise UnsupportedModel(
            f"{folder}: " + ", ".join(f"{name} {what}" for name, what in sorted(wrong.items()))
        )
    return manifest


def _told_of_reports(folder: Path, manifest: Manifest) -> dict[str, ManifestFile]:
    """What digests.json says; nothing if it is missing, which is found for itself."""
    path = folder / DIGESTS
    if DIGESTS not in manifest.reports or not path.exists():
        return {}
    try:
        return ReportDigests.model_validate_json(path.read_bytes()).files
    except ValidationError as error:
        raise UnsupportedModel(f"{path}: not a list of digests: {error}") from None


def canonical_json(data: Mapping[str, Any]) -> bytes:
    """The one way to write this JSON: sorted keys, no spaces, UTF-8, a newline at the end."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode() + b"\n"


def file_sha256(path: Path) -> str:
    """The file's sha256 in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
