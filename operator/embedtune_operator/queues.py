"""What a FineTuneJob says to batch schedulers, handed on to its Job and its pods as it stands.

Kueue decides when the Job of a queue may run: the Job is made suspended, and from then on its
spec.suspend, and what Kueue writes into its pod template, is Kueue's. Schedulers of pod groups
(coscheduling, Volcano, YuniKorn) go by what the pods carry.
"""

from collections.abc import Callable, Mapping
from typing import Final

QUEUE: Final = "kueue.x-k8s.io/queue-name"
KUEUE: Final = "/apis/kueue.x-k8s.io"
"""Where the API server says which versions of Kueue's objects it has."""
WORKLOAD_OF: Final = "kueue.x-k8s.io/job-uid"
"""Kueue's label on what it keeps of a Job."""

_JOB_LABELS = (QUEUE, "kueue.x-k8s.io/priority-class")
_POD_LABELS = (
    "scheduling.x-k8s.io/pod-group",
    "yunikorn.apache.org/app-id",
    "yunikorn.apache.org/queue",
)
_JOB_ANNOTATIONS = ("provreq.kueue.x-k8s.io/",)
_POD_ANNOTATIONS = (
    "kueue.x-k8s.io/podset-",
    "scheduling.k8s.io/group-name",
    "scheduling.volcano.sh/",
    "volcano.sh/",
    "yunikorn.apache.org/",
)

Texts = Mapping[str, str]


def job_labels(labels: Texts, queue: str | None) -> dict[str, str]:
    """Of the Job; the queue is the runtime's, and the FineTuneJob's own label goes before it."""
    given = {QUEUE: queue} if queue else {}
    return given | _those(labels, lambda name: name in _JOB_LABELS)


def job_annotations(annotations: Texts) -> dict[str, str]:
    """Of the Job."""
    return _those(annotations, lambda name: name.startswith(_JOB_ANNOTATIONS))


def pod_labels(labels: Texts) -> dict[str, str]:
    """Of each pod."""
    return _those(labels, lambda name: name in _POD_LABELS)


def pod_annotations(annotations: Texts) -> dict[str, str]:
    """Of each pod."""
    return _those(annotations, lambda name: name.startswith(_POD_ANNOTATIONS))


def handed_on(texts: Texts | None) -> dict[str, str]:
    """Of labels or annotations those that any of these functions takes."""
    prefixes = (*_JOB_LABELS, *_POD_LABELS, *_JOB_ANNOTATIONS, *_POD_ANNOTATIONS)
    return _those(texts or {}, lambda name: name.startswith(prefixes))


def _those(texts: Texts, wanted: Callable[[str], bool]) -> dict[str, str]:
    return {name: value for name, value in texts.items() if wanted(name)}
