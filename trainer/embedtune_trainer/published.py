"""The model that an earlier attempt of the same run has published, if there is one.

A pod can be lost between its model's manifest and its exit code, with its last word. The pod after
it would train all over again, for what lies there.
"""

import hashlib
import json
import logging
from pathlib import Path
from typing import Any, Final

from embedtune_api.contract import CHECKPOINTS, MANIFEST, TrainResult
from embedtune_api.job import LOCAL_UID, FineTuneJob
from embedtune_api.status import ModelRef
from embedtune_trainer.artifact import RESULT, TRAINING, Manifest, load_manifest
from embedtune_trainer.errors import AccessDenied, RetryableError, UnsupportedModel
from embedtune_trainer.sources.storage import Store

log = logging.getLogger("embedtune")

MADE_BY: Final = ("model", "data", "objective", "training", "output")
"""Of the spec: what another model would come out for, or other files of it."""


def published_result(job: FineTuneJob, store: Store, work_dir: Path) -> TrainResult | None:
    """What the run that published it would have said; None where this run has to make the model.

    What is left of its checkpoints is removed. A job that came from no cluster is run whenever it
    is asked for, since its place is the same each time.

    Args:
        job: what is run.
        store: the run's.
        work_dir: a folder of its own.

    Raises:
        TrainerError: see Store.
    """
    if job.metadata.uid == LOCAL_UID:
        return None
    uri = job.output_uri
    sizes = store.sizes(uri)
    if not {MANIFEST, TRAINING, RESULT} <= sizes.keys():
        return None
    for name in (MANIFEST, TRAINING, RESULT):
        store.fetch_file(uri + name, work_dir / name)
    try:
        manifest = load_manifest(work_dir)
        made_by = json.loads((work_dir / TRAINING).read_bytes())["job"]["spec"]
        said = TrainResult.model_validate_json((work_dir / RESULT).read_bytes())
    except (UnsupportedModel, ValueError, LookupError, TypeError) as error:
        log.warning("a model is there that cannot be read, uri=%s why=%r", uri, str(error))
        return None
    if not (_is_whole(manifest, sizes) and _is_alike(made_by, job.spec.to_dict())):
        return None
    _remove_checkpoints(store, uri, sizes)
    return said.model_copy(update={"model": _reference(manifest, uri, sizes, work_dir)})


def _is_whole(manifest: Manifest, sizes: dict[str, int]) -> bool:
    return all(sizes.get(name) == file.size for name, file in manifest.files.items())


def _is_alike(then: dict[str, Any], now: dict[str, Any]) -> bool:
    return all(then.get(part) == now.get(part) for part in MADE_BY)


def _remove_checkpoints(store: Store, uri: str, sizes: dict[str, int]) -> None:
    """As publishing does last of all; the model is there all the same if it fails."""
    if any(name.startswith(f"{CHECKPOINTS}/") for name in sizes):
        try:
            store.remove_folder(f"{uri}{CHECKPOINTS}/", MANIFEST)
        except (RetryableError, AccessDenied) as error:
            log.warning("checkpoints are left, uri=%s%s/ why=%r", uri, CHECKPOINTS, str(error))


def _reference(manifest: Manifest, uri: str, sizes: dict[str, int], work_dir: Path) -> ModelRef:
    names = {MANIFEST, *manifest.files, *manifest.reports}
    data = (work_dir / MANIFEST).read_bytes()
    return ModelRef(
        uri=uri,
        digest="sha256:" + hashlib.sha256(data).hexdigest(),
        size_bytes=sum(sizes.get(name, 0) for name in names),
        embedding_dim=manifest.embedding_dim,
        base_model=manifest.base_model,
    )
