"""What `embedtune run` shows at a terminal: a bar while it works, a table at the end."""

from collections.abc import Mapping

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn
from rich.table import Table

from embedtune_api.contract import TrainResult
from embedtune_api.status import Metrics
from embedtune_trainer.progress import OF_THE_STEP, Pace, clock_time, sentence
from embedtune_trainer.usage import PLAIN_TEXT, Kind, loading


class ConsoleReporter:
    """A progress bar, with notes above it."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._pace = Pace()
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description:<10}"),
            BarColumn(),
            TextColumn("{task.fields[facts]}"),
            console=console,
            transient=True,
        )
        self._task = self._bar.add_task("", total=None, facts="")

    def __enter__(self) -> "ConsoleReporter":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def phase(self, name: str) -> None:
        """See Reporter."""
        self._bar.reset(self._task, total=None, description=name, facts="")

    def start(self, steps: int, epochs: int) -> None:
        """See Reporter."""
        self._pace.begin(steps, epochs)
        self._bar.update(self._task, total=steps)

    def step(self, step: int, epoch: int, loss: float, rows: int, data_wait_s: float) -> None:
        """See Reporter."""
        reading = self._pace.step(step, epoch, loss, rows, data_wait_s)
        facts = (
            f"{reading.percent}%  epoch {reading.epoch}/{reading.epochs}  loss {loss:.4f}"
            f"  {reading.samples_per_second:.0f} rows/s  {clock_time(reading.eta_s)} left"
        )
        self._bar.update(self._task, completed=step, facts=facts)

    def measured(self, step: int, epoch: int, metrics: Mapping[str, float]) -> None:
        """See Reporter."""
        shown = {name: value for name, value in metrics.items() if name not in OF_THE_STEP}
        if shown:
            self.note("measured", step=step, epoch=epoch, **shown)

    def note(self, message: str, **facts: object) -> None:
        """See Reporter."""
        self._console.print(sentence(message, facts), style="dim", markup=False, highlight=False)


def show_result(console: Console, result: TrainResult, kind: Kind = PLAIN_TEXT) -> None:
    """The table of metrics, where the model is, and how to load it."""
    if result.metrics is not None:
        console.print(metrics_table(result.metrics))
    if result.train_seconds is not None:
        console.print(f"Trained in {clock_time(result.train_seconds)}.", highlight=False)
    if result.model is not None:
        model = result.model
        size = f"{model.size_bytes / 1e6:.1f} MB"
        console.print(
            f"Model: {model.uri}\n"
            f"       {model.embedding_dim} dimensions, {size}, {model.digest}\n\n"
            f"Load it:\n{load_hint(model.uri, kind)}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )


def metrics_table(metrics: Metrics) -> Table:
    """Each metric before, after and the change; the headline first and bold."""
    table = Table("metric")
    for name in ("before", "after", "change"):
        table.add_column(name, justify="right")
    headline = metrics.headline.name
    for name in sorted(metrics.before, key=lambda name: name != headline):
        before, after = metrics.before[name], metrics.after[name]
        change = f"{float(after) - float(before):+.4f}"
        table.add_row(name, before, after, change, style="bold" if name == headline else None)
    return table


def load_hint(uri: str, kind: Kind) -> str:
    """Lines of Python that load the model, after a copy to this machine if need be."""
    folder = uri.removeprefix("file://").rstrip("/")
    copy = ""
    if not uri.startswith("file://"):
        folder = "model"
        copy = f"  aws s3 cp --recursive {uri} {folder}\n"
    return copy + "\n".join(f"  {line}" for line in loading(folder, kind))
