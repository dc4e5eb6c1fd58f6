"""What a row is, and which column holds what: by the spec, the header's names, or position."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from embedtune_api.spec import Columns, Dataset
from embedtune_trainer.errors import BadData, BadSpec
from embedtune_trainer.rows.messages import listed, shown
from embedtune_trainer.rows.table import Modality

Kind = Literal["labelled", "pairs", "scored", "text-image"]

_IMAGE: Final = (
    *("image", "image_path", "image_url", "image_uri", "image_file", "file_name", "img"),
    *("picture", "photo"),
)
_TEXT: Final = ("text", "caption", "title")
DEFAULTS: Final[dict[str, tuple[str, ...]]] = {
    "item": ("item", "text", "sentence", "question", "query", "title", "content"),
    "label": ("label", "finetuner_label", "tag__finetuner_label"),
    "anchor": ("anchor", "query", "question", "sentence1", "text1"),
    "positive": ("positive", "answer", "passage", "document", "sentence2", "text2"),
    "score": ("score", "similarity", "finetuner_score", "tag__finetuner_score"),
    "text": _TEXT,
    "image": _IMAGE,
}
"""Names, without regard to case, by what such a column holds."""
ITEM_OF: Final[dict[Modality, tuple[str, ...]]] = {
    "text": DEFAULTS["item"],
    "image": ("item", *_IMAGE),
    "vector": ("item", "vector", "embedding", "features", "tensor"),
}
_NEGATIVE: Final = re.compile(r"(hard_)?negative(_?\d+)?", re.IGNORECASE)
_ROLES: Final[dict[Kind, tuple[str, ...]]] = {
    "labelled": ("item", "label"),
    "pairs": ("anchor", "positive"),
    "scored": ("anchor", "positive", "score"),
    "text-image": ("text", "image"),
}
_WIDTH: Final = {"labelled": "item,label", "pairs": "item,item", "scored": "item,item,score"}


class Wanted(NamedTuple):
    """The modalities that the model takes: the same twice, or text and image for a pair."""

    left: Modality
    right: Modality

    @property
    def is_pair(self) -> bool:
        """Whether the model has an encoder for texts and one for images."""
        return self.left != self.right


class Column(NamedTuple):
    """One column: where it stands, and what messages call it."""

    at: int
    name: str


@dataclass(frozen=True)
class Layout:
    """What a row is.

    Attributes:
        kind: labelled, pairs, scored or text-image.
        items: the item; or left and right (text and image), and the negatives.
        label: of labelled rows.
        score: of scored ones.
        ordered: whether it is known which of two columns is the text and which the image.
    """

    kind: Kind
    items: tuple[Column, ...]
    label: Column | None = None
    score: Column | None = None
    ordered: bool = True

    @property
    def columns(self) -> tuple[Column, ...]:
        """All that are read."""
        others = tuple(column for column in (self.label, self.score) if column is not None)
        return self.items + others


def possible_kinds(dataset: Dataset, wanted: Wanted, field: str) -> tuple[Kind, ...]:
    """The layouts that the spec and the model leave open.

    Raises:
        BadSpec: none, since they contradict each other.
    """
    fitting: tuple[Kind, ...] = (
        ("text-image",) if wanted.is_pair else ("labelled", "scored", "pairs")
    )
    if dataset.layout == "auto":
        return fitting
    if dataset.layout not in fitting:
        takes = "texts with images" if wanted.is_pair else f"items of one kind, {wanted.left}"
        raise BadSpec(
            f"{field}.layout: {dataset.layout} does not go with the model, which takes {takes};"
            f" use {' or '.join(fitting)}"
        )
    return (dataset.layout,)


def is_header(cells: Sequence[str], dataset: Dataset, wanted: Wanted, field: str) -> bool:
    """Whether a CSV file's first row names its columns.

    It does if the spec says so, if the spec names columns, or if all that a layout needs is there
    under a usual name.

    Raises:
        BadSpec: columns are named, and there is said to be no header.
        BadData: only some of the cells that a layout needs are usual names.
    """
    if dataset.columns is not None and dataset.csv.header == "absent":
        raise BadSpec(
            f"{field}.columns: names columns, but {field}.csv.header says there is no header"
        )
    if dataset.csv.header != "auto" or dataset.columns is not None:
        return dataset.csv.header != "absent"
    names = [cell.strip() for cell in cells]
    finder = _Finder(names, Columns(), wanted, f"{dataset.uri}: row 1", field)
    kinds = possible_kinds(dataset, wanted, field)
    if any(finder.has(_ROLES[kind]) for kind in kinds):
        return True
    usual = [name for name in names if name.casefold() in DEFAULTS["label"] + DEFAULTS["score"]]
    needed = {role for kind in kinds for role in _ROLES[kind]}
    usual += [name for name in names if any(finder.is_usual(name, role) for role in needed)]
    if not usual:
        return False
    if usual[0].casefold() in DEFAULTS["label"] or len(usual) == len(names):
        return True
    raise BadData(
        f"{dataset.uri}: row 1: {shown(usual[0])} is a usual name of a column, but not all that is"
        f" needed is there under one; the row holds {listed(cells)}. If it names the columns, say"
        f" which is which in {field}.columns; if it is data, set {field}.csv.header to absent"
    )


def by_name(
    names: Sequence[str], dataset: Dataset, wanted: Wanted, field: str, where: str
) -> Layout:
    """The layout of a file whose columns have names; `where` is what messages begin with.

    Raises:
        BadSpec: the spec contradicts itself.
        BadData: a column is missing, or several could be meant.
    """
    given = dataset.columns or Columns()
    kinds = _kinds_given(given, possible_kinds(dataset, wanted, field), field)
    finder = _Finder(names, given, wanted, where, field)
    found = [kind for kind in kinds if finder.has(_ROLES[kind])]
    if "scored" in found and "pairs" in found:
        found.remove("pairs")
    if "label" in {role for kind in kinds for role in _ROLES[kind]} and (
        "labelled" not in found and found and finder.candidates("label")
    ):
        found.append("labelled")
    if len(found) > 1:
        raise BadData(
            f"{where}: the columns {listed(names)} could be {' or '.join(found)}; set"
            f" {field}.layout"
        )
    kind = found[0] if found else _likeliest(kinds, finder)
    columns = {role: finder.find(role) for role in _ROLES[kind]}
    label, score = columns.pop("label", None), columns.pop("score", None)
    items = tuple(columns.values())
    if kind in ("pairs", "scored"):
        items += finder.negatives()
    if kind == "scored" and len(items) > 3:
        raise BadData(
            f"{where}: {len(items) - 2} columns of negatives and one score, which is the margin of"
            f" the positive over one negative; name that one in {field}.columns.negatives"
        )
    used = (*items, *(column for column in (label, score) if column))
    if len({column.at for column in used}) < len(used):
        raise BadSpec(f"{field}.columns: one column is named for two things: {listed(names)}")
    return Layout(kind, items, label, score)


def by_position(cells: Sequence[str], dataset: Dataset, wanted: Wanted, field: str) -> Layout:
    """The layout of a CSV file without a header, by the number of its cells.

    Raises:
        BadData: the number fits none.
    """
    kinds = possible_kinds(dataset, wanted, field)
    count = len(cells)
    first, second = Column(0, "1 (item)"), Column(1, "2 (item)")
    if count == 2 and "text-image" in kinds:
        return Layout("text-image", (Column(0, "1"), Column(1, "2")), ordered=False)
    if count == 2 and "labelled" in kinds:
        return Layout("labelled", (first,), label=Column(1, "2 (label)"))
    if count == 2 and kinds == ("pairs",):
        return Layout("pairs", (first, second))
    if count == 3 and "scored" in kinds:
        return Layout("scored", (first, second), score=Column(2, "3 (score)"))
    if "text-image" in kinds:
        has = "two, text and image in either order"
    elif len(kinds) > 1:
        has = "two, item,label, or three, item,item,score"
    else:
        has = f"{_WIDTH[kinds[0]]}"
    raise BadData(
        f"{dataset.uri}: row 1: {count} cells, where a file without a header has {has}; the row"
        f" holds {listed(cells)}. If it names the columns, set {field}.columns; if another"
        f" character separates them, {field}.csv.delimiter"
    )


def _kinds_given(given: Columns, kinds: tuple[Kind, ...], field: str) -> tuple[Kind, ...]:
    """The layouts that the columns named in the spec belong to."""
    fields = {name for name in Columns.model_fields if getattr(given, name)}
    fitting = tuple(
        kind
        for kind in kinds
        if fields <= {*_ROLES[kind], *(("negatives",) if kind in ("pairs", "scored") else ())}
    )
    if not fitting:
        raise BadSpec(
            f"{field}.columns: {', '.join(sorted(fields))} do not go with rows that are"
            f" {' or '.join(kinds)}; these have "
            + "; ".join(f"{kind}: {', '.join(_ROLES[kind])}" for kind in kinds)
        )
    return fitting


def _likeliest(kinds: tuple[Kind, ...], finder: "_Finder") -> Kind:
    """Of layouts that all lack something, the one to explain it with."""
    return max(kinds, key=lambda kind: sum(bool(finder.candidates(r)) for r in _ROLES[kind]))


class _Finder:
    """Columns by what they hold."""

    def __init__(
        self, names: Sequence[str], given: Columns, wanted: Wanted, where: str, field: str
    ) -> None:
        self._names = names
        self._given = given
        self._where = where
        self._field = field
        self._item_names = ITEM_OF[wanted.left]

    def _wanted(self, role: str) -> tuple[str, ...]:
        return self._item_names if role == "item" else DEFAULTS[role]

    def is_usual(self, name: str, role: str) -> bool:
        """Whether this is a default name for it."""
        return name.casefold() in self._wanted(role)

    def candidates(self, role: str) -> list[int]:
        """Columns that may hold it: the one that the spec names, or all with a default name."""
        given = getattr(self._given, role)
        if given is not None:
            return [self._names.index(given)] if given in self._names else []
        return [i for i, name in enumerate(self._names) if self.is_usual(name, role)]

    def has(self, roles: tuple[str, ...]) -> bool:
        """Whether there is just one column for each."""
        return all(len(self.candidates(role)) == 1 for role in roles)

    def find(self, role: str) -> Column:
        """The one column that holds it.

        Raises:
            BadData: there is none, or more than one.
        """
        found = self.candidates(role)
        given = getattr(self._given, role)
        if len(found) == 1:
            return Column(found[0], self._names[found[0]])
        if given is not None:
            raise self._missing(given, role)
        what = "no column" if not found else "more than one column"
        raise BadData(
            f"{self._where}: {what} is called {' or '.join(self._wanted(role))}; the"
            f" header names {listed(self._names)}; say which column is which in"
            f" {self._field}.columns"
        )

    def negatives(self) -> tuple[Column, ...]:
        """The columns of hard negatives: those that the spec names, or all with such a name."""
        given = self._given.negatives
        for name in given:
            if name not in self._names:
                raise self._missing(name, "negatives")
        chosen = given or [name for name in self._names if _NEGATIVE.fullmatch(name)]
        return tuple(Column(self._names.index(name), name) for name in chosen)

    def _missing(self, given: str, role: str) -> BadData:
        return BadData(
            f"{self._where}: no column {shown(given)}, which"
            f" {self._field}.columns.{role} asks for; the header names {listed(self._names)}"
        )


def is_usual_name(name: str) -> bool:
    """Whether a column of this name could be meant for something."""
    known = {usual for names in DEFAULTS.values() for usual in names}
    return name.casefold() in known or _NEGATIVE.fullmatch(name) is not None
