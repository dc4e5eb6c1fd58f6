"""What happens to a saved model before it is called done: loaded anew, compared, exported.

A graph is made of what was loaded anew, so adapters are merged and batch normalisation is folded
in it, too. It has to give torch's embeddings of real rows; smaller graphs need not, and what they
lose of the headline metric is measured and told.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np

from embedtune_api.spec import Output
from embedtune_trainer.embedder.encoders import Encoders
from embedtune_trainer.embedder.model import Embedder
from embedtune_trainer.errors import Interrupted, UnsupportedModel
from embedtune_trainer.evaluation.measures import Measure
from embedtune_trainer.export.description import describe
from embedtune_trainer.export.graph import FIELD, check_exportable, write_graph
from embedtune_trainer.export.reloaded import difference, reload, sides
from embedtune_trainer.export.session import OnnxEmbedder, onnx_encoders
from embedtune_trainer.export.smaller import check_quantizable, write_float16, write_int8
from embedtune_trainer.progress import Reporter
from embedtune_trainer.rows.table import Items, Rows

FOLDER: Final = "onnx"
DESCRIPTION: Final = "onnx.json"
FULL: Final = "float32"
SMALLER: Final[dict[str, Callable[[Path, Path], None]]] = {
    "float16": write_float16,
    "int8": write_int8,
}
"""How graphs of other precisions are made of the one in float32."""
NEAR: Final = 1e-4
"""Most that a number of an embedding may be off, as a share of the embedding's length."""
BATCHES: Final = (1, 3, 8)
"""Sizes of the batches that a graph is tried with."""
Stop = Callable[[], bool]


@dataclass(frozen=True)
class Measured:
    """How good the model is, for comparison.

    Attributes:
        measure: the evaluation data.
        headline: the metric that counts.
        value: of the model in torch.
    """

    measure: Measure
    headline: str
    value: float


def rehearse(encoders: Encoders, output: Output, rows: Rows) -> None:
    """Find out before the training that the graphs which are asked for can be made.

    Raises:
        UnsupportedModel: they cannot.
        BadSpec: a precision that would change nothing.
    """
    if not output.precisions:
        return
    for embedder in _sides(encoders).values():
        check_exportable(embedder)
        if "int8" in output.precisions:
            check_quantizable(embedder)
    with TemporaryDirectory(prefix="embedtune-") as scratch:
        _write(encoders, Path(scratch), output.precisions, rows)


@dataclass(frozen=True)
class Finished:
    """Encoders that, once saved, are loaded anew and compared, and exported beside.

    Attributes:
        encoders: in memory.
        output: spec.output.
        rows: real ones, some of which are tried.
        measured: of the encoders.
        reporter: told of the graphs.
        stop: whether to end early.
    """

    encoders: Encoders
    output: Output
    rows: Rows
    measured: Measured
    reporter: Reporter
    stop: Stop = lambda: False

    @property
    def embedding_dim(self) -> int:
        """D."""
        return self.encoders.embedding_dim

    def save(self, folder: Path) -> None:
        """Write the model and the graphs that are asked for, and onnx.json, which describes them.

        Raises:
            UnsupportedModel: what was loaded, or a graph in float32, gives other embeddings.
            Interrupted: stop() was true.
        """
        self.encoders.save(folder)
        loaded = reload(self.encoders, folder, self.rows)
        precisions = self.output.precisions
        if not precisions:
            return
        place = folder / FOLDER
        place.mkdir()
        told = _write(loaded, place, precisions, self.rows)
        for precision in precisions:
            if self.stop():
                raise Interrupted("told to stop while the model was exported")
            if precision != FULL:
                told[precision] |= self._loss_of(precision, loaded, place)
            self.reporter.note("exported", precision=precision, **told[precision])
        _describe(loaded, place, told)

    def _loss_of(self, precision: str, loaded: Encoders, place: Path) -> dict[str, str]:
        """The headline metric with the graphs of this precision, and its change by them."""
        paths = [place / name / f"{precision}.onnx" for name in _sides(loaded)]
        graphs = onnx_encoders(loaded, paths[0], paths[-1])
        headline = self.measured.headline
        value = self.measured.measure.run(graphs, self.stop)[headline]
        change = f"{value - self.measured.value:+.4f}"
        return {"metric": headline, "value": f"{value:.4f}", "change": change}


def _sides(encoders: Encoders) -> dict[str, Embedder]:
    """The encoders by the folder that each has below FOLDER."""
    if encoders.left is encoders.right:
        return {"": encoders.left}
    return {"text": encoders.left, "image": encoders.right}


def _write(
    encoders: Encoders, place: Path, precisions: tuple[str, ...], rows: Rows
) -> dict[str, dict[str, Any]]:
    """Write and try the graphs of all encoders.

    Returns:
        For each precision how far the worst number is off.
    """
    worst = dict.fromkeys(precisions, 0.0)
    for (name, embedder), items in zip(_sides(encoders).items(), sides(rows), strict=False):
        (place / name).mkdir(exist_ok=True)
        for precision, apart in _graphs(embedder, place / name, precisions, items):
            worst[precision] = max(worst[precision], apart)
    return {precision: {"largest_difference": f"{apart:.0e}"} for precision, apart in worst.items()}


def _graphs(
    embedder: Embedder, place: Path, precisions: tuple[str, ...], items: Items
) -> Iterator[tuple[str, float]]:
    """Write an encoder's graphs, and how far each is off."""
    full = place / f"{FULL}.onnx"
    table = embedder.processor.table(items)
    batch = embedder.processor.batch(table, np.arange(len(items)), embedder.device)
    write_graph(embedder, batch, full)
    expected_ND = embedder.encode(items)

    def apart(path: Path) -> float:
        tried = OnnxEmbedder(embedder, path)
        return max(difference(expected_ND, tried.encode(items, size)) for size in BATCHES)

    off = apart(full)
    limit = NEAR if embedder.device.type == "cpu" else float("inf")
    if not off <= limit:
        raise UnsupportedModel(
            f"{FIELD}: {type(embedder.backbone.network).__name__} embeds otherwise as a graph: the"
            f" largest difference is {off:.1e}, {NEAR:.0e} is allowed; leave onnx out"
        )
    for precision in precisions:
        if precision == FULL:
            yield precision, off
            continue
        path = place / f"{precision}.onnx"
        SMALLER[precision](full, path)
        found = apart(path)
        if not np.isfinite(found):
            raise UnsupportedModel(
                f"spec.output.onnx.precision: {precision} is not enough for"
                f" {type(embedder.backbone.network).__name__}, whose embeddings are no numbers"
                " then; leave it out"
            )
        yield precision, found
    if FULL not in precisions:
        for path in place.glob(f"{full.name}*"):
            path.unlink()


def _describe(encoders: Encoders, place: Path, told: dict[str, dict[str, Any]]) -> None:
    """onnx.json: inputs, their preparation, output, files."""
    content = {
        "format": 1,
        "precisions": told,
        "models": {
            name or "model": describe(embedder, [f"{name}/{p}.onnx".lstrip("/") for p in told])
            for name, embedder in _sides(encoders).items()
        },
    }
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    (place / DESCRIPTION).write_text(text, encoding="utf-8")
