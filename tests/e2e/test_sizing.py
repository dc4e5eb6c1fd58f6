"""A job that says nothing of resources: a pod finds out what it needs, the training gets that."""

from collections.abc import Iterator

import pytest

from localdemo.site import Site
from tests.e2e.conftest import User

pytestmark = pytest.mark.cluster

DEPLOYMENT = ("deployment/embedtune", "-n", "embedtune-system")


@pytest.fixture
def sizing(site: Site) -> Iterator[None]:
    """The operator as the chart has it by default; the site's sizes no job."""
    for value in ("true", "false"):
        site.kubectl("set", "env", *DEPLOYMENT, f"EMBEDTUNE_SIZING={value}")
        site.kubectl("rollout", "status", *DEPLOYMENT, "--timeout=120s")
        if value == "true":
            yield


@pytest.mark.usefixtures("sizing")
def test_what_a_job_leaves_out_is_found_out(user: User, questions: list[tuple[str, str]]) -> None:
    user.apply("unsized", user.data(questions[:64]), resources={})
    status = user.finish("unsized")
    assert status["state"] == "Complete", status
    found = status["resources"]
    assert any(line.startswith(f"memory {found['memory']}") for line in found["reasoning"])
    limits = {
        pod["metadata"]["labels"]["app.kubernetes.io/component"]: container["resources"]["limits"]
        for pod in user.pods("unsized")
        for container in pod["spec"]["containers"]
    }
    assert limits["trainer"]["memory"] == found["memory"]
    assert limits["trainer"]["cpu"] == found["cpu"]
    assert "sizer" in limits
