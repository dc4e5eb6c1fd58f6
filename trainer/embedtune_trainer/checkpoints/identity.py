"""Which run a checkpoint is of: the same spec, data, code and weights go on bit for bit."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import embedtune_api
from embedtune_api.base import ApiModel
from embedtune_api.spec import FineTuneJobSpec
from embedtune_trainer.rows.table import Items, LabelledRows, Rows

PARTS: Final = ("model", "data", "objective", "training")
"""Of the spec: what decides how the weights come out."""
_PACKAGES: Final = (
    *("torch", "torchvision", "transformers", "tokenizers", "timm", "peft", "numpy", "pillow"),
    "pytorch-metric-learning",
)
_SHOWN: Final = 8
"""Differences that a message names."""


class Identity(ApiModel):
    """What two runs have in common if one can go on where the other stood."""

    spec: dict[str, Any]
    """The PARTS of the spec."""
    data: dict[str, str]
    """A digest of the rows by their place in the spec."""
    versions: dict[str, str]
    """Of embedtune, of its source, and of the packages that compute."""
    parameters: dict[str, list[int]]
    """Shape of every trained weight."""

    @classmethod
    def of(
        cls,
        spec: FineTuneJobSpec,
        rows: Iterable[tuple[str, Rows]],
        parameters: Mapping[str, tuple[int, ...]],
    ) -> "Identity":
        """This run's.

        Args:
            spec: the job's.
            rows: those that are trained and measured on, each with its place in the spec.
            parameters: shape of every trained weight.
        """
        whole = spec.to_dict()
        return cls(
            spec={part: whole[part] for part in PARTS},
            data={place: digest_of_rows(found) for place, found in rows},
            versions=versions(),
            parameters={name: list(shape) for name, shape in parameters.items()},
        )

    def differences(self, now: "Identity") -> list[str]:
        """What is not the same in `now`, each in a few words; at most _SHOWN, and how many more."""
        found = list(_differences("spec", self.spec, now.spec))
        found += [
            f"the rows of {place} are not the same"
            for place in sorted(self.data.keys() | now.data.keys())
            if self.data.get(place) != now.data.get(place)
        ]
        found += _differences("", self.versions, now.versions)
        found += _differences("the shape of", self.parameters, now.parameters, " ")
        more = len(found) - _SHOWN
        return found if more <= 0 else [*found[:_SHOWN], f"and {more} more"]


@cache
def versions() -> dict[str, str]:
    """Versions of what takes part in the computation."""
    found = {"embedtune": embedtune_api.__version__, "embedtune's source": _source_digest()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def digest_of_rows(rows: Rows) -> str:
    """A digest of what the rows hold and of their order, wherever they were read from."""
    digest = hashlib.blake2b(type(rows).__name__.encode(), digest_size=16)
    columns: tuple[Items, ...]
    if isinstance(rows, LabelledRows):
        columns = (rows.items,)
        digest.update(rows.labels.codes_N.tobytes())
        digest.update("\0".join(rows.labels.names).encode())
    else:
        columns = (rows.left, rows.right, *rows.negatives)
        for said_N in (rows.scores_N, rows.margins_N):
            if said_N is not None:
                digest.update(said_N.tobytes())
    for items in columns:
        digest.update(f"\0{items.modality} {len(items)}\0".encode())
        digest.update(items.identities_N2.tobytes())
    return digest.hexdigest()


def _source_digest() -> str:
    digest = hashlib.blake2b(digest_size=8)
    for package in (Path(embedtune_api.__file__).parent, Path(__file__).parents[1]):
        for path in sorted(package.rglob("*.py")):
            digest.update(path.relative_to(package).as_posix().encode() + b"\0")
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _differences(
    path: str, then: Mapping[str, Any], now: Mapping[str, Any], joint: str = "."
) -> Iterator[str]:
    for key in sorted(then.keys() | now.keys()):
        where = f"{path}{joint}{key}" if path else key
        old, new = then.get(key), now.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from _differences(where, old, new)
        elif old != new:
            yield f"{where} was {_told(old)}, is {_told(new)}"


def _told(value: object) -> str:
    return "not set" if value is None else str(value)
