"""The chart's alerts and its dashboard: every metric exists, every alert fires when it should."""

import json
import re
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from embedtune_api.contract import Metric
from embedtune_operator.cache import Cache
from embedtune_operator.telemetry import Telemetry, World
from embedtune_operator.watching import Pulse
from localcluster.tools import tool
from tests.chart.test_chart import CHART, ROOT, render

RULES = CHART / "files/rules.yaml"
DASHBOARD = CHART / "files/dashboard.json"
PAGE = ROOT / "docs/metrics.md"


def alerts() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return [panel for panel in found if panel["type"] != "row"]


def expressions() -> list[str]:
    """All that is asked of Prometheus."""
    shown = [target["expr"] for panel in panels() for target in panel["targets"]]
    return [alert["expr"] for alert in alerts()] + shown


def operators_metrics() -> set[str]:
    """Names of the operator's metrics, as they are in docs/metrics.md."""
    telemetry = Telemetry()
    pulse = Pulse([], dead_after_s=1, on_gap=lambda _kind: None)
    telemetry.collect_from(World(Cache(), pulse, lambda: 0, lambda: True, {}))
    return set(_names(telemetry.registry))


def _names(registry: CollectorRegistry) -> Iterator[str]:
    for family in registry.collect():
        yield family.name + ("_total" if family.type == "counter" else "")


def trainers_metrics() -> set[str]:
    return {value for name, value in vars(Metric).items() if name.isupper()}


def test_every_metric_that_is_asked_for_exists() -> None:
    named = {name for text in expressions() for name in re.findall(r"\bembedtune_\w+", text)}
    known = operators_metrics() | trainers_metrics()
    base = {re.sub(r"_(bucket|count|sum)$", "", name) for name in named}
    assert base - known == set()
    assert len(base) > 10


def test_every_metric_and_every_alert_is_in_the_documentation() -> None:
    page = PAGE.read_text()
    for name in (*operators_metrics(), *trainers_metrics()):
        assert f"`{name}`" in page
    for alert in alerts():
        assert f"## {alert['alert']}" in page
        assert {"summary", "runbook"} <= set(alert["annotations"])
        assert alert["labels"]["severity"] in ("critical", "warning", "info")


def test_panels_are_numbered_and_within_the_grid() -> None:
    places = [panel["gridPos"] for panel in panels()]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    assert len({(place["x"], place["y"]) for place in places}) == len(places)
    ids = [panel["id"] for panel in json.loads(DASHBOARD.read_text())["panels"]]
    assert len(set(ids)) == len(ids)


def test_the_chart_installs_what_the_files_hold() -> None:
    on = {"prometheusRule": {"enabled": True}, "dashboard": {"enabled": True}}
    manifests = {manifest["kind"]: manifest for manifest in render(on)}
    assert manifests["PrometheusRule"]["spec"] == yaml.safe_load(RULES.read_text())
    data = manifests["ConfigMap"]["data"]
    assert json.loads(data["embedtune.json"]) == json.loads(DASHBOARD.read_text())
    assert not {"PrometheusRule", "ConfigMap"} & {manifest["kind"] for manifest in render({})}


@pytest.mark.controlplane
@pytest.mark.parametrize(
    "words", [("check", "rules", "--lint-fatal", str(RULES)), ("test", "rules", "rules_test.yaml")]
)
def test_promtool(words: tuple[str, ...]) -> None:
    command = [str(tool("promtool")), *words]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, cwd=ROOT / "tests/chart"
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_fires_in_some_test() -> None:
    text = (ROOT / "tests/chart/rules_test.yaml").read_text()
    assert [a["alert"] for a in alerts() if f'alertname="{a["alert"]}"' not in text] == []
