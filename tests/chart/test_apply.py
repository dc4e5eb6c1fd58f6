"""A real API server takes all that the chart renders, but for kinds that others bring."""

import pytest
import yaml

from tests.chart.test_chart import EVERYTHING, render
from tests.conftest import Kubectl

pytestmark = pytest.mark.controlplane
FOREIGN = ("PodMonitor", "PrometheusRule")
NAMESPACES = ("embedtune-system", "search", "ads")


def test_the_api_server_takes_everything(kubectl: Kubectl) -> None:
    for name in NAMESPACES:
        kubectl("create", "namespace", name, check=False)
    manifests = [m for m in render(EVERYTHING) if m["kind"] not in FOREIGN]
    words = ("apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-")
    told = kubectl(*words, stdin=yaml.safe_dump_all(manifests)).stdout
    assert told.count("serverside-applied") == len(manifests)
    assert "networkpolicy.networking.k8s.io/embedtune-trainers" in told
