"""A real Prometheus reads the operator and a trainer, and answers all that the chart asks it."""

import json
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from localcluster.tools import tool
from tests.chart.test_chart import CHART
from tests.chart.test_monitoring import alerts, expressions, panels
from tests.operator.test_watches import TRAINER_IP, Trainer, trainer
from tests.operator.world import Namespace, OperatorProcess, eventually, free_port

__all__ = ["trainer"]

pytestmark = pytest.mark.controlplane

SCRAPES_S = 1
WINDOW = "2m"
"""In place of $__rate_interval."""


class Prometheus:
    """A server, and its HTTP API."""

    def __init__(self, folder: Path, targets: dict[str, dict[str, Any]]) -> None:
        jobs = [
            {
                "job_name": name,
                "honor_labels": name == "operator",
                "static_configs": [{"targets": [target["address"]], "labels": target["labels"]}],
            }
            for name, target in targets.items()
        ]
        config = {
            "global": {"scrape_interval": f"{SCRAPES_S}s", "evaluation_interval": "1s"},
            "rule_files": [str(CHART / "files/rules.yaml")],
            "scrape_configs": jobs,
        }
        file = folder / "prometheus.yaml"
        file.write_text(yaml.safe_dump(config))
        self._port = free_port()
        command = [
            *(str(tool("prometheus")), f"--config.file={file}", "--log.level=warn"),
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self._port}",
        ]
        self.process = subprocess.Popen(command)

    def ask(self, path: str, **query: str) -> Any:
        """The data of an answer, or None while there is no server."""
        url = f"http://127.0.0.1:{self._port}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            if error.code == 503:  # it has just begun
                return None
            raise AssertionError(f"{query}: {error.read().decode()}") from None
        except OSError:
            return None

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The samples of an expression, as Grafana would fill it in."""
        text = expression.replace("$__rate_interval", WINDOW).replace("$installation", ".*")
        found: list[dict[str, Any]] = (self.ask("query", query=text) or {}).get("result", [])
        return found


@pytest.fixture
def prometheus(operator: OperatorProcess, tmp_path: Path) -> Iterator[Prometheus]:
    trainers = {"namespace": "search", "embedtune_dev_job_name": "tune"}
    server = Prometheus(
        tmp_path,
        {
            "operator": {"address": f"127.0.0.1:{operator.port}", "labels": {"pod": "one"}},
            "trainers": {"address": f"{TRAINER_IP}:8080", "labels": trainers},
        },
    )
    yield server
    server.process.terminate()
    server.process.wait(20)


def test_every_panel_and_every_alert_has_its_answer(
    operator: OperatorProcess, ns: Namespace, trainer: type[Trainer], prometheus: Prometheus
) -> None:
    ns.submit("ended")
    ns.end(ns.start_training(), 0, ns.result("ended"))
    ns.wait_reason("Succeeded", "ended")
    ns.submit("runs")
    ns.start_training(TRAINER_IP)
    eventually(lambda: prometheus.query("embedtune_job_progress_ratio"), what="progress")
    first = 'increase(embedtune_jobs_finished_total{reason="Succeeded"}[1m]) >= 0'
    eventually(lambda: prometheus.query(first), what="two scrapes")

    shown = {target["expr"]: panel["title"] for panel in panels() for target in panel["targets"]}
    for expression in expressions():
        prometheus.query(expression)  # which fails where the expression is wrong
        if expression in shown and "errors_total" not in expression:
            eventually(
                partial(prometheus.query, expression), what=f"{shown[expression]}: {expression}"
            )
    (progress,) = prometheus.query(f'embedtune_job_progress_ratio{{namespace="{ns.name}"}}')
    assert progress["metric"]["finetunejob"] == "runs"

    (group,) = prometheus.ask("rules")["groups"]
    assert {rule["name"] for rule in group["rules"]} == {alert["alert"] for alert in alerts()}
    eventually(
        lambda: all(
            rule["health"] == "ok" for rule in prometheus.ask("rules")["groups"][0]["rules"]
        ),
        what="every rule is evaluated",
    )
