"""A job that says nothing about what it needs, on the kubelet."""

from collections.abc import Iterator

import pytest

from embedtune_api.quantity import parse_quantity
from localdemo.setup import SYSTEM_NAMESPACE
from localdemo.site import Site
from tests.e2e.conftest import User

pytestmark = pytest.mark.cluster


@pytest.fixture
def sizing(site: Site) -> Iterator[None]:
    """The operator sizes jobs, which the demo's leaves out."""
    operator = ("deployment/embedtune", "-n", SYSTEM_NAMESPACE)

    def have(wanted: str) -> None:
        site.kubectl("set", "env", *operator, f"EMBEDTUNE_SIZING={wanted}")
        site.kubectl("rollout", "status", *operator, "--timeout=180s")

    have("true")
    yield
    have("false")


def test_a_pod_finds_out_what_the_training_gets(
    sizing: None, user: User, questions: list[tuple[str, str]]
) -> None:
    user.apply("sized", user.data(questions[:100]), resources={})
    status = user.finish("sized")
    assert status["state"] == "Complete", status
    found = status["resources"]
    assert found["gpus"] == 0
    assert [line.split()[0] for line in found["reasoning"]][:2] == ["memory", "cpu"]
    sizer, trainer = sorted(
        user.pods("sized"), key=lambda pod: str(pod["metadata"]["creationTimestamp"])
    )
    assert sizer["metadata"]["labels"]["app.kubernetes.io/component"] == "sizer"
    (container,) = trainer["spec"]["containers"]
    for name in ("cpu", "memory"):
        given = container["resources"]["limits"][name]
        assert parse_quantity(given) == parse_quantity(found[name])
