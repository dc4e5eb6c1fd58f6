"""Checks that find what keeps a pod from starting."""

from embedtune_api import reasons
from embedtune_operator.blueprint import Unresolved
from embedtune_operator.children import Condition, Pod
from embedtune_operator.observe import Refusal
from embedtune_operator.scene import Finding, Scene, confirm, pending, stuck
from embedtune_operator.suspension import suspended


def unresolved(scene: Scene) -> Finding | None:
    """What the pods are to be made by is not known: the runtime is missing, or lacks something."""
    why = scene.made_by
    if not isinstance(why, Unresolved):
        return None
    if scene.before.reason != why.reason and not scene.observed.confirmed:
        return confirm()
    return suspended(scene) or stuck(why.reason, str(why))


def refused(scene: Scene) -> Finding | None:
    """The API server does not let the children be made."""
    refusal = scene.observed.refusal
    if refusal is None or scene.observed.child is not None or scene.now >= refusal.retry_at:
        return None
    wait = (refusal.retry_at - scene.now).total_seconds()
    return Finding(
        "Pending",
        reasons.CREATE_FAILED,
        f"the API server refuses this job's {refusal.kind}: {refusal.message}."
        f"{_patch_hint(scene, refusal)} It is tried again until it is let in",
        stalled=True,
        again_after_s=wait,
    )


_KUBERNETES = ("affinity", "podTemplatePatch")
"""What of a runtime no schema of ours judges."""


def _patch_hint(scene: Scene, refusal: Refusal) -> str:
    """Whose word it is, if the pod's spec is refused, and the runtime has a part in it."""
    used = scene.before.runtime
    if used is None or "spec.template." not in refusal.message:
        return ""
    parts = [f"spec.{name}" for name in _KUBERNETES if name in used.spec]
    if not parts:
        return ""
    return (
        f" If it is about {' or '.join(parts)} of the {used.kind} {used.name}, correct that, then"
        " make the FineTuneJob again: this one keeps what it began with."
    )


def missing_config(scene: Scene) -> Finding | None:
    """The kubelet cannot put the container together."""
    pod, waiting = _waits(
        scene, "CreateContainerConfigError", "CreateContainerError", "RunContainerError"
    )
    if pod is None or waiting is None:
        return None
    return stuck(
        reasons.CONTAINER_CONFIG_ERROR,
        f"{pod.node_said}the pod cannot start: {waiting.message or waiting.reason}"
        f"{_secret_hint(scene, waiting.message)}",
    )


def _waits(scene: Scene, *why: str) -> tuple[Pod, Condition] | tuple[None, None]:
    """The first pod whose container waits for one of these reasons, and what is said of it."""
    for pod in scene.going:
        if pod.waiting is not None and pod.waiting.reason in why:
            return pod, pod.waiting
    return None, None


def _secret_hint(scene: Scene, message: str) -> str:
    """What to make, if the message is about one of the job's Secrets."""
    job, used = scene.job, scene.before.runtime
    given = used.spec.get("storage", {}).get("secretRef", {}) if used else {}
    storage, wandb = job.spec.storage, job.spec.loggers.wandb
    for name, secret, keys in (
        (
            "storage.secretRef",
            storage.secret_ref,
            "keys AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        ),
        ("storage.hfTokenSecretRef", storage.hf_token_secret_ref, "key HF_TOKEN"),
        ("loggers.wandb.secretRef", wandb.secret_ref if wandb else None, "key WANDB_API_KEY"),
    ):
        if secret is not None and "secret" in message.lower() and secret.name in message:
            whose = f"the {used.kind} {used.name}'s " if used and given == secret.to_dict() else ""
            return (
                f". Make the Secret {secret.name} in the namespace {job.metadata.namespace} with"
                f" the {keys} ({whose}spec.{name} names it)"
            )
    return ""


def image_missing(scene: Scene) -> Finding | None:
    """The kubelet cannot pull the image."""
    pod, waiting = _waits(
        scene,
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "ErrImageNeverPull",
        "ImageInspectError",
        "RegistryUnavailable",
    )
    if pod is None or waiting is None:
        return None
    if waiting.reason == "ImagePullBackOff" and scene.before.reason == reasons.IMAGE_PULL_FAILED:
        # error and back-off alternate for ever, and only the error says what is wrong
        stands = next((c.message for c in scene.before.conditions if c.type == "Running"), "")
        if stands:
            return stuck(reasons.IMAGE_PULL_FAILED, stands)
    return stuck(
        reasons.IMAGE_PULL_FAILED,
        f"{pod.node_said}the trainer's image cannot be pulled:"
        f" {waiting.message or waiting.reason}. {_image_hint(scene)}",
    )


def _image_hint(scene: Scene) -> str:
    used = scene.before.runtime
    if used is not None and {"image", "pullSecrets"} & set(used.spec):
        return (
            f"Correct spec.image or spec.pullSecrets of the {used.kind} {used.name}, then make the"
            " FineTuneJob again: this one keeps what it began with"
        )
    return (
        "Correct the trainer image or its pull secrets in the chart's values, then delete the Job"
        f" {scene.child_name}, which is made again"
    )


def unschedulable(scene: Scene) -> Finding | None:
    """No node can take the pod."""
    pod = next((pod for pod in scene.going if pod.unschedulable), None)
    if pod is None:
        return None
    return pending(
        reasons.UNSCHEDULABLE,
        f"{pod.node_said}no node can take the pod: {pod.unschedulable} Add or free capacity, or"
        " make the job again with less in spec.resources",
    )
