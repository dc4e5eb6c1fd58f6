"""The one way through a run: fetch, read, measure, train, measure, write down, publish.

Data is read before torch is imported and before the backbone is fetched, and the output is tried
first of all: what is wrong with a job shows within seconds, not after an hour.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from embedtune_api.contract import TrainResult
from embedtune_api.job import FineTuneJob
from embedtune_api.spec import Dataset, Encoder, Model
from embedtune_api.status import Headline, Metrics
from embedtune_trainer.artifact import stage
from embedtune_trainer.errors import BadSpec, Interrupted, TrainerError
from embedtune_trainer.modality import wanted_by
from embedtune_trainer.progress import Reporter
from embedtune_trainer.rows.check import check_trainable
from embedtune_trainer.rows.read import ImageFetcher, Wanted, read_rows
from embedtune_trainer.rows.table import Rows
from embedtune_trainer.sources.fetch import Fetched, fetch_backbone, fetch_dataset
from embedtune_trainer.sources.storage import Store

if TYPE_CHECKING:
    from embedtune_trainer.embedder.encoders import Encoders
    from embedtune_trainer.fit import FitReport
    from embedtune_trainer.tasks import Task

Stop = Callable[[], bool]


def run(
    job: FineTuneJob, store: Store, work_dir: Path, reporter: Reporter, stop: Stop
) -> TrainResult:
    """Run a job to its end.

    Args:
        job: what to do.
        store: where its URIs are.
        work_dir: for downloads and the model before it is published; nothing else is written to.
        reporter: told how far it is.
        stop: whether to end early, asked between steps and phases.

    Returns:
        The result, with the model in its place.

    Raises:
        TrainerError: what ended it; the message begins with the spec's field where one is meant.
    """
    spec = job.spec
    reporter.phase("Loading")
    with _about("spec.output.uri"):
        store.prepare(job.output_uri)
    with _about("spec.model.backbone"):
        wanted = wanted_by(spec.model, store, work_dir / "config")
    files = _Files(store, work_dir / "data", wanted)
    rows = files.read(spec.data.train, "spec.data.train")
    check_trainable(rows)
    _go_on(stop)

    from embedtune_trainer.evaluation.plan import headline_metric, plan_evaluation
    from embedtune_trainer.fit import fit
    from embedtune_trainer.tasks import build_task, loss_name

    loss_name(spec.objective, rows)
    rows, measure = plan_evaluation(spec.data, rows, spec.training.seed, files.read)
    revisions: dict[str, str] = {}
    encoders = _encoders(spec.model, store, work_dir, spec.training.seed, stop, revisions)
    task = build_task(encoders, rows, spec.objective, spec.training)
    reporter.note(
        "ready",
        train_rows=len(rows),
        queries=len(measure),
        objective=task.name,
        embedding_dim=encoders.embedding_dim,
        device=encoders.left.device,
    )
    reporter.phase("Evaluating")
    before = measure.run(encoders, stop)
    _go_on(stop)
    reporter.phase("Training")
    report = fit(encoders, task, spec.training, reporter, stop)
    _go_on(stop)
    reporter.phase("Evaluating")
    after = measure.run(encoders, stop)
    _go_on(stop)
    metrics = _metrics(headline_metric(spec.data, measure), before, after)
    reporter.note("measured", **_facts(metrics.headline))
    reporter.phase("Exporting")
    model = stage(
        encoders, work_dir / "model", job, metrics, task.name, _report(report, task, revisions)
    )
    with _about("spec.output.uri"):
        store.publish(work_dir / "model", job.output_uri)
    reporter.note("published", uri=model.uri, digest=model.digest, bytes=model.size_bytes)
    return TrainResult(model=model, metrics=metrics, train_seconds=round(report.seconds, 3))


def _encoders(
    model: Model, store: Store, work_dir: Path, seed: int, stop: Stop, revisions: dict[str, str]
) -> "Encoders":
    """What the spec's model describes, fetched and loaded; commits of a hub go into `revisions`."""
    from embedtune_trainer.embedder.encoders import Encoders
    from embedtune_trainer.embedder.load import load_encoder
    from embedtune_trainer.embedder.pair import build_pair, is_pair_folder, load_pair

    def fetched(encoder: Encoder, field: str) -> Fetched:
        with _about(field):
            found = fetch_backbone(store, encoder, work_dir / field)
            if found.revision is not None:
                revisions[found.uri] = found.revision
        _go_on(stop)
        return found

    if model.text is not None and model.image is not None:
        towers = []
        for name, tower in (("text", model.text), ("image", model.image)):
            field = f"spec.model.{name}.backbone"
            found = fetched(tower, field)
            with _about(f"{field}: {tower.backbone}"):
                towers.append(load_encoder(found, tower, seed))
        return Encoders.pair(build_pair(*towers))
    encoder = model.encoder
    if encoder is None:
        raise BadSpec("spec.model: give backbone, or text and image with a backbone each")
    field = "spec.model.backbone"
    found = fetched(encoder, field)
    with _about(f"{field}: {encoder.backbone}"):
        if found.folder is not None and is_pair_folder(found.folder):
            return Encoders.pair(load_pair(found, model, seed))
        return Encoders.single(load_encoder(found, encoder, seed))


class _Files:
    """Data files, each fetched and read when it is asked for."""

    def __init__(self, store: Store, folder: Path, wanted: Wanted) -> None:
        self._store = store
        self._folder = folder
        self._wanted = wanted
        self._images = ImageFetcher(folder / "images", store)
        self._count = 0

    def read(self, dataset: Dataset, field: str) -> Rows:
        """The rows of one file; `field` is its place in the spec, for messages."""
        self._count += 1
        with _about(f"{field}.uri"):
            path = fetch_dataset(self._store, dataset.uri, self._folder / str(self._count))
        return read_rows(path, dataset, self._wanted, field, self._images)


@contextmanager
def _about(field: str) -> Iterator[None]:
    """Name the spec's field that an error comes from, unless its message does already."""
    try:
        yield
    except Interrupted:
        raise
    except TrainerError as error:
        if str(error).startswith("spec."):
            raise
        raise type(error)(f"{field}: {error}") from error


def _go_on(stop: Stop) -> None:
    if stop():
        raise Interrupted("told to stop before the model was finished")


def _metrics(headline: str, before: dict[str, float], after: dict[str, float]) -> Metrics:
    """Both sides as strings with four decimals."""
    told = {name: f"{value:.4f}" for name, value in before.items()}
    now = {name: f"{value:.4f}" for name, value in after.items()}
    return Metrics(
        headline=Headline(name=headline, before=told[headline], after=now[headline]),
        before=told,
        after=now,
    )


def _facts(headline: Headline) -> dict[str, object]:
    return {"metric": headline.name, "before": headline.before, "after": headline.after}


def _report(report: "FitReport", task: "Task", revisions: dict[str, str]) -> dict[str, object]:
    """What training.json says of the training: all but times, which no run repeats."""
    times = ("seconds", "data_wait_ratio")
    told = {name: value for name, value in asdict(report).items() if name not in times}
    return {**told, **task.facts, "revisions": revisions}
