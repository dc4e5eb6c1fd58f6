"""The children of a FineTuneJob as plain objects: functions of the job, no I/O."""

import json
from collections.abc import Iterable
from typing import Any

from embedtune_api import API_VERSION, KIND, contract
from embedtune_api.job import FineTuneJob
from embedtune_operator import nodes, queues
from embedtune_operator.blueprint import Blueprint
from embedtune_operator.names import (
    LABEL_COMPONENT,
    LABEL_JOB_NAME,
    LABEL_JOB_UID,
    LABEL_MANAGED_BY,
    MANAGER,
    SIZER,
    child_name,
    remover_name,
    service_name,
    sizer_name,
)
from embedtune_operator.pod import pod_template, remover_template, sizer_template

JsonObject = dict[str, Any]

SIZING_LIMIT_S = 900
"""How long a job is held back for its needs to be found out; after that it gets the defaults."""
SIZER_KEPT_S = 600
"""How long the pod that found them out, and its log, are kept."""
REMOVAL_LIMIT_S = 600
"""How long a deletion is held back for the model to be removed."""
REMOVER_KEPT_S = 300
"""How long the pod that removed a model, and its log, are kept."""


_DISRUPTED: JsonObject = {
    "action": "Ignore",
    "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
}


def labels(job: FineTuneJob, component: str = "trainer") -> dict[str, str]:
    """Labels of every child, its pods among them."""
    return {
        "app.kubernetes.io/name": "embedtune",
        LABEL_COMPONENT: component,
        LABEL_MANAGED_BY: MANAGER,
        LABEL_JOB_NAME: job.metadata.name,
        LABEL_JOB_UID: job.metadata.uid,
    }


def config_map(job: FineTuneJob) -> JsonObject:
    """The job as the trainer reads it, the same to the byte however often the job was changed."""
    document = job.trainer_input()
    spec = document["spec"]
    # what can be changed is the operator's business, and no trainer reads it
    del document["metadata"]["generation"], spec["suspend"]
    spec["runPolicy"] = {"checkpoints": spec["runPolicy"]["checkpoints"]}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": _metadata(job, child_name(job.metadata.name, job.metadata.uid)),
        "data": {contract.JOB_KEY: json.dumps(document, indent=1, sort_keys=True)},
    }


def child_job(made_by: Blueprint, attempt: int = 1) -> JsonObject:
    """The batch/v1 Job that runs the trainer.

    ttlSecondsAfterFinished is not here: it is set once the result is in the status, so that the
    pod that holds the result in its termination message cannot be swept away unread.

    Args:
        made_by: what to run, and by what.
        attempt: see names.child_name.
    """
    job = made_by.job
    meta, policy = job.metadata, job.spec.run_policy
    spec: JsonObject = {
        **nodes.job_parts(job),
        "backoffLimit": policy.backoff_limit,
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": {
            "rules": [
                _DISRUPTED,
                _on_exit("Ignore", contract.STOPPED_EXIT_CODES),
                _on_exit("FailJob", contract.FINAL_EXIT_CODES),
            ]
        },
        "template": nodes.met(
            pod_template(made_by, _pod_metadata(job), child_name(meta.name, meta.uid)),
            job,
            child_name(meta.name, meta.uid, attempt),
        ),
    }
    if policy.active_deadline_seconds is not None:
        spec["activeDeadlineSeconds"] = policy.active_deadline_seconds
    metadata = _metadata(job, child_name(meta.name, meta.uid, attempt))
    queued = queues.job_labels(meta.labels, made_by.runtime.queue_name)
    metadata["labels"] = queued | metadata["labels"]
    if annotations := queues.job_annotations(meta.annotations):
        metadata["annotations"] = annotations
    if queues.QUEUE in queued:
        spec["suspend"] = True
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}


def service(job: FineTuneJob) -> JsonObject:
    """The headless Service by which the pods of several nodes find each other."""
    meta = job.metadata
    selector = {name: labels(job)[name] for name in (LABEL_JOB_UID, LABEL_COMPONENT)}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(job, service_name(meta.name, meta.uid)),
        "spec": nodes.service_spec(selector),
    }


def sizer_job(made_by: Blueprint) -> JsonObject:
    """The batch/v1 Job that finds out what the job needs, with the user's own Secret.

    If it is swept away before its result was read, it is made again, which costs little.
    """
    job = made_by.job
    name = sizer_name(job.metadata.name, job.metadata.uid)
    reads = child_name(job.metadata.name, job.metadata.uid)
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": _metadata(job, name) | {"labels": labels(job, SIZER)},
        "spec": {
            "backoffLimit": 2,
            "activeDeadlineSeconds": SIZING_LIMIT_S,
            "ttlSecondsAfterFinished": SIZER_KEPT_S,
            "podFailurePolicy": {
                "rules": [_DISRUPTED, _on_exit("FailJob", contract.FINAL_EXIT_CODES)]
            },
            "template": sizer_template(made_by, labels(job, SIZER), reads),
        },
    }


def remover_job(made_by: Blueprint) -> JsonObject:
    """The batch/v1 Job that removes a deleted FineTuneJob's model, with the user's own Secret.

    It has no owner: a deletion in the foreground would take it along before it has done its work.
    """
    job = made_by.job
    meta = job.metadata
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": remover_name(meta.name, meta.uid),
            "namespace": meta.namespace,
            "labels": labels(job, "remover"),
        },
        "spec": {
            "backoffLimit": 3,
            "activeDeadlineSeconds": REMOVAL_LIMIT_S,
            "ttlSecondsAfterFinished": REMOVER_KEPT_S,
            "podFailurePolicy": {"rules": [_on_exit("FailJob", contract.FINAL_EXIT_CODES)]},
            "template": remover_template(made_by, labels(job, "remover")),
        },
    }


def _on_exit(action: str, codes: Iterable[int]) -> JsonObject:
    """A rule of podFailurePolicy about the trainer's exit codes."""
    return {
        "action": action,
        "onExitCodes": {
            "containerName": contract.CONTAINER,
            "operator": "In",
            "values": [int(code) for code in codes],
        },
    }


def _pod_metadata(job: FineTuneJob) -> JsonObject:
    """Labels and annotations of the training pods."""
    meta = job.metadata
    found: JsonObject = {"labels": queues.pod_labels(meta.labels) | labels(job)}
    if annotations := queues.pod_annotations(meta.annotations):
        found["annotations"] = annotations
    return found


def _metadata(job: FineTuneJob, name: str) -> JsonObject:
    meta = job.metadata
    return {
        "name": name,
        "namespace": meta.namespace,
        "labels": labels(job),
        "ownerReferences": [
            {
                "apiVersion": API_VERSION,
                "kind": KIND,
                "name": meta.name,
                "uid": meta.uid,
                "controller": True,
                # true would need leave to set finalizers, and gains nothing: children go anyway
                "blockOwnerDeletion": False,
            }
        ],
    }
