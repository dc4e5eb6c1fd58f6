"""The course of a run whose data is read: load, measure, train, measure, write down, publish."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from embedtune_api import reasons
from embedtune_api.contract import Failure, TrainResult
from embedtune_api.job import FineTuneJob
from embedtune_api.spec import Training
from embedtune_api.status import Headline, Metrics, ModelRef
from embedtune_trainer import inspection
from embedtune_trainer.artifact import stage
from embedtune_trainer.checkpoints.identity import digest_of_rows
from embedtune_trainer.checkpoints.keeper import Keeper
from embedtune_trainer.checkpoints.open import as_recorded, open_keeper
from embedtune_trainer.datafiles import DataFiles, about
from embedtune_trainer.embedder.encoders import Encoders
from embedtune_trainer.errors import BadData
from embedtune_trainer.evaluation.bootstrap import intervals
from embedtune_trainer.evaluation.measures import Measure
from embedtune_trainer.evaluation.outcome import Outcome
from embedtune_trainer.evaluation.plan import plan_evaluation
from embedtune_trainer.export.finish import Finished, Measured, rehearse
from embedtune_trainer.loading import analysed, go_on, load
from embedtune_trainer.mixture import Mixture, build_mixture
from embedtune_trainer.objectives.choice import Entry, choose_losses
from embedtune_trainer.processes import ALONE, Processes
from embedtune_trainer.progress import FanOut, Reporter
from embedtune_trainer.reporting.scribe import Scribe, Told
from embedtune_trainer.rows.table import Rows
from embedtune_trainer.sources.fetch import Fetched
from embedtune_trainer.sources.storage import Store
from embedtune_trainer.stopping import ends_with_a_checkpoint
from embedtune_trainer.training.distributed import World
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


@dataclass(frozen=True)
class Yardstick:
    """What the model is looked at with.

    Attributes:
        measure: the evaluation data.
        judge: says what is good enough.
        scribe: writes the report.
    """

    measure: Measure
    judge: Judge
    scribe: Scribe


class Course:
    """One run; see train.run for what it is given.

    Of several processes all read, load and train; the main one does the rest, and they wait.
    """

    def __init__(
        self,
        job: FineTuneJob,
        store: Store,
        work_dir: Path,
        reporter: Reporter,
        stop: Stop,
        processes: Processes = ALONE,
    ) -> None:
        self._job = job
        self._spec = job.spec
        self._store = store
        self._work_dir = work_dir
        self._reporter = reporter
        self._stop = stop
        self._processes = processes

    def run(self, read: Sequence[Rows], files: DataFiles) -> TrainResult:
        """From the rows of the data's entries to the model in its place."""
        with self._processes.node_first():
            entries, measure = self._plan(read, files)
        self._check_alike(entries)
        scribe = Scribe(self._job, measure.measured_on[0])
        by = Yardstick(measure, Judge.of(self._spec, measure), scribe)
        self._reporter = FanOut((self._reporter, scribe.history))
        ready = self._load(entries)
        self._tell_ready(ready, len(measure))
        if self._processes.is_main:
            rehearse(ready.encoders, self._spec.output, entries[0].rows)
        self._reporter.phase("Evaluating")
        before = self._measured(measure, ready.encoders)
        if self._processes.is_main:
            scribe.look_before(ready.encoders, before, self._stop)
        with self._keeper(ready, by) as keeper:
            trained = self._train(ready, by, before, keeper)
            return self._processes.on_main(lambda: self._finish(ready, trained, by, keeper))

    def _check_alike(self, entries: Sequence[Entry]) -> None:
        """Know that all processes train on the same rows.

        Raises:
            BadData: they do not.
        """
        if self._processes.size == 1:
            return
        own = {entry.place: digest_of_rows(entry.rows) for entry in entries}
        main = self._processes.on_main(lambda: own)
        if different := [place for place in own if own[place] != main[place]]:
            raise BadData(
                f"{different[0]}: process {self._processes.rank} has read other rows than process"
                " 0; the file has changed meanwhile, or is not the same on every node"
            )

    def _measured(self, measure: Measure, encoders: Encoders) -> Outcome:
        """The encoders as they stand, by the main process; the others hear the metrics alone."""
        found: list[Outcome] = []

        def run() -> dict[str, float]:
            found.append(measure.run(encoders, self._stop))
            return dict(found[0])

        metrics = self._processes.on_main(run)
        return found[0] if found else Outcome(metrics)

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
        with self._processes.node_first():
            encoders = load(
                spec.model, self._store, self._work_dir, spec.training.seed, self._stop, brought
            )
        analyses = analysed(spec.model, brought, self._reporter)
        recorded = self._processes.on_main(
            lambda: as_recorded(self._job, self._store, self._work_dir / "checkpoints")
        )
        world = World.of(self._processes)
        training = find_batch_size(encoders, entries, spec.objective, recorded, world)
        mixture = build_mixture(encoders, entries, spec.objective, training, spec.data.weights)
        return Ready(encoders, brought, analyses, training, mixture)

    @contextmanager
    def _keeper(self, ready: Ready, by: Yardstick) -> Iterator[Keeper | None]:
        """Of the checkpoints, closed at the end; None in a process that writes none."""
        if not self._processes.is_main:
            yield None
            return
        with open_keeper(
            self._job,
            self._store,
            ready.encoders.module,
            ready.mixture.tasks,
            by.measure.measured_on,
            self._work_dir / "checkpoints",
            self._reporter,
        ) as keeper:
            keeper.also["history"] = by.scribe.history
            yield keeper

    def _train(
        self, ready: Ready, by: Yardstick, before: Outcome, keeper: Keeper | None
    ) -> Trained:
        """Train, and measure what is kept of it."""
        encoders, training, mixture = ready.encoders, ready.training, ready.mixture
        evaluations = Evaluations(
            lambda: self._measured(by.measure, encoders),
            self._spec.data.evaluation.every or EACH_EPOCH,
            len(mixture),
            len(mixture) * training.epochs,
            Selection(training, by.judge.monitors, encoders.module),
        )
        of_losses = loss_optimizer_of(
            self._spec.objective, [task.loss_module for task in mixture.tasks]
        )
        go_on(self._stop)
        self._reporter.phase("Training")
        beside = Beside(of_losses, keeper, evaluations, self._processes)
        with ends_with_a_checkpoint():
            report = fit(encoders, mixture, training, self._reporter, self._stop, beside)
        go_on(self._stop)
        self._reporter.phase("Evaluating")
        after = evaluations.of_kept
        if after is None or training.wise_ft is not None:
            after = self._measured(by.measure, encoders)
        return Trained(report, before, after)

    def _finish(
        self, ready: Ready, trained: Trained, by: Yardstick, keeper: Keeper | None
    ) -> TrainResult:
        """The model in its place."""
        encoders, steps = ready.encoders, trained.report.steps
        by.scribe.look_after(encoders, trained.after, steps, self._stop)
        metrics = _metrics(by.judge.headline, trained.before, trained.after)
        self._reporter.note("measured", **_facts(metrics.headline))
        result = self._result(by.judge, trained, metrics)
        model = self._stage(ready, trained, by, metrics, result)
        if keeper is not None:
            keeper.close()  # a checkpoint that came after the model would stay there
        with about("spec.output.uri"):
            self._store.publish(self._work_dir / "model", self._job.output_uri)
        self._reporter.note("published", uri=model.uri, digest=model.digest, bytes=model.size_bytes)
        return result.model_copy(update={"model": model})

    def _stage(
        self,
        ready: Ready,
        trained: Trained,
        by: Yardstick,
        metrics: Metrics,
        result: TrainResult,
    ) -> ModelRef:
        """The model's folder, with all that is said of it."""
        go_on(self._stop)
        self._reporter.phase("Exporting")
        report, before, after = trained.report, trained.before, trained.after
        encoders, mixture, headline = ready.encoders, ready.mixture, metrics.headline.name
        measure, rows = by.measure, mixture.tasks[0].entry.rows
        data = mixture.report(self._spec.training.epochs)
        people = by.scribe.for_people(
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
            )
        )
        measured = Measured(measure, headline, after[headline])
        tuned = Finished(encoders, self._spec.output, rows, measured, self._reporter, self._stop)
        told = {**_report(ready, report), "data": data}
        folder = self._work_dir / "model"
        people = replace(people, result=result)
        return stage(tuned, folder, self._job, metrics, mixture.name, told, people)

    def _result(self, judge: Judge, trained: Trained, metrics: Metrics) -> TrainResult:
        """The last word, but for the model."""
        why = judge.refusal(trained.before, trained.after)
        if why is not None:
            self._reporter.note("the model does not pass the gate", why=why)
        return TrainResult(
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
