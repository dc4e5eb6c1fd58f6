"""The course of a run whose data is read: load, measure, train, measure, write down, publish."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from embedtune_api import reasons
from embedtune_api.contract import Failure, TrainResult
from embedtune_api.job import FineTuneJob
from embedtune_api.spec import Training
from embedtune_api.status import Headline, Metrics, ModelRef
from embedtune_trainer import inspection
from embedtune_trainer.artifact import stage
from embedtune_trainer.checkpoints.keeper import Keeper
from embedtune_trainer.checkpoints.open import as_recorded, open_keeper
from embedtune_trainer.datafiles import DataFiles, about
from embedtune_trainer.embedder.encoders import Encoders
from embedtune_trainer.evaluation.bootstrap import intervals
from embedtune_trainer.evaluation.measures import Measure
from embedtune_trainer.evaluation.outcome import Outcome
from embedtune_trainer.evaluation.plan import plan_evaluation
from embedtune_trainer.export.finish import Finished, Measured, rehearse
from embedtune_trainer.loading import analysed, go_on, load
from embedtune_trainer.mixture import Mixture, build_mixture
from embedtune_trainer.objectives.choice import Entry, choose_losses
from embedtune_trainer.progress import FanOut, Reporter
from embedtune_trainer.reporting.sample import held_out
from embedtune_trainer.reporting.scribe import Scribe, Told
from embedtune_trainer.rows.table import Rows
from embedtune_trainer.sources.fetch import Fetched
from embedtune_trainer.sources.storage import Store
from embedtune_trainer.stopping import ends_with_a_checkpoint
from embedtune_trainer.training.evaluations import EACH_EPOCH, Evaluations
from embedtune_trainer.training.fit import Beside, fit
from embedtune_trainer.training.judge import Judge
from embedtune_trainer.training.loss_optimizer import loss_optimizer_of
from embedtune_trainer.training.memory import find_batch_size
from embedtune_trainer.training.selection import Selection
from embedtune_trainer.training.watch import FitReport

Stop = Callable[[], bool]


@dataclass(frozen=True)
class Ready:
    """All that a training needs.

    Attributes:
        encoders: what is trained.
        brought: the backbones by URI.
        analyses: what the encoders consist of.
        training: spec.training, with what was found for auto.
        mixture: what is trained on.
    """

    encoders: Encoders
    brought: Mapping[str, Fetched]
    analyses: inspection.Analyses
    training: Training
    mixture: Mixture


@dataclass(frozen=True)
class Trained:
    """What came of it.

    Attributes:
        report: how the training went.
        before: the untouched model, measured.
        after: the tuned one.
    """

    report: FitReport
    before: Outcome
    after: Outcome


class Course:
    """One run; see train.run for what it is given."""

    def __init__(
        self, job: FineTuneJob, store: Store, work_dir: Path, reporter: Reporter, stop: Stop
    ) -> None:
        self._job = job
        self._spec = job.spec
        self._store = store
        self._work_dir = work_dir
        self._reporter = reporter
        self._stop = stop

    def run(self, read: Sequence[Rows], files: DataFiles) -> TrainResult:
        """From the rows of the data's entries to the model in its place."""
        entries, measure = self._plan(read, files)
        judge = Judge.of(self._spec, measure)
        scribe = Scribe(self._job, held_out(measure))
        self._reporter = FanOut((self._reporter, scribe.history))
        ready = self._load(entries)
        self._tell_ready(ready, len(measure))
        rehearse(ready.encoders, self._spec.output, entries[0].rows)
        self._reporter.phase("Evaluating")
        before = measure.run(ready.encoders, self._stop)
        scribe.look_before(ready.encoders, before, self._stop)
        with self._keeper(ready) as keeper:
            keeper.also["history"] = scribe.history
            trained = self._train(ready, measure, judge, before, keeper)
            scribe.look_after(ready.encoders, trained.after, trained.report.steps, self._stop)
            metrics = _metrics(judge.headline, before, trained.after)
            self._reporter.note("measured", **_facts(metrics.headline))
            model = self._stage(ready, trained, measure, metrics, scribe, entries[0].rows)
        with about("spec.output.uri"):
            self._store.publish(self._work_dir / "model", self._job.output_uri)
        self._reporter.note("published", uri=model.uri, digest=model.digest, bytes=model.size_bytes)
        return self._result(judge, trained, metrics, model)

    def _plan(self, read: Sequence[Rows], files: DataFiles) -> tuple[list[Entry], Measure]:
        """What is trained on, and what is measured on; the objective is known to suit it."""
        spec = self._spec
        places = [place for place, _ in spec.data.entries]
        whole = list(zip(read, places, strict=True))
        choose_losses(spec.objective, [Entry(*entry) for entry in whole])
        trained, measure = plan_evaluation(
            spec.data, read, spec.training.seed, lambda *where: files.read(*where).rows
        )
        entries = [
            Entry(rows, place, len(all_rows) - len(rows))
            for rows, (all_rows, place) in zip(trained, whole, strict=True)
        ]
        return entries, measure

    def _load(self, entries: Sequence[Entry]) -> Ready:
        spec, brought = self._spec, dict[str, Fetched]()
        encoders = load(
            spec.model, self._store, self._work_dir, spec.training.seed, self._stop, brought
        )
        analyses = analysed(spec.model, brought, self._reporter)
        recorded = as_recorded(self._job, self._store, self._work_dir / "checkpoints")
        training = find_batch_size(encoders, entries, spec.objective, recorded)
        mixture = build_mixture(encoders, entries, spec.objective, training, spec.data.weights)
        return Ready(encoders, brought, analyses, training, mixture)

    def _keeper(self, ready: Ready) -> Keeper:
        return open_keeper(
            self._job,
            self._store,
            ready.encoders.module,
            ready.mixture.tasks,
            self._work_dir / "checkpoints",
            self._reporter,
        )

    def _train(
        self, ready: Ready, measure: Measure, judge: Judge, before: Outcome, keeper: Keeper
    ) -> Trained:
        """Train, and measure what is kept of it."""
        encoders, training, mixture = ready.encoders, ready.training, ready.mixture
        evaluations = Evaluations(
            lambda: measure.run(encoders, self._stop),
            self._spec.data.evaluation.every or EACH_EPOCH,
            len(mixture),
            len(mixture) * training.epochs,
            Selection(training, judge.monitors, encoders.module),
        )
        of_losses = loss_optimizer_of(
            self._spec.objective, [task.loss_module for task in mixture.tasks]
        )
        go_on(self._stop)
        self._reporter.phase("Training")
        beside = Beside(of_losses, keeper, evaluations)
        with ends_with_a_checkpoint():
            report = fit(encoders, mixture, training, self._reporter, self._stop, beside)
        go_on(self._stop)
        self._reporter.phase("Evaluating")
        after = evaluations.of_kept
        if after is None or training.wise_ft is not None:
            after = measure.run(encoders, self._stop)
        return Trained(report, before, after)

    def _stage(
        self,
        ready: Ready,
        trained: Trained,
        measure: Measure,
        metrics: Metrics,
        scribe: Scribe,
        rows: Rows,
    ) -> ModelRef:
        """The model's folder, with all that is said of it; `rows` are tried with what is saved."""
        go_on(self._stop)
        self._reporter.phase("Exporting")
        report, before, after = trained.report, trained.before, trained.after
        encoders, mixture, headline = ready.encoders, ready.mixture, metrics.headline.name
        data = mixture.report(self._spec.training.epochs)
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
                brought=ready.brought,
                modules=inspection.render(ready.analyses),
                intervals=intervals(before, after, self._spec.training.seed),
                examples=measure.examples(before, after),
                queries=measure.searched_with,
                index=measure.searched_in,
            )
        )
        measured = Measured(measure, headline, after[headline])
        tuned = Finished(encoders, self._spec.output, rows, measured, self._reporter, self._stop)
        told = {**_report(ready, report), "data": data}
        folder = self._work_dir / "model"
        return stage(tuned, folder, self._job, metrics, mixture.name, told, people)

    def _result(
        self, judge: Judge, trained: Trained, metrics: Metrics, model: ModelRef
    ) -> TrainResult:
        why = judge.refusal(trained.before, trained.after)
        if why is not None:
            self._reporter.note("the model does not pass the gate", why=why)
        return TrainResult(
            model=model,
            metrics=metrics,
            gated=judge.gate is not None and why is None,
            failure=None if why is None else Failure(reason=reasons.NOT_IMPROVED, message=why),
            train_seconds=round(trained.report.seconds, 3),
        )

    def _tell_ready(self, ready: Ready, queries: int) -> None:
        mixture, encoders = ready.mixture, ready.encoders
        self._reporter.note(
            "ready",
            train_rows=mixture.rows,
            queries=queries,
            objective=mixture.name,
            embedding_dim=encoders.embedding_dim,
            device=encoders.left.device,
        )
        if len(mixture.tasks) > 1:
            for entry in mixture.report(ready.training.epochs):
                self._reporter.note("mixed in", **entry)


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


def _report(ready: Ready, report: FitReport) -> dict[str, object]:
    """What training.json says of the training: all but times, which no run repeats."""
    times = ("seconds", "data_wait_ratio")
    told = {name: value for name, value in asdict(report).items() if name not in times}
    revisions = {uri: f.revision for uri, f in ready.brought.items() if f.revision is not None}
    model = {name: inspection.facts(analysis) for name, analysis in ready.analyses.items()}
    return {**told, "revisions": revisions, "model": model}
