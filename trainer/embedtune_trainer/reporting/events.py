"""TensorBoard's event file, written at once when the run is over."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from embedtune_trainer.reporting.history import Course

NAME: Final = "events.out.tfevents.0.embedtune"
"""TensorBoard reads every file with tfevents in its name; mostly time and host are in it, too."""
_FIRST: Final = "brain.Event:2"
"""The version that the first record of a file tells."""


def write_events(course: Course, folder: Path, ended_at: float) -> Path:
    """Write the course into a folder that TensorBoard's --logdir takes.

    Args:
        course: of the run.
        folder: where to; made if it is missing.
        ended_at: when the training's last step was done, seconds since 1970.

    Returns:
        The file.
    """
    from tensorboard.compat.proto.event_pb2 import Event  # type: ignore[import-untyped]
    from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore[import-untyped]
    from tensorboard.summary.writer.record_writer import RecordWriter  # type: ignore[import-untyped]

    folder.mkdir(parents=True, exist_ok=True)
    began_at = ended_at - (course.training[-1].at_s if course.training else 0.0)
    path = folder / NAME
    with path.open("wb") as stream:
        writer = RecordWriter(stream)
        writer.write(Event(wall_time=began_at, file_version=_FIRST).SerializeToString())
        for step, at_s, values in scalars(course):
            summary = Summary(
                value=[Summary.Value(tag=tag, simple_value=v) for tag, v in values.items()]
            )
            event = Event(wall_time=began_at + at_s, step=step, summary=summary)
            writer.write(event.SerializeToString())
        writer.flush()
    return path


def scalars(course: Course) -> Iterator[tuple[int, float, dict[str, float]]]:
    """Step, seconds since the training's begin, and values by tag, in the steps' order."""
    for point in course.training:
        extra = {f"train/{name}": value for name, value in point.extra.items()}
        told = {"train/loss": point.loss, "train/rows_per_s": point.rows_per_s}
        yield point.step, point.at_s, told | extra | {"train/data_wait": point.data_wait_ratio}
    for measurement in course.measured:
        passed = [p.at_s for p in course.training if p.step <= measurement.step]
        told = {f"evaluation/{name}": value for name, value in measurement.metrics.items()}
        yield measurement.step, passed[-1] if passed else 0.0, told
