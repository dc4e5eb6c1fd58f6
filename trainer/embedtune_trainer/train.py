"""The one way through a run: fetch, read, measure, train, measure, write down, publish.

Data is read before torch is imported and before the backbone is fetched, and the output is tried
first of all: what is wrong with a job shows within seconds, not after an hour.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from embedtune_api import reasons
from embedtune_api.contract import Failure, TrainResult
from embedtune_api.job import FineTuneJob
from embedtune_api.spec import Encoder, FineTuneJobSpec, Model
from embedtune_api.status import Headline, Metrics
from embedtune_trainer import inspection
from embedtune_trainer.artifact import stage
from embedtune_trainer.datafiles import DataFiles, about
from embedtune_trainer.errors import BadSpec, Interrupted, TrainerError
from embedtune_trainer.modality import wanted_by
from embedtune_trainer.progress import FanOut, Reporter
from embedtune_trainer.reporting.loggers import open_loggers
from embedtune_trainer.rows.check import check_trainable
from embedtune_trainer.rows.table import Rows
from embedtune_trainer.sources.fetch import Fetched, fetch_backbone
from embedtune_trainer.sources.storage import Store
from embedtune_trainer.stopping import ends_with_a_checkpoint

if TYPE_CHECKING:
    from embedtune_trainer.embedder.encoders import Encoders
    from embedtune_trainer.evaluation.measures import Measure
    from embedtune_trainer.mixture import Mixture
    from embedtune_trainer.objectives.choice import Entry
    from embedtune_trainer.training.watch import FitReport

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
    with open_loggers(job, work_dir / "loggers", reporter) as told:
        return _run(job, store, work_dir, told, stop)


def _run(
    job: FineTuneJob, store: Store, work_dir: Path, reporter: Reporter, stop: Stop
) -> TrainResult:
    spec = job.spec
    reporter.phase("Loading")
    with about("spec.output.uri"):
        store.prepare(job.output_uri)
    with about("spec.model.backbone"):
        wanted = wanted_by(spec.model, store, work_dir / "config")
    files = DataFiles(store, work_dir / "data", wanted)
    read = tuple(files.read(dataset, place).rows for place, dataset in spec.data.entries)
    for rows in read:
        check_trainable(rows)
    _go_on(stop)

    from embedtune_trainer.checkpoints.open import as_recorded, open_keeper
    from embedtune_trainer.evaluation.plan import headline_metric
    from embedtune_trainer.export.finish import Finished, Measured, rehearse
    from embedtune_trainer.mixture import build_mixture
    from embedtune_trainer.reporting.sample import held_out
    from embedtune_trainer.reporting.scribe import Scribe, Told
    from embedtune_trainer.training.evaluations import EACH_EPOCH, Evaluations
    from embedtune_trainer.training.fit import Beside, fit
    from embedtune_trainer.training.loss_optimizer import loss_optimizer_of
    from embedtune_trainer.training.memory import find_batch_size
    from embedtune_trainer.training.selection import (
        Selection,
        check_gate,
        check_wise_ft,
        monitors,
        refusal,
    )

    entries, measure = _entries(spec, read, files)
    headline = headline_metric(spec.data, measure)
    chosen = monitors(spec.training, measure.metrics, headline)
    if spec.training.wise_ft is not None:
        check_wise_ft(spec.model)
    gate = spec.data.evaluation.gate
    if gate is not None:
        check_gate(gate, measure.metrics)
    scribe = Scribe(job, held_out(measure))
    reporter = FanOut((reporter, scribe.history))
    brought: dict[str, Fetched] = {}
    encoders = _encoders(spec.model, store, work_dir, spec.training.seed, stop, brought)
    analyses = _analysed(spec.model, brought, reporter)
    recorded = as_recorded(job, store, work_dir / "checkpoints")
    training = find_batch_size(encoders, entries, spec.objective, recorded)
    mixture = build_mixture(encoders, entries, spec.objective, training, spec.data.weights)
    of_losses = loss_optimizer_of(spec.objective, [task.loss_module for task in mixture.tasks])
    _tell_ready(mixture, len(measure), encoders, spec.training.epochs, reporter)
    rehearse(encoders, spec.output, entries[0].rows)
    reporter.phase("Evaluating")
    before = measure.run(encoders, stop)
    scribe.look_before(encoders, before, stop)
    _go_on(stop)
    keeper = open_keeper(
        *(job, store, encoders.module, mixture.tasks, work_dir / "checkpoints", reporter)
    )
    keeper.also["history"] = scribe.history
    evaluations = Evaluations(
        lambda: measure.run(encoders, stop),
        spec.data.evaluation.every or EACH_EPOCH,
        len(mixture),
        len(mixture) * training.epochs,
        Selection(training, chosen, encoders.module),
    )
    with keeper:
        reporter.phase("Training")
        with ends_with_a_checkpoint():
            beside = Beside(of_losses, keeper, evaluations)
            report = fit(encoders, mixture, training, reporter, stop, beside)
        _go_on(stop)
        reporter.phase("Evaluating")
        after = evaluations.of_kept
        if after is None or training.wise_ft is not None:
            after = measure.run(encoders, stop)
        scribe.look_after(encoders, after, report.steps, stop)
        _go_on(stop)
        metrics = _metrics(headline, before, after)
        reporter.note("measured", **_facts(metrics.headline))
        reporter.phase("Exporting")
        told = _report(report, brought, analyses)
        told["data"] = data = mixture.report(spec.training.epochs)
        people = scribe.for_people(
            Told(
                headline=headline,
                before=before,
                after=after,
                objective=mixture.name,
                embedding_dim=encoders.embedding_dim,
                seconds=report.seconds,
                rows=report.rows,
                data_wait_ratio=report.data_wait_ratio,
                data=data,
                brought=brought,
                modules=inspection.render(analyses),
            )
        )
        measured = Measured(measure, headline, after[headline])
        tuned = Finished(encoders, spec.output, entries[0].rows, measured, reporter, stop)
        model = stage(tuned, work_dir / "model", job, metrics, mixture.name, told, people)
    with about("spec.output.uri"):
        store.publish(work_dir / "model", job.output_uri)
    reporter.note("published", uri=model.uri, digest=model.digest, bytes=model.size_bytes)
    why = None if gate is None else refusal(gate, headline, before, after)
    if why is not None:
        reporter.note("the model does not pass the gate", why=why)
    return TrainResult(
        model=model,
        metrics=metrics,
        gated=gate is not None and why is None,
        failure=None if why is None else Failure(reason=reasons.NOT_IMPROVED, message=why),
        train_seconds=round(report.seconds, 3),
    )


def _entries(
    spec: FineTuneJobSpec, read: Sequence[Rows], files: DataFiles
) -> "tuple[list[Entry], Measure]":
    """What is trained on, and what is measured on; the objective is known to suit it."""
    from embedtune_trainer.evaluation.plan import plan_evaluation
    from embedtune_trainer.objectives.choice import Entry, choose_losses

    places = [place for place, _ in spec.data.entries]
    choose_losses(spec.objective, [Entry(*whole) for whole in zip(read, places, strict=True)])
    trained, measure = plan_evaluation(
        spec.data, read, spec.training.seed, lambda *where: files.read(*where).rows
    )
    entries = [
        Entry(rows, place, len(whole) - len(rows))
        for rows, place, whole in zip(trained, places, read, strict=True)
    ]
    return entries, measure


def _encoders(
    model: Model, store: Store, work_dir: Path, seed: int, stop: Stop, brought: dict[str, Fetched]
) -> "Encoders":
    """What the spec's model describes, fetched and loaded; what was fetched goes into `brought`."""
    from embedtune_trainer.embedder.encoders import Encoders
    from embedtune_trainer.embedder.load import load_encoder, load_tower
    from embedtune_trainer.embedder.pair import build_pair, is_pair_folder, load_encoders

    def fetched(encoder: Encoder, field: str) -> Fetched:
        with about(field):
            found = fetch_backbone(store, encoder, work_dir / field)
            brought[found.uri] = found
        _go_on(stop)
        return found

    if model.text is not None and model.image is not None:
        towers = []
        for name, tower in (("text", model.text), ("image", model.image)):
            field = f"spec.model.{name}.backbone"
            found = fetched(tower, field)
            with about(f"{field}: {tower.backbone}"):
                towers.append(load_tower(found, tower, seed))
        return Encoders.pair(build_pair(*towers))
    encoder = model.encoder
    if encoder is None:
        raise BadSpec("spec.model: give backbone, or text and image with a backbone each")
    field = "spec.model.backbone"
    found = fetched(encoder, field)
    with about(f"{field}: {encoder.backbone}"):
        if found.folder is not None and is_pair_folder(found.folder):
            return load_encoders(found, model, seed)
        return Encoders.single(load_encoder(found, encoder, seed))


def _analysed(model: Model, brought: dict[str, Fetched], reporter: Reporter) -> inspection.Analyses:
    """What the encoders consist of, told to the reporter; nothing if that cannot be found out."""
    try:
        analyses = inspection.inspect_model(model, brought)
    except TrainerError as error:
        reporter.note("the model's modules cannot be listed", why=error)
        return {}
    for name, facts in inspection.notes(analyses):
        reporter.note(name, **facts)
    return analyses


def _tell_ready(
    mixture: "Mixture", queries: int, encoders: "Encoders", epochs: int, reporter: Reporter
) -> None:
    reporter.note(
        "ready",
        train_rows=mixture.rows,
        queries=queries,
        objective=mixture.name,
        embedding_dim=encoders.embedding_dim,
        device=encoders.left.device,
    )
    if len(mixture.tasks) > 1:
        for entry in mixture.report(epochs):
            reporter.note("mixed in", **entry)


def _go_on(stop: Stop) -> None:
    if stop():
        raise Interrupted("told to stop before the model was finished")


def _metrics(headline: str, before: Mapping[str, float], after: Mapping[str, float]) -> Metrics:
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


def _report(
    report: "FitReport", brought: dict[str, Fetched], analyses: inspection.Analyses
) -> dict[str, object]:
    """What training.json says of the training: all but times, which no run repeats."""
    times = ("seconds", "data_wait_ratio")
    told = {name: value for name, value in asdict(report).items() if name not in times}
    revisions = {uri: f.revision for uri, f in brought.items() if f.revision is not None}
    model = {name: inspection.facts(analysis) for name, analysis in analyses.items()}
    return {**told, "revisions": revisions, "model": model}
