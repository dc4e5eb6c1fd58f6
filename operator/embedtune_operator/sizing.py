"""Checks that find what the job needs to be unknown yet, or to be too much.

A job that leaves resources out is first looked at by a pod without a GPU, with the job's own
credentials, since the operator reads no Secret and knows nothing of networks. Its word goes into
status.resources once, before the training's Job is made by it.
"""

from dataclasses import replace

from embedtune_api import reasons
from embedtune_api.contract import ExitCode
from embedtune_api.quantity import parse_quantity
from embedtune_operator.blueprint import Blueprint
from embedtune_operator.children import ChildJob
from embedtune_operator.names import sizer_name
from embedtune_operator.obstacles import image_missing, missing_config, unschedulable
from embedtune_operator.scene import Finding, Scene, confirm, failed, pending
from embedtune_operator.sized import size_result, verdict
from embedtune_operator.suspension import held, queued


def sizing(scene: Scene) -> Finding | None:
    """A pod is to find out what the job needs, or is about it."""
    observed, made_by = scene.observed, scene.made_by
    if not isinstance(made_by, Blueprint) or not made_by.to_size:
        return None
    if scene.before.job_name is not None or observed.child is not None:
        return None  # begun by a version that did not size, or before sizing was switched on
    name = sizer_name(scene.job.metadata.name, scene.job.metadata.uid)
    if observed.sizer is None:
        return Finding("Pending", reasons.SIZING, _told(name), make=True, size=True)
    return _under_way(scene, observed.sizer, name)


def _under_way(scene: Scene, sizer: ChildJob, name: str) -> Finding:
    """How far the sizing is; what it found is not here, since then there is nothing to size."""
    observed = scene.observed
    last = verdict(observed)
    if last is not None:
        result, code = size_result(last.message), ExitCode(last.exit_code)
        said = result.failure.message if result and result.failure else last.message.strip()
        return failed(code.reason, said)
    if sizer.id.deleting is not None:
        return pending(reasons.SIZING, f"the Job {name} is being deleted; it is made again")
    if sizer.ended:
        return confirm()  # its pod may be seen later than its end
    as_child = replace(scene, observed=replace(observed, child=sizer, pods=observed.sizer_pods))
    checks = (queued, held, missing_config, image_missing, unschedulable)
    found = (check(as_child) for check in checks)
    return next(filter(None, found), pending(reasons.SIZING, _told(name)))


def _told(name: str) -> str:
    return (
        f"the Job {name} finds out what spec.resources leaves out, from the backbone's"
        " configuration and the data"
    )


def too_large(scene: Scene) -> Finding | None:
    """The job needs more than the platform gives to one that has not asked for it."""
    made_by = scene.made_by
    if not isinstance(made_by, Blueprint) or made_by.sized is None or scene.before.job_name:
        return None
    most, wanted = made_by.sizing_max_memory, scene.job.spec.resources.memory
    if wanted is not None or made_by.resource_class.memory is not None:
        return None
    if parse_quantity(made_by.memory) <= parse_quantity(most):
        return None
    return failed(
        reasons.TOO_LARGE,
        f"the job needs {made_by.memory} of memory by the estimate in status.resources, and without"
        f" spec.resources.memory this platform gives {most} at most: make the job again with"
        " spec.resources.memory, or with a lower spec.training.microBatch or batchSize, or with"
        " spec.model.lora or freeze",
    )
