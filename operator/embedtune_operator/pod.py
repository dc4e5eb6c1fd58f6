"""The pods of a job: isolated, without an API token, within the restricted Pod Security Standard.

One trains; where output.retain is false, another removes the model after the job's deletion.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from embedtune_api import contract
from embedtune_api.job import FineTuneJob
from embedtune_api.loggers import ENV_MLFLOW, ENV_WANDB
from embedtune_api.quantity import parse_quantity
from embedtune_api.runtime import Toleration
from embedtune_operator.blueprint import Blueprint
from embedtune_operator.podpatch import patched

JsonObject = dict[str, Any]

USER_ID = 65532
GRACE_PERIOD_S = 60
REMOVER_LIMITS = {"cpu": "500m", "memory": "512Mi"}


def pod_template(made_by: Blueprint, labels: dict[str, str], config_map: str) -> JsonObject:
    """The template of the child Job's pods."""
    job, runtime, chosen = made_by.job, made_by.runtime, made_by.resource_class
    limits = _limits(made_by)
    claims = [
        *(
            _Claim(f"claim-{i}", c, f"{contract.PVC_DIR}/{c}")
            for i, c in enumerate(job.spec.claims)
        ),
        *(
            _Claim(f"runtime-{v.name}", v.claim_name, v.mount_path, v.read_only)
            for v in runtime.volumes
        ),
    ]
    container = _container(made_by, limits) | {
        "command": ["python3", "-m", "embedtune_trainer"],
        "env": _environment(made_by, limits) + _hub_key(job) + _loggers_keys(job),
        "ports": [{"name": "metrics", "containerPort": contract.METRICS_PORT}],
        "volumeMounts": [
            {
                "name": "job",
                "mountPath": str(PurePosixPath(contract.JOB_FILE).parent),
                "readOnly": True,
            },
            {"name": "work", "mountPath": contract.WORK_DIR},
            {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108  the pod's own, not the node's
            *(claim.mount() for claim in claims),
        ],
    }
    volumes: list[JsonObject] = [
        {"name": "job", "configMap": {"name": config_map}},
        {"name": "work", "emptyDir": {"sizeLimit": made_by.scratch_size}},
        # data loader processes pass tensors through it, and the default of 64 MiB is too small
        {"name": "shm", "emptyDir": {"medium": "Memory"}},
        *(claim.volume() for claim in claims),
    ]
    spec = _spec(made_by, container, volumes)
    if selector := runtime.node_selector | chosen.node_selector:
        spec["nodeSelector"] = selector
    if tolerations := [
        *_gpu_toleration(made_by),
        *_dumped(runtime.tolerations + chosen.tolerations),
    ]:
        spec["tolerations"] = tolerations
    template = {"metadata": {"labels": labels}, "spec": spec}
    return patched(template, runtime.pod_template_patch)


def remover_template(made_by: Blueprint, labels: dict[str, str]) -> JsonObject:
    """The template of the pod that removes the job's model with the job's own S3 credentials.

    It runs where the runtime's pods may, without what a training needs: class, volumes, patch.
    """
    container = _container(made_by, REMOVER_LIMITS) | {
        # the URI is one word of the command: no shell reads it
        "command": ["python3", "-m", "embedtune_trainer.cli", "remove", made_by.job.output_uri],
        "env": _environment(made_by, REMOVER_LIMITS),
        "volumeMounts": [{"name": "work", "mountPath": contract.WORK_DIR}],
    }
    volumes = [{"name": "work", "emptyDir": {"sizeLimit": "100Mi"}}]
    spec = _spec(made_by, container, volumes)
    if made_by.runtime.node_selector:
        spec["nodeSelector"] = dict(made_by.runtime.node_selector)
    if made_by.runtime.tolerations:
        spec["tolerations"] = _dumped(made_by.runtime.tolerations)
    return {"metadata": {"labels": labels}, "spec": spec}


@dataclass(frozen=True, slots=True)
class _Claim:
    """A claim in the job's namespace, as a volume and where it is seen."""

    volume_name: str
    claim_name: str
    path: str
    read_only: bool = True

    def mount(self) -> JsonObject:
        return {"name": self.volume_name, "mountPath": self.path, "readOnly": self.read_only}

    def volume(self) -> JsonObject:
        source = {"claimName": self.claim_name, "readOnly": self.read_only}
        return {"name": self.volume_name, "persistentVolumeClaim": source}


def _spec(made_by: Blueprint, container: JsonObject, volumes: list[JsonObject]) -> JsonObject:
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
    if made_by.pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in made_by.pull_secrets]
    if made_by.runtime.affinity is not None:
        spec["affinity"] = made_by.runtime.affinity
    if made_by.runtime.priority_class_name is not None:
        spec["priorityClassName"] = made_by.runtime.priority_class_name
    return spec


def _container(made_by: Blueprint, limits: dict[str, str]) -> JsonObject:
    return {
        "name": contract.CONTAINER,
        "image": made_by.image,
        "imagePullPolicy": made_by.pull_policy,
        "resources": {"requests": dict(limits), "limits": dict(limits)},
        "terminationMessagePath": contract.TERMINATION_LOG,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }


def _limits(made_by: Blueprint) -> dict[str, str]:
    limits = {"cpu": made_by.cpu, "memory": made_by.memory}
    if made_by.gpus:
        limits[made_by.resource_class.gpu_resource] = str(made_by.gpus)
    return limits


def _gpu_toleration(made_by: Blueprint) -> list[JsonObject]:
    if not made_by.gpus:
        return []
    key = made_by.resource_class.gpu_resource
    return [{"key": key, "operator": "Exists", "effect": "NoSchedule"}]


def _dumped(tolerations: Iterable[Toleration]) -> list[JsonObject]:
    return [toleration.to_dict() for toleration in tolerations]


def _environment(made_by: Blueprint, limits: dict[str, str]) -> list[JsonObject]:
    storage = made_by.job.spec.storage
    values = {
        "HOME": contract.WORK_DIR,
        "TMPDIR": contract.WORK_DIR,
        "PYTHONUNBUFFERED": "1",
        # left alone, torch starts a thread for each of the node's cores and they take turns
        "OMP_NUM_THREADS": str(max(1, math.ceil(parse_quantity(limits["cpu"])))),
        contract.ENV_ENDPOINT: storage.endpoint or made_by.s3_endpoint,
        contract.ENV_REGION: storage.region or made_by.s3_region,
        contract.ENV_ALLOW_PRIVATE: "1" if made_by.private_addresses else None,
        **{variable.name: variable.value for variable in made_by.runtime.env},
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
