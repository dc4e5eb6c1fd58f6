"""What the operator's own things are called, and the labels that they are found by.

Everything is named after the job and its uid. So the name is the same however often it is worked
out (nothing is made twice), and a job that is deleted and made again under its old name never meets
the children of the first.
"""

from typing import Final

from embedtune_api import GROUP

MANAGER: Final = "embedtune-operator"
"""Field manager, value of the managed-by label, reporting component of events."""
LABEL_MANAGED_BY: Final = "app.kubernetes.io/managed-by"
LABEL_JOB_NAME: Final = f"{GROUP}/job-name"
LABEL_JOB_UID: Final = f"{GROUP}/job-uid"
LABEL_QUEUE: Final = "kueue.x-k8s.io/queue-name"
"""Kueue's, on a child Job that waits in one of its queues."""
CHILD_SELECTOR: Final = f"{LABEL_MANAGED_BY}={MANAGER},{LABEL_JOB_UID}"
"""What the operator's children, and nothing else, are found by."""
FINALIZER: Final = f"{GROUP}/remove-model"
"""On a FineTuneJob whose model goes with it."""
ATTEMPTS_MAX: Final = 9
"""Jobs that may follow each other as the child; a digit is what a name has room for."""


def child_name(job_name: str, job_uid: str, attempt: int = 1) -> str:
    """Name of the batch/v1 Job; without an attempt, of the ConfigMap, too.

    Args:
        job_name: the FineTuneJob's name.
        job_uid: the FineTuneJob's uid.
        attempt: which Job it is, from 1: one that failed is followed by another where its pod is
            to be made differently, since a Job's template cannot be changed.
    """
    name = f"{job_name}-{job_uid.replace('-', '')[:8]}"
    return name if attempt == 1 else f"{name}-{attempt}"


def attempt_of(name: str | None, job_name: str, job_uid: str) -> int:
    """Which attempt the Job of this name is; 1 for a name that is none of this FineTuneJob's."""
    attempts = range(2, ATTEMPTS_MAX + 1)
    return next((n for n in attempts if child_name(job_name, job_uid, n) == name), 1)


def remover_name(job_name: str, job_uid: str) -> str:
    """Name of the Job that removes the model of a deleted FineTuneJob."""
    return f"{child_name(job_name, job_uid)}-r"
