"""A picture of the chart's dashboard over a few minutes of jobs.

A real Prometheus scrapes the operator, which serves jobs on KWOK's nodes (scale_parts), and every
panel's own queries are asked of it as Grafana asks them. Grafana itself is not to be had here, so
the panels are drawn by matplotlib in the dashboard's own grid: what they show is right, how they
look in Grafana is not. Writes docs/figures/dashboard.png.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import yaml
from matplotlib.gridspec import GridSpec
from scale_parts.embedtune import EMBEDTUNE
from scale_parts.fleet import POD_IP
from scale_parts.load import Load
from scale_parts.plane import Cluster
from scale_parts.sightings import Sightings

from embedtune_api.contract import METRICS_PORT
from localcluster.ports import free_port
from localcluster.processes import Command, Supervisor
from localcluster.tools import build, tool

ROOT = Path(__file__).resolve().parent.parent
DASHBOARD = ROOT / "helm/embedtune/files/dashboard.json"
PICTURE = ROOT / "docs/figures/dashboard.png"
SCRAPE_S, STEP_S, WINDOW = 5, 5, "1m"
WAVES = (0.5, 2.0, 0.2)
"""Jobs a second, one after another."""
GRID_COLUMNS = 24
JsonObject = dict[str, Any]


class Prometheus:
    """A server that scrapes the operator, and a trainer; a context manager."""

    def __init__(self, folder: Path, operator: str) -> None:
        targets = {"embedtune": operator, "trainers": f"{POD_IP}:{METRICS_PORT}"}
        labels = {"trainers": {"namespace": "bench", "embedtune_dev_job_name": "job-00000"}}
        scrapes = [
            {
                "job_name": name,
                "honor_labels": name == "embedtune",
                "static_configs": [{"targets": [target], "labels": labels.get(name, {})}],
            }
            for name, target in targets.items()
        ]
        file = folder / "prometheus.yaml"
        config = {"global": {"scrape_interval": f"{SCRAPE_S}s"}, "scrape_configs": scrapes}
        file.write_text(yaml.safe_dump(config))
        self._port = free_port("127.0.0.1")
        self._supervisor = Supervisor(folder / "run", folder / "logs", die_with_parent=True)
        self._command = Command(
            "prometheus",
            [
                *(str(tool("prometheus")), f"--config.file={file}"),
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{self._port}",
            ],
        )

    def __enter__(self) -> "Prometheus":
        self._supervisor.start(self._command)
        return self

    def __exit__(self, *_: object) -> None:
        self._supervisor.stop("prometheus", grace_s=5)

    def series(self, expression: str, begin: float, end: float) -> list[JsonObject]:
        """What Grafana would draw: each series' labels, and its values over time."""
        text = expression.replace("$__rate_interval", WINDOW).replace("$installation", "embedtune")
        query = {"query": text, "start": begin, "end": end, "step": STEP_S}
        url = f"http://127.0.0.1:{self._port}/api/v1/query_range?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=30) as answer:
            found: list[JsonObject] = json.load(answer)["data"]["result"]
        return found


def metrics_address(cluster: Cluster) -> str:
    """Where the operator tells its metrics, by the environment that it was started with."""
    environment = Path(f"/proc/{cluster.pids['embedtune']}/environ").read_text()
    variables = dict(pair.split("=", 1) for pair in environment.split("\0") if "=" in pair)
    return f"127.0.0.1:{variables['EMBEDTUNE_METRICS_PORT']}"


async def serve_jobs(cluster: Cluster, wave_s: float) -> None:
    """Waves of jobs, and a while after them."""
    made = 0
    async with Load(cluster.plane, EMBEDTUNE, Sightings()) as load:
        for rate in WAVES:
            names = [f"job-{made + i:05}" for i in range(round(rate * wave_s))]
            made += len(names)
            await load.make(names, rate)
    await asyncio.sleep(20)


def draw(prometheus: Prometheus, begin: float, end: float) -> None:
    """Every panel at its place."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    rows = max(p["gridPos"]["y"] + p["gridPos"]["h"] for p in panels)
    figure = plt.figure(figsize=(19, rows * 0.42), facecolor="#f4f5f5")
    grid = GridSpec(rows, GRID_COLUMNS, figure, 0.02, 0.01, 0.99, 0.99, wspace=2.2, hspace=4.5)
    for panel in panels:
        x, y, w, h = (panel["gridPos"][key] for key in "xywh")
        axes = figure.add_subplot(grid[y : y + h, x : x + w])
        axes.set_title(panel["title"], loc="left", fontsize=10, fontweight="bold")
        if panel["type"] == "row":
            axes.set_axis_off()
            continue
        drawn = [
            (_legend(target.get("legendFormat") or "", found["metric"]), found["values"])
            for target in panel["targets"]
            for found in prometheus.series(target["expr"], begin, end)
        ]
        DRAW[panel["type"]](axes, drawn, begin)
    figure.savefig(PICTURE, dpi=70)


Drawn = list[tuple[str, list[tuple[float, str]]]]


def _timeseries(axes: plt.Axes, drawn: Drawn, begin: float) -> None:
    for name, values in drawn:
        axes.plot([t - begin for t, _ in values], [float(v) for _, v in values], label=name)
    axes.set_ylim(bottom=0)
    axes.tick_params(labelsize=7)
    axes.grid(alpha=0.3)
    if drawn:
        axes.legend(fontsize=7, frameon=False, ncols=2)
    else:
        axes.text(0.5, 0.5, "No data", transform=axes.transAxes, ha="center")


def _stat(axes: plt.Axes, drawn: Drawn, _begin: float) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    text = f"{float(drawn[0][1][-1][1]):g}" if drawn else "No data"
    axes.text(0.5, 0.4, text, transform=axes.transAxes, ha="center", fontsize=26)


def _bars(axes: plt.Axes, drawn: Drawn, _begin: float) -> None:
    last = [(name, float(values[-1][1])) for name, values in drawn][-12:]
    axes.barh([name for name, _ in last], [value for _, value in last])
    axes.set_xlim(0, 1)
    axes.tick_params(labelsize=7)


DRAW = {"timeseries": _timeseries, "stat": _stat, "bargauge": _bars}


def _legend(text: str, labels: dict[str, str]) -> str:
    for name, value in labels.items():
        text = text.replace(f"{{{{{name}}}}}", value)
    return text


def main() -> int:
    """Serve jobs, ask, draw."""
    parse = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parse.add_argument("--wave-s", type=float, default=90, help="seconds of each wave of jobs")
    given = parse.parse_args()
    needed = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")
    build((*needed, "kwok", "prometheus"))
    with tempfile.TemporaryDirectory(prefix="embedtune-dashboard-") as scratch:
        folder = Path(scratch)
        with (
            Cluster(EMBEDTUNE, folder, 5000) as cluster,
            Prometheus(folder, metrics_address(cluster)) as prometheus,
        ):
            begin = time.time()
            asyncio.run(serve_jobs(cluster, given.wave_s))
            draw(prometheus, begin, time.time())
    return 0


if __name__ == "__main__":
    sys.exit(main())
