"""The children of a FineTuneJob as plain objects: functions of the job, no I/O.

Both children are named after the job and its uid. So the name is the same however often it is
worked out (nothing is made twice), and a job that is deleted and made again under its old name
never meets the children of the first.
"""

import json
from typing import Any

from embedtune_api import API_VERSION, KIND, contract
from embedtune_api.job import FineTuneJob
from embedtune_operator.pod import pod_template
from embedtune_operator.settings import Settings

JsonObject = dict[str, Any]

MANAGER = "embedtune-operator"
"""Field manager, value of the managed-by label, reporting component of events."""
LABEL_MANAGED_BY = "app.kubernetes.io/managed-by"
LABEL_JOB_NAME = "embedtune.dev/job-name"
LABEL_JOB_UID = "embedtune.dev/job-uid"
CHILD_SELECTOR = f"{LABEL_MANAGED_BY}={MANAGER},{LABEL_JOB_UID}"
"""What the operator's children, and nothing else, are found by."""


def child_name(job_name: str, job_uid: str) -> str:
    """Name of the ConfigMap and of the batch/v1 Job."""
    return f"{job_name}-{job_uid.replace('-', '')[:8]}"


def labels(job: FineTuneJob) -> dict[str, str]:
    """Labels of every child, its pods among them."""
    return {
        "app.kubernetes.io/name": "embedtune",
        "app.kubernetes.io/component": "trainer",
        LABEL_MANAGED_BY: MANAGER,
        LABEL_JOB_NAME: job.metadata.name,
        LABEL_JOB_UID: job.metadata.uid,
    }


def config_map(job: FineTuneJob) -> JsonObject:
    """The job as the trainer reads it."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": _metadata(job),
        "data": {contract.JOB_KEY: json.dumps(job.trainer_input(), indent=1, sort_keys=True)},
    }


def child_job(job: FineTuneJob, settings: Settings) -> JsonObject:
    """The batch/v1 Job that runs the trainer.

    ttlSecondsAfterFinished is not here: it is set once the result is in the status, so that the
    pod that holds the result in its termination message cannot be swept away unread.
    """
    policy = job.spec.run_policy
    spec: JsonObject = {
        "completions": 1,
        "parallelism": 1,
        "backoffLimit": policy.backoff_limit,
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": {
            "rules": [
                {
                    "action": "Ignore",
                    "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
                },
                {
                    "action": "FailJob",
                    "onExitCodes": {
                        "containerName": contract.CONTAINER,
                        "operator": "In",
                        "values": [int(code) for code in contract.FINAL_EXIT_CODES],
                    },
                },
            ]
        },
        "template": pod_template(
            job, settings, labels(job), child_name(job.metadata.name, job.metadata.uid)
        ),
    }
    if policy.active_deadline_seconds is not None:
        spec["activeDeadlineSeconds"] = policy.active_deadline_seconds
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": _metadata(job),
        "spec": spec,
    }


def _metadata(job: FineTuneJob) -> JsonObject:
    meta = job.metadata
    return {
        "name": child_name(meta.name, meta.uid),
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
