"""What a data file holds, told before any GPU is asked for: counts, repeats, conflicts, samples."""

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from embedtune_trainer.errors import BadData
from embedtune_trainer.rows.check import check_trainable
from embedtune_trainer.rows.columns.column import Indices
from embedtune_trainer.rows.columns.identity import numbered
from embedtune_trainer.rows.messages import shown
from embedtune_trainer.rows.read import Reading
from embedtune_trainer.rows.table import Images, Items, LabelledRows, PairRows, Texts, Vectors

MOST_CLASSES: Final = 20
SAMPLES: Final = 3
EXAMPLES: Final = 3
LENGTHS: Final = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
"""Characters: the upper ends of the histogram's bars."""
_BAR: Final = 40
Scores = NDArray[np.float64]
"""A number for each row."""


@dataclass(frozen=True)
class Summary:
    """What a data file holds.

    Attributes:
        source: its URI.
        format: the file's format.
        layout: labelled, pairs, scored or text-image.
        columns: what each column that is read holds, and the column's name.
        unused_columns: names of the others.
        rows: how many are right.
        classes: number of labels.
        largest_classes: the first twenty labels with their rows.
        singletons: labels with one row.
        duplicates: rows that repeat an earlier row, exactly.
        conflicts: items that stand under two labels, or pairs with two scores or margins.
        examples: some of these, for a person.
        lengths: texts by their characters, by the upper end of each bar; no end for the last.
        scores: least, mean and greatest of scored pairs.
        margins: the same of triplets that a teacher has scored.
        samples: the first rows.
        skipped: rows left out.
        skipped_messages: why, of the first hundred.
        problems: what a training would stumble over.
    """

    source: str
    format: str
    layout: str
    columns: dict[str, str]
    unused_columns: list[str]
    rows: int
    classes: int
    largest_classes: dict[str, int]
    singletons: int
    duplicates: int
    conflicts: int
    examples: list[str]
    lengths: dict[str, int]
    scores: dict[str, float] | None
    margins: dict[str, float] | None
    samples: list[str]
    skipped: int
    skipped_messages: list[str]
    problems: list[str]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def summarize(reading: Reading) -> Summary:
    """Look at all rows of what was read."""
    rows = reading.rows
    duplicates, conflicts, examples = _repeats(rows)
    sizes = rows.class_sizes if isinstance(rows, LabelledRows) else Counter[str]()
    pairs = rows if isinstance(rows, PairRows) else None
    used = {column.at for column in reading.layout.columns}
    return Summary(
        source=rows.source,
        format=reading.format,
        layout=reading.layout.kind,
        columns=_columns(reading),
        unused_columns=[n for i, n in enumerate(reading.names or ()) if i not in used],
        rows=len(rows),
        classes=len(sizes),
        largest_classes=dict(sorted(sizes.items(), key=lambda c: (-c[1], c[0]))[:MOST_CLASSES]),
        singletons=rows.singletons if isinstance(rows, LabelledRows) else 0,
        duplicates=duplicates,
        conflicts=conflicts,
        examples=examples,
        lengths=_lengths(rows),
        scores=_range(pairs.scores_N) if pairs else None,
        margins=_range(pairs.margins_N) if pairs else None,
        samples=[_sample(rows, index) for index in range(min(SAMPLES, len(rows)))],
        skipped=rows.skipped.count,
        skipped_messages=list(rows.skipped.first),
        problems=_problems(rows, conflicts),
    )


def render(summary: Summary) -> str:
    """For a person, in plain text."""
    lines = [
        summary.source,
        f"  format      {summary.format}",
        f"  layout      {summary.layout}",
        *(f"  {what:<10}  column {name}" for what, name in summary.columns.items()),
        f"  not read    {', '.join(summary.unused_columns) or 'nothing'}",
        f"  rows        {summary.rows:,}",
        f"  skipped     {summary.skipped:,}",
        f"  duplicates  {summary.duplicates:,}",
        f"  conflicts   {summary.conflicts:,}",
    ]
    for what, found in (("scores", summary.scores), ("margins", summary.margins)):
        if found:
            told = ", ".join(f"{name} {value:.3f}" for name, value in found.items())
            lines.append(f"  {what:<10}  {told}")
    if summary.classes:
        lines.append(f"  classes     {summary.classes:,}, {summary.singletons:,} with a single row")
        lines += ["", "rows  class"]
        lines += [f"{size:>4,}  {name}" for name, size in summary.largest_classes.items()]
        if more := summary.classes - len(summary.largest_classes):
            lines.append(f"      and {more:,} more")
    if summary.lengths:
        lines += ["", "characters  texts"]
        most = max(summary.lengths.values())
        lines += [
            f"{end:>10}  {count:>5,} {'#' * -(-_BAR * count // most)}".rstrip()
            for end, count in summary.lengths.items()
        ]
    for title, messages in (
        ("first rows", summary.samples),
        ("repeats and conflicts", summary.examples),
        ("skipped", summary.skipped_messages),
        ("problems", summary.problems),
    ):
        lines += ["", title, *(f"  {line}" for line in messages)] if messages else []
    return "\n".join(lines) + "\n"


def _columns(reading: Reading) -> dict[str, str]:
    layout = reading.layout
    triplets = layout.kind == "scored" and len(layout.items) > 2
    names = {
        "labelled": ("item",),
        "pairs": ("anchor", "positive"),
        "scored": ("first", "second"),
        "text-image": ("text", "image"),
    }["pairs" if triplets else layout.kind]
    found = dict(zip(names, (column.name for column in layout.items), strict=False))
    negatives = layout.items[len(names) :]
    found |= {f"negative {i}": column.name for i, column in enumerate(negatives, 1)}
    if layout.label:
        found["label"] = layout.label.name
    if layout.score:
        found["margin" if triplets else "score"] = layout.score.name
    return found


def _repeats(rows: LabelledRows | PairRows) -> tuple[int, int, list[str]]:
    """Rows that repeat an earlier one, items in conflict, and examples of both."""
    keys_N, values_N = _keys_and_values(rows)
    _, first_K = np.unique(keys_N, return_index=True)
    before_N = first_K[keys_N]
    same_N = values_N == values_N[before_N]
    duplicates = np.flatnonzero(same_N & (before_N != np.arange(len(rows))))
    conflicting = np.flatnonzero(~same_N)
    conflicts_K, again_K = np.unique(keys_N[conflicting], return_index=True)
    told = [f"twice: {_sample(rows, index)}" for index in duplicates[:EXAMPLES].tolist()]
    told += [
        f"{_sample(rows, int(before_N[index]))}, and again: {_sample(rows, index)}"
        for index in conflicting[np.sort(again_K)[:EXAMPLES]].tolist()
    ]
    return len(duplicates), len(conflicts_K), told


def _keys_and_values(rows: LabelledRows | PairRows) -> tuple[Indices, NDArray[Any]]:
    """(N,) what a row is about, numbered from 0, and (N,) what it says of it."""
    if isinstance(rows, LabelledRows):
        (keys_N,), _ = numbered(rows.items.identities_N2)
        return keys_N, rows.labels.codes_N
    keys_N, *others = numbered(
        *(s.identities_N2 for s in (rows.left, rows.right, *rows.negatives))
    )[0]
    for other_N in others:
        pairs_N2 = np.stack([keys_N, other_N], 1).astype(np.uint64)
        (keys_N,), _ = numbered(pairs_N2)
    said_N = _said(rows)
    return keys_N, np.zeros(len(rows)) if said_N is None else said_N


def _said(rows: PairRows) -> Scores | None:
    """(N,) the scores or the margins; None if the rows have neither."""
    return rows.margins_N if rows.scores_N is None else rows.scores_N


def _texts(rows: LabelledRows | PairRows) -> list[Texts]:
    sides: tuple[Items, ...]
    if isinstance(rows, LabelledRows):
        sides = (rows.items,)
    else:
        sides = (rows.left, rows.right, *rows.negatives)
    return [side for side in sides if isinstance(side, Texts)]


def _lengths(rows: LabelledRows | PairRows) -> dict[str, int]:
    sides = _texts(rows)
    if not sides:
        return {}
    lengths = [np.fromiter(map(len, side.values), np.int64, len(side)) for side in sides]
    bar_N = np.searchsorted(LENGTHS, np.concatenate(lengths))
    bars = np.bincount(bar_N, minlength=len(LENGTHS) + 1).tolist()
    ends = [f"to {end}" for end in LENGTHS] + [f"over {LENGTHS[-1]}"]
    used = [index for index, count in enumerate(bars) if count]
    return {ends[i]: bars[i] for i in range(used[0], used[-1] + 1)}


def _range(said_N: Scores | None) -> dict[str, float] | None:
    if said_N is None:
        return None
    return {
        "least": float(said_N.min()),
        "mean": float(said_N.mean()),
        "greatest": float(said_N.max()),
    }


def _sample(rows: LabelledRows | PairRows, index: int) -> str:
    if isinstance(rows, LabelledRows):
        return f"{_item(rows.items, index)} is {shown(rows.labels[index])}"
    told = f"{_item(rows.left, index)} with {_item(rows.right, index)}"
    if rows.margins_N is not None:
        return f"{told}, {rows.margins_N[index]:g} above {_item(rows.negatives[0], index)}"
    return told if rows.scores_N is None else f"{told}, {rows.scores_N[index]:g}"


def _item(items: Items, index: int) -> str:
    if isinstance(items, Vectors):
        return f"a vector of {items.values_ND.shape[1]}"
    if isinstance(items, Images):
        return f"[{items.names[index].rpartition(': ')[2]}]"
    return shown(items.values[index])


def _problems(rows: LabelledRows | PairRows, conflicts: int) -> list[str]:
    found = []
    if isinstance(rows, LabelledRows):
        try:
            check_trainable(rows)
        except BadData as error:
            found.append(str(error).removeprefix(f"{rows.source}: "))
        if conflicts:
            found.append(f"{conflicts:,} items stand under more than one label")
    elif conflicts:
        what = "pairs have more than one score"
        if rows.margins_N is not None:
            what = "triplets have more than one margin"
        found.append(f"{conflicts:,} {what}")
    return found
