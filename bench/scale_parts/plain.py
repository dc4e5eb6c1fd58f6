"""No system at all: plain batch/v1 Jobs, which is what Kubernetes itself takes for such a load."""

from scale_parts.sightings import JOB, POD
from scale_parts.systems import IMAGE, NAMESPACE, RESOURCES, JsonObject, Kind, System


def _job(name: str) -> JsonObject:
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "template": {
                "spec": {
                    "restartPolicy": "Never",
                    "containers": [{"name": "main", "image": IMAGE, "resources": RESOURCES}],
                }
            }
        },
    }


PLAIN = System(
    name="plain Jobs",
    about="batch/v1 Jobs by the load itself, and no operator",
    users=(),
    tools=(),
    kinds=(
        Kind(JOB, "/apis/batch/v1", "jobs"),
        Kind(POD, "/api/v1", "pods", "batch.kubernetes.io/job-name"),
    ),
    manifests=lambda: (),
    processes=lambda _plane, _folder: (),
    job=_job,
)
