"""The pods of a job: isolated, without an API token, within the restricted Pod Security Standard.

One trains; where output.retain is false, another removes the model after the job's deletion.
"""

import math
from pathlib import PurePosixPath
from typing import Any

from embedtune_api import contract
from embedtune_api.job import FineTuneJob
from embedtune_api.loggers import ENV_MLFLOW, ENV_WANDB
from embedtune_api.quantity import parse_quantity
from embedtune_operator.settings import Settings

JsonObject = dict[str, Any]

USER_ID = 65532
GPU = "nvidia.com/gpu"
GRACE_PERIOD_S = 60
REMOVER_LIMITS = {"cpu": "500m", "memory": "512Mi"}


def pod_template(
    job: FineTuneJob,
    settings: Settings,
    labels: dict[str, str],
    config_map: str,
    memory: str | None = None,
) -> JsonObject:
    """The template of the child Job's pods; memory is in place of the spec's."""
    limits = _resources(job, settings)
    if memory is not None:
        limits["memory"] = memory
    claims = [(f"claim-{i}", claim) for i, claim in enumerate(job.spec.claims)]
    container = _container(settings, limits) | {
        "command": ["python3", "-m", "embedtune_trainer"],
        "env": _environment(job, settings, limits) + _hub_key(job) + _loggers_keys(job),
        "ports": [{"name": "metrics", "containerPort": contract.METRICS_PORT}],
        "volumeMounts": [
            {
                "name": "job",
                "mountPath": str(PurePosixPath(contract.JOB_FILE).parent),
                "readOnly": True,
            },
            {"name": "work", "mountPath": contract.WORK_DIR},
            {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108  the pod's own, not the node's
            *(
                {"name": name, "mountPath": f"{contract.PVC_DIR}/{claim}", "readOnly": True}
                for name, claim in claims
            ),
        ],
    }
    volumes: list[JsonObject] = [
        {"name": "job", "configMap": {"name": config_map}},
        {"name": "work", "emptyDir": {"sizeLimit": settings.scratch_size}},
        # data loader processes pass tensors through it, and the default of 64 MiB is too small
        {"name": "shm", "emptyDir": {"medium": "Memory"}},
        *(
            {"name": name, "persistentVolumeClaim": {"claimName": claim, "readOnly": True}}
            for name, claim in claims
        ),
    ]
    spec = _spec(settings, container, volumes)
    if GPU in limits:
        spec["tolerations"] = [{"key": GPU, "operator": "Exists", "effect": "NoSchedule"}]
    return {"metadata": {"labels": labels}, "spec": spec}


def remover_template(job: FineTuneJob, settings: Settings, labels: dict[str, str]) -> JsonObject:
    """The template of the pod that removes the job's model with the job's own S3 credentials."""
    container = _container(settings, REMOVER_LIMITS) | {
        # the URI is one word of the command: no shell reads it
        "command": ["python3", "-m", "embedtune_trainer.cli", "remove", job.output_uri],
        "env": _environment(job, settings, REMOVER_LIMITS),
        "volumeMounts": [{"name": "work", "mountPath": contract.WORK_DIR}],
    }
    volumes = [{"name": "work", "emptyDir": {"sizeLimit": "100Mi"}}]
    return {"metadata": {"labels": labels}, "spec": _spec(settings, container, volumes)}


def _spec(settings: Settings, container: JsonObject, volumes: list[JsonObject]) -> JsonObject:
    spec: JsonObject = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": GRACE_PERIOD_S,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER_ID,
            "runAsGroup": USER_ID,
            "fsGroup": USER_ID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": volumes,
    }
    if settings.trainer_pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in settings.trainer_pull_secrets]
    return spec


def _container(settings: Settings, limits: dict[str, str]) -> JsonObject:
    return {
        "name": contract.CONTAINER,
        "image": settings.trainer_image,
        "imagePullPolicy": settings.trainer_pull_policy,
        "resources": {"requests": dict(limits), "limits": dict(limits)},
        "terminationMessagePath": contract.TERMINATION_LOG,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }


def memory_of(job: FineTuneJob, settings: Settings) -> str:
    """The pod's memory by spec and platform."""
    return _resources(job, settings)["memory"]


def _resources(job: FineTuneJob, settings: Settings) -> dict[str, str]:
    wanted = job.spec.resources
    limits = {
        "cpu": str(settings.default_cpu if wanted.cpu is None else wanted.cpu),
        "memory": str(settings.default_memory if wanted.memory is None else wanted.memory),
    }
    gpus = settings.default_gpus if wanted.gpus is None else wanted.gpus
    if gpus:
        limits[GPU] = str(gpus)
    return limits


def _environment(job: FineTuneJob, settings: Settings, limits: dict[str, str]) -> list[JsonObject]:
    storage = job.spec.storage
    values = {
        "HOME": contract.WORK_DIR,
        "TMPDIR": contract.WORK_DIR,
        "PYTHONUNBUFFERED": "1",
        # left alone, torch starts a thread for each of the node's cores and they take turns
        "OMP_NUM_THREADS": str(max(1, math.ceil(parse_quantity(limits["cpu"])))),
        contract.ENV_ENDPOINT: storage.endpoint or settings.s3_endpoint,
        contract.ENV_REGION: storage.region or settings.s3_region,
        contract.ENV_ALLOW_PRIVATE: "1" if settings.trainer_private_addresses else None,
    }
    env: list[JsonObject] = [{"name": k, "value": v} for k, v in values.items() if v is not None]
    if storage.secret_ref is not None:
        for key in (
            contract.ENV_ACCESS_KEY,
            contract.ENV_SECRET_KEY,
            contract.ENV_SESSION_TOKEN,
        ):
            source: JsonObject = {"name": storage.secret_ref.name, "key": key}
            if key == contract.ENV_SESSION_TOKEN:
                source["optional"] = True
            env.append({"name": key, "valueFrom": {"secretKeyRef": source}})
    return env


def _hub_key(job: FineTuneJob) -> list[JsonObject]:
    secret = job.spec.storage.hf_token_secret_ref
    if secret is None:
        return []
    token = {"name": secret.name, "key": contract.ENV_HF_TOKEN}
    return [{"name": contract.ENV_HF_TOKEN, "valueFrom": {"secretKeyRef": token}}]


def _loggers_keys(job: FineTuneJob) -> list[JsonObject]:
    """The variables by which the loggers' clients sign in."""
    env: list[JsonObject] = []
    wandb, mlflow = job.spec.loggers.wandb, job.spec.loggers.mlflow
    for wanted, keys, required in ((wandb, ENV_WANDB, ENV_WANDB[:1]), (mlflow, ENV_MLFLOW, ())):
        if wanted is None or wanted.secret_ref is None:
            continue
        for key in keys:
            source: JsonObject = {"name": wanted.secret_ref.name, "key": key}
            if key not in required:
                source["optional"] = True
            env.append({"name": key, "valueFrom": {"secretKeyRef": source}})
    return env
