"""What the operator keeps of an object that users make: a small frozen value, read leniently.

Whole objects are not kept: ten thousand of them would fill the operator's memory, and most of each
is nobody's business here. Fields that are absent read as empty; what the API server stores is
well-formed, and what it does not promise (a status written by hand) must not stop a reconcile.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from embedtune_api.base import InvalidJob
from embedtune_api.job import FineTuneJob
from embedtune_api.runtime import RuntimeKind
from embedtune_operator import queues

JsonObject = dict[str, Any]
Raw = Mapping[str, Any]

READ_KEPT = 256
"""How many jobs and statuses are kept as read, since what changes is looked at several times."""

_TRACKING_LABELS = (
    "app.kubernetes.io/instance",
    "argocd.argoproj.io/instance",
    "kustomize.toolkit.fluxcd.io/name",
    "helm.toolkit.fluxcd.io/name",
)
_TRACKING_ANNOTATIONS = ("argocd.argoproj.io/tracking-id", "meta.helm.sh/release-name")


def parse_time(text: object) -> datetime | None:
    """An API timestamp, or None if there is none."""
    try:
        time = datetime.fromisoformat(str(text))
    except ValueError:  # a status can be written by hand
        return None
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Identity:
    """What every object has."""

    namespace: str
    name: str
    uid: str
    resource_version: int
    created: str
    deleting: str | None
    """deletionTimestamp."""

    @classmethod
    def of(cls, raw: Raw) -> "Identity":
        """Read metadata."""
        meta = raw["metadata"]
        version = str(meta.get("resourceVersion", ""))
        return cls(
            namespace=meta.get("namespace", ""),
            name=meta["name"],
            uid=meta["uid"],
            resource_version=int(version) if version.isdigit() else 0,
            created=meta.get("creationTimestamp", ""),
            deleting=meta.get("deletionTimestamp"),
        )


@dataclass(frozen=True, slots=True)
class StoredJob:
    """A FineTuneJob as stored, its body kept as JSON text, a fifth of the objects' size."""

    id: Identity
    generation: int
    finalizers: tuple[str, ...]
    tracked: bool
    """Whether a tool that would make it again if it were deleted keeps track of it."""
    state: str
    reason: str
    observed_generation: int
    """That of which the status tells; 0 if of none."""
    _manifest: bytes
    _status: bytes

    @classmethod
    def of(cls, raw: Raw) -> "StoredJob":
        """Keep name, spec and status."""
        meta, status = raw["metadata"], raw.get("status") or {}
        manifest = {
            "apiVersion": raw.get("apiVersion"),
            "kind": raw.get("kind"),
            "metadata": {k: meta.get(k) for k in ("name", "namespace", "uid", "generation")}
            | {k: queues.handed_on(meta.get(k)) for k in ("labels", "annotations")},
            "spec": raw.get("spec"),
        }
        return cls(
            id=Identity.of(raw),
            generation=meta.get("generation", 1),
            finalizers=tuple(meta.get("finalizers") or ()),
            tracked=any(label in (meta.get("labels") or ()) for label in _TRACKING_LABELS)
            or any(note in (meta.get("annotations") or ()) for note in _TRACKING_ANNOTATIONS),
            state=str(status.get("state") or "Pending"),
            reason=str(status.get("reason") or ""),
            observed_generation=status.get("observedGeneration") or 0,
            _manifest=_compact(manifest),
            _status=_compact(status),
        )

    @property
    def new(self) -> bool:
        """Whether nothing was decided about it yet."""
        return not self.reason

    @property
    def asked_anew(self) -> bool:
        """Whether its user has changed or deleted it, and no answer is written yet."""
        return self.id.deleting is not None or self.generation > self.observed_generation > 0

    @property
    def facts(self) -> dict[str, object]:
        """What every log line about it holds."""
        return {
            "job": self.id.name,
            "namespace": self.id.namespace,
            "uid": self.id.uid,
            "generation": self.generation,
        }

    def job(self) -> FineTuneJob:
        """What the user wrote.

        Raises:
            InvalidJob: it does not parse.
        """
        found = _job(self._manifest)
        if isinstance(found, str):
            raise InvalidJob(found)
        return found

    def status(self) -> JsonObject:
        """The status as stored; not to be changed."""
        return _object(self._status)


def _compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


@lru_cache(READ_KEPT)
def _object(text: bytes) -> JsonObject:
    found: JsonObject = json.loads(text)
    return found


@lru_cache(READ_KEPT)
def _job(manifest: bytes) -> FineTuneJob | str:
    """The job, or what is wrong with it."""
    try:
        return FineTuneJob.parse(json.loads(manifest))
    except InvalidJob as error:
        return str(error)


@dataclass(frozen=True, slots=True)
class StoredRuntime:
    """A FineTuneRuntime or ClusterFineTuneRuntime as stored."""

    id: Identity
    kind: RuntimeKind
    generation: int
    default: bool
    """Whether jobs that name no runtime take it."""
    body: bytes

    @classmethod
    def of(cls, kind: RuntimeKind, raw: Raw) -> "StoredRuntime":
        """Keep name and spec; what a listing gives does not always say its kind."""
        spec = raw.get("spec") or {}
        return cls(
            id=Identity.of(raw),
            kind=kind,
            generation=raw["metadata"].get("generation", 1),
            default=spec.get("default") is True,
            body=_compact(spec),
        )

    def spec(self) -> JsonObject:
        """The spec."""
        spec: JsonObject = json.loads(self.body)
        return spec
