"""What a job of several nodes or processes has beside one of a single process.

Its Job is Indexed, a pod for each node; a headless Service gives the pods names, so that the others
find the first one; and they are started by the trainer's launcher, which lets them meet.
"""

from typing import Any

from embedtune_api import contract
from embedtune_api.job import FineTuneJob
from embedtune_operator.names import service_name

JsonObject = dict[str, Any]

ALONE = ["python3", "-m", "embedtune_trainer"]


def command(job: FineTuneJob, gpus: int) -> list[str]:
    """The trainer container's; a pod has so many GPUs."""
    together = job.spec.parallelism
    processes = together.processes(gpus)
    if together.nodes == 1 and processes == 1:
        return ALONE
    launcher = ["python3", "-m", "embedtune_trainer.launch", f"--nproc-per-node={processes}"]
    if together.nodes == 1:
        launcher += ["--standalone", "--local-addr=127.0.0.1"]
    return [*launcher, *ALONE[1:]]


def job_parts(job: FineTuneJob) -> JsonObject:
    """What of a Job's spec says how many pods it has, and when it is done."""
    nodes = job.spec.parallelism.nodes
    if nodes == 1:
        return {"completions": 1, "parallelism": 1}
    return {
        "completions": nodes,
        "parallelism": nodes,
        "completionMode": "Indexed",
        # the model is there; a pod that is lost from then on has nothing to be made again for
        "successPolicy": {"rules": [{"succeededIndexes": "0"}]},
    }


def met(template: JsonObject, job: FineTuneJob, child: str) -> JsonObject:
    """A pod template whose pods find each other.

    Args:
        template: of the pods.
        job: what they run.
        child: name of the Job, which with a pod's number is its host's name.
    """
    nodes = job.spec.parallelism.nodes
    if nodes == 1:
        return template
    subdomain = service_name(job.metadata.name, job.metadata.uid)
    values = {
        contract.ENV_NODES: str(nodes),
        contract.ENV_RENDEZVOUS: f"{child}-0.{subdomain}:{contract.RENDEZVOUS_PORT}",
    }
    if job.spec.parallelism.min_nodes is not None:
        values[contract.ENV_MIN_NODES] = str(job.spec.parallelism.least)
    own = [{"name": name, "value": value} for name, value in values.items()]
    containers = [
        container | {"env": [*container["env"], *own]}
        if container["name"] == contract.CONTAINER
        else container
        for container in template["spec"]["containers"]
    ]
    return template | {
        "spec": template["spec"] | {"subdomain": subdomain, "containers": containers}
    }


def service_spec(selector: dict[str, str]) -> JsonObject:
    """A headless Service's: names for pods that have these labels, also before they are ready."""
    return {
        "clusterIP": "None",
        "publishNotReadyAddresses": True,
        "selector": selector,
        "ports": [{"name": "rendezvous", "port": contract.RENDEZVOUS_PORT}],
    }
