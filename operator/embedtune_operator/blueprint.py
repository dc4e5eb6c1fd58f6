"""What a job's pods are made by: the job's own word, then its runtime's, then the chart's.

Which runtime that is, is decided once, before anything is made of the job, and written into its
status (decide.py) with the runtime's spec. So a retry's pod, a child that is made again and the pod
that removes the model are made by the same blueprint as the first, whatever has become of the
runtime since.
"""

from dataclasses import dataclass
from typing import Any

from embedtune_api import reasons
from embedtune_api.base import InvalidJob
from embedtune_api.job import FineTuneJob
from embedtune_api.runtime import (
    CLUSTER_RUNTIME,
    NAMESPACE_WORD,
    RUNTIME,
    ResourceClass,
    RuntimeSpec,
)
from embedtune_api.status import RuntimeUsed
from embedtune_operator.settings import Settings
from embedtune_operator.views import StoredRuntime


class Unresolved(Exception):
    """The job cannot begin before its runtime is another, or there; the message says what to do."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Blueprint:
    """All that manifests are made from."""

    job: FineTuneJob
    """With output and storage filled in from its runtime; as the trainer reads it."""
    image: str
    pull_policy: str
    pull_secrets: tuple[str, ...]
    s3_endpoint: str | None
    """In the environment; the job's own goes before it."""
    s3_region: str | None
    """In the environment; the job's own goes before it."""
    private_addresses: bool
    cpu: str
    memory: str
    gpus: int
    scratch_size: str
    runtime: RuntimeSpec
    """What is taken as it stands: placement, environment, volumes, patch."""
    resource_class: ResourceClass
    """Placement and the name of the GPUs; the sizes are in cpu, memory and gpus."""


def runtime_of(
    job: FineTuneJob, runtimes: tuple[StoredRuntime, ...], settings: Settings
) -> RuntimeUsed | None:
    """The runtime that a job which has not begun is to be run by; None for the chart's values.

    Args:
        job: as stored.
        runtimes: those of the job's namespace and of the cluster.
        settings: the chart's values.

    Raises:
        Unresolved: it names one that is not there, or nobody can say which is the default.
    """
    found = _named(job, runtimes, settings) if job.spec.runtime else _default(runtimes)
    if found is None:
        return None
    try:
        spec = RuntimeSpec.parse(found.spec())
    except InvalidJob as error:
        text = "; ".join(f"spec.{line}" for line in str(error).splitlines())
        raise Unresolved(
            reasons.RUNTIME_INVALID,
            f"the {found.kind} {found.id.name} cannot be used: {text}. The job goes on when it is"
            " corrected",
        ) from None
    name = _class(job, spec)
    classes = {key: value for key, value in spec.resource_classes.items() if key == name}
    own = {"resource_classes": classes, "default_resource_class": name if classes else None}
    kept = spec.model_copy(update=own)
    return RuntimeUsed(
        kind=found.kind,
        name=found.id.name,
        uid=found.id.uid,
        generation=found.generation,
        spec=kept.model_dump(mode="json", by_alias=True, exclude_defaults=True),
    )


def blueprint(job: FineTuneJob, used: RuntimeUsed | None, settings: Settings) -> Blueprint:
    """The blueprint of a job that is run by this runtime, or by the chart's values alone.

    Raises:
        Unresolved: the runtime lacks what the job needs of it.
    """
    runtime = _spec_of(used)
    chosen = _class_of(job, used, runtime)
    wanted = job.spec.resources
    gpus = _first(wanted.gpus, chosen.gpus, settings.default_gpus)
    private = _first(runtime.allow_private_addresses, settings.trainer_private_addresses)
    return Blueprint(
        job=_filled(job, used, runtime),
        image=runtime.image or settings.trainer_image,
        pull_policy=runtime.image_pull_policy or settings.trainer_pull_policy,
        pull_secrets=_first(runtime.pull_secrets, settings.trainer_pull_secrets),
        s3_endpoint=settings.s3_endpoint,
        s3_region=settings.s3_region,
        private_addresses=private,
        cpu=str(_first(wanted.cpu, chosen.cpu, settings.default_cpu)),
        memory=str(_first(wanted.memory, chosen.memory, settings.default_memory)),
        gpus=gpus,
        scratch_size=settings.scratch_size,
        runtime=runtime,
        resource_class=chosen,
    )


def _named(
    job: FineTuneJob, runtimes: tuple[StoredRuntime, ...], settings: Settings
) -> StoredRuntime:
    wanted = job.spec.runtime
    assert wanted is not None  # noqa: S101  for the type checker
    for runtime in runtimes:
        if (runtime.kind, runtime.id.name) == (wanted.kind, wanted.name):
            return runtime
    where = f" in the namespace {job.metadata.namespace}" if wanted.kind == RUNTIME else ""
    unseen = wanted.kind == CLUSTER_RUNTIME and settings.namespaces
    hint = (
        f"this operator serves single namespaces and sees no {CLUSTER_RUNTIME}: make the job again"
        f" with a {RUNTIME}"
        if unseen
        else "the job goes on when it is made"
    )
    raise Unresolved(
        reasons.RUNTIME_NOT_FOUND,
        f"spec.runtime: there is no {wanted.kind} {wanted.name}{where}; {hint}",
    )


def _default(runtimes: tuple[StoredRuntime, ...]) -> StoredRuntime | None:
    """The namespace's default, else the cluster's."""
    for kind in (RUNTIME, CLUSTER_RUNTIME):
        found = sorted(r.id.name for r in runtimes if r.kind == kind and r.default)
        if len(found) > 1:
            raise Unresolved(
                reasons.RUNTIME_AMBIGUOUS,
                f"the {kind}s {' and '.join(found)} all have spec.default: true. The job goes on"
                " when one is left; or make it again with spec.runtime",
            )
        if found:
            return next(r for r in runtimes if r.kind == kind and r.id.name == found[0])
    return None


def _spec_of(used: RuntimeUsed | None) -> RuntimeSpec:
    if used is None:
        return RuntimeSpec()
    try:
        return RuntimeSpec.parse(used.spec)
    except InvalidJob as error:  # written by a newer operator, or by hand
        raise Unresolved(
            reasons.RUNTIME_INVALID,
            f"status.runtime.spec cannot be read: {error}. Make the job again",
        ) from None


def _class(job: FineTuneJob, runtime: RuntimeSpec) -> str | None:
    return job.spec.resources.class_name or runtime.default_resource_class


def _class_of(job: FineTuneJob, used: RuntimeUsed | None, runtime: RuntimeSpec) -> ResourceClass:
    name = _class(job, runtime)
    if name is None:
        return ResourceClass()
    chosen = runtime.resource_classes.get(name)
    if chosen is None:
        whose = f"the {used.kind} {used.name} has no such class" if used else "there is no runtime"
        raise Unresolved(
            reasons.RESOURCE_CLASS_NOT_FOUND,
            f"spec.resources.className: {name}: {whose}. The job goes on when there is one",
        )
    return chosen


def _filled(job: FineTuneJob, used: RuntimeUsed | None, runtime: RuntimeSpec) -> FineTuneJob:
    """The job with what it leaves out of output and storage, as far as the runtime gives it."""
    output, storage, given = job.spec.output, job.spec.storage, runtime.storage
    if output.uri is None:
        if runtime.output is None:
            whose = f"neither does the {used.kind} {used.name}" if used else "no runtime does"
            raise Unresolved(
                reasons.OUTPUT_MISSING,
                "spec.output.uri: the job does not say where its model goes, and"
                f" {whose}. Make it again with spec.output.uri, or give a runtime spec.output.uri",
            )
        uri = runtime.output.uri.replace(NAMESPACE_WORD, job.metadata.namespace)
        output = output.model_copy(update={"uri": uri})
    own: dict[str, Any] = {
        "endpoint": storage.endpoint or given.endpoint,
        "region": storage.region or given.region,
        "secret_ref": storage.secret_ref or given.secret_ref,
    }
    spec = {"output": output, "storage": storage.model_copy(update=own)}
    return job.model_copy(update={"spec": job.spec.model_copy(update=spec)})


def _first(*values: Any) -> Any:  # noqa: ANN401  of the type of its arguments
    """The first that is given."""
    return next(value for value in values if value is not None)
