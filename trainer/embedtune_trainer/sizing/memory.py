"""How much memory a training takes at its peak, line by line: the host's, and a GPU's.

The constants are measured (bench/sizing.py, docs/sizing.md); everything else is counted. A line is
kept apart from the others so that a person can see which of them is large.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from embedtune_api.spec import FineTuneJobSpec
from embedtune_trainer.encoding import AT_A_TIME, PART_BUDGET
from embedtune_trainer.sizing.facts import Column, EncoderFacts, Entry, Facts, batch_bytes
from embedtune_trainer.training.memory import SHARE, STATES, TRANSIENT

if TYPE_CHECKING:
    from embedtune_trainer.sizing.activations import Activations

MIB: Final = 2**20
RUNTIME: Final = {"cpu": 960 * MIB, "cuda": 3072 * MIB}
"""Python with all libraries, the pages of their code included; with CUDA, its libraries, too."""
CONTEXT: Final = 800 * MIB
"""What CUDA and its libraries take of a GPU before the first tensor."""
ROWS_MOST: Final = 192 * MIB
"""Rows beyond it lie in mapped files, whose pages the kernel can take back."""
IMAGE_READING: Final = 256 * MIB
"""Pictures that are decoded ahead, in full size."""
COMPILER: Final = 1536 * MIB
LOSS: Final = 64 * MIB
"""Blocks of a batch's similarities, see objectives.blocks."""
BACKWARD: Final = 3.0
"""Of the largest tensors, so many are alive at once on the way back beside what was kept."""
HEAP: Final = 0.25
"""Of what comes and goes in a step, the share that the allocator keeps besides."""
ONNX: Final = 4.0
"""Times the weights that writing a graph takes."""
MARGIN: Final = 1.05
AUTO_ITEMS: Final = 16
"""Items with a gradient at a time that microBatch: auto is given memory for."""
AUTO_ROWS: Final = 64
"""Rows of a batch that batchSize: auto is given memory for."""
PATCH: Final = 64
"""Pixels that count as much as a token when a batch is cut into parts, see encoding.PART_BUDGET."""


@dataclass(frozen=True)
class Line:
    """One part of the memory.

    Attributes:
        what: it is.
        size_bytes: of it.
        why: where the number comes from.
    """

    what: str
    size_bytes: float
    why: str = ""


def total_bytes(lines: Iterable[Line]) -> float:
    """Of all, with a margin for what no line has."""
    return MARGIN * sum(line.size_bytes for line in lines)


def host_lines(facts: Facts, spec: FineTuneJobSpec, *, gpus: int) -> list[Line]:
    """The container's memory at its peak, which is either in training or while it is exported."""
    before = _before_the_training(facts, spec, gpus=gpus)
    exported = [*before, *_exported(facts, spec)]
    if gpus:
        copies = _copies(facts, spec)
        return max([*before, *copies], [*exported, *copies[:1]], key=total_bytes)
    return max([*before, *_training(facts, spec, "cpu")], exported, key=total_bytes)


def gpu_lines(facts: Facts, spec: FineTuneJobSpec) -> list[Line]:
    """A GPU's memory at its peak."""
    weights = Line("weights", facts.weights_bytes, _numbers(facts.weights_bytes))
    return [
        Line("CUDA's context", CONTEXT, "measured"),
        weights,
        *_training(facts, spec, "cuda"),
    ]


def states_of(spec: FineTuneJobSpec) -> int:
    """Numbers that the optimizer keeps for each weight."""
    return STATES.get(spec.training.optimizer, 3)


def _before_the_training(facts: Facts, spec: FineTuneJobSpec, *, gpus: int) -> list[Line]:
    device = "cuda" if gpus else "cpu"
    rows = min(3.0 * (facts.data_bytes or ROWS_MOST), ROWS_MOST)
    lines = [
        Line("runtime", RUNTIME[device], "Python, torch and transformers"),
        Line("weights", facts.weights_bytes, _numbers(facts.weights_bytes)),
        Line("rows", rows, "beyond 192 MiB they lie in mapped files"),
        Line("evaluation", _evaluation_bytes(facts, spec), "embeddings before and after"),
    ]
    if any(encoder.takes == "image" for encoder in facts.encoders.values()):
        lines.append(Line("images read ahead", IMAGE_READING + _decoded(facts, spec)))
    if spec.training.compile:
        lines.append(Line("torch.compile", COMPILER))
    return lines


def _training(facts: Facts, spec: FineTuneJobSpec, device: str) -> list[Line]:
    """What the steps take beside the weights."""
    trained, states = facts.trained_bytes, states_of(spec)
    lines = [
        Line("gradients", trained, f"of {trained // 4:,} trained numbers"),
        Line(f"{spec.training.optimizer}'s state", states * trained, f"{states} of each"),
        *_activations(facts, spec, device),
        Line("loss", LOSS + 16 * _rows(spec) * _widest(facts)),
    ]
    if spec.training.ema is not None:
        lines.append(Line("averaged weights", trained, "spec.training.ema"))
    return lines if device == "cuda" else lines + _copies(facts, spec)


def _copies(facts: Facts, spec: FineTuneJobSpec) -> list[Line]:
    """Of weights and states in the host's memory; what is kept for longest first."""
    trained, training = facts.trained_bytes, spec.training
    kept = (training.keep_best is not None) + (training.wise_ft is not None)
    moving = (1 + states_of(spec) + (training.ema is not None)) * trained
    return [
        Line("best and first weights", kept * trained, "spec.training.keepBest and wiseFT"),
        Line("a checkpoint on its way", moving, "weights and states"),
    ]


def _exported(facts: Facts, spec: FineTuneJobSpec) -> list[Line]:
    weights = facts.weights_bytes
    lines = [Line("model loaded anew", weights, "to compare it with what was trained")]
    if spec.output.precisions:
        lines.append(Line("ONNX graph", ONNX * weights, f"{ONNX:g} times the weights"))
    return lines


def _activations(facts: Facts, spec: FineTuneJobSpec, device: str) -> list[Line]:
    """Of the set of rows whose batches take the most."""
    return max((_of_entry(facts, entry, spec, device) for entry in facts.entries), key=total_bytes)


def _of_entry(facts: Facts, entry: Entry, spec: FineTuneJobSpec, device: str) -> list[Line]:
    lines = []
    for name, encoder in facts.encoders.items():
        columns = tuple(column for column in entry.columns if column.encoder == name)
        if columns:
            lines += _of_encoder(name, encoder, columns, spec, device)
    return lines


def _of_encoder(
    name: str,
    encoder: EncoderFacts,
    columns: tuple[Column, ...],
    spec: FineTuneJobSpec,
    device: str,
) -> list[Line]:
    rows, micro = _rows(spec), spec.training.micro_batch
    items = rows * len(columns)
    at_once = items if micro is None else min(items, AUTO_ITEMS if micro == "auto" else micro)
    of = "activations" if name == "encoder" else f"activations, {name}"
    found = []
    for costs in _precisions(encoder, spec, device):
        longest = costs.of(encoder.longest)
        saved = batch_bytes(encoder, costs, columns, rows)
        if micro is not None:
            saved = min(saved, at_once * longest.saved_bytes)
        part = at_once if encoder.whole_batches else _in_a_part(encoder, at_once, device)
        if micro is not None:  # the evaluation is not cut by it
            part = max(part, _in_a_part(encoder, min(items, AT_A_TIME), device))
        working = BACKWARD * longest.largest_bytes * part
        if spec.training.batch_size == "auto" or micro == "auto":
            saved *= TRANSIENT / SHARE / (1 if device == "cpu" else 2)
        found.append(
            [
                Line(of, saved, f"{items if micro is None else at_once:,} items at a time"),
                Line(f"work on {of}", working + costs.constant_bytes + HEAP * saved),
            ]
        )
    return max(found, key=total_bytes)


def _precisions(
    encoder: EncoderFacts, spec: FineTuneJobSpec, device: str
) -> "tuple[Activations, ...]":
    """What it may calculate in: on a CPU, auto depends on the node that is found."""
    precision = spec.training.precision
    if precision == "float32":
        return (encoder.plain,)
    if precision == "bfloat16" or device == "cuda":
        return (encoder.halved,)
    return (encoder.plain, encoder.halved)


def _in_a_part(encoder: EncoderFacts, items: int, device: str) -> float:
    """Of the longest items, how many are encoded together."""
    each = max(1, encoder.pixels // PATCH if encoder.takes == "image" else encoder.longest)
    return max(1, min(items, PART_BUDGET[device] / each))


def _decoded(facts: Facts, spec: FineTuneJobSpec) -> float:
    """Batches of images that wait for their step, float32 and three colours."""
    pixels = max(encoder.pixels for encoder in facts.encoders.values())
    columns = max(
        sum(facts.encoders[c.encoder].takes == "image" for c in entry.columns)
        for entry in facts.entries
    )
    return 3.0 * _rows(spec) * columns * 3 * 4 * pixels


def _evaluation_bytes(facts: Facts, spec: FineTuneJobSpec) -> float:
    """Two sides before and after, and what is compared of them at a time."""
    split = spec.data.evaluation.split or 0.1
    rows = (facts.rows or 0) * split
    if spec.objective.hard_negatives is not None:
        rows += facts.rows or 0
    return 4.0 * 4 * rows * _widest(facts) + 64 * MIB


def _rows(spec: FineTuneJobSpec) -> int:
    size = spec.training.batch_size
    return AUTO_ROWS if size == "auto" else size


def _widest(facts: Facts) -> int:
    return max(encoder.embedding_dim for encoder in facts.encoders.values())


def _numbers(size_bytes: int) -> str:
    return f"{size_bytes // 4:,} numbers in float32"
