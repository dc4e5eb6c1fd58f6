"""How long the operator takes: apply to pod, trainer's end to Complete; and its memory at rest.

Runs small jobs, one after another, on the local cluster with the images and the chart as they are.
Times are read off watches in this process. A container's finishedAt has whole seconds, cut off, so
what is reported for the end is up to a second too much, never too little.
"""

import csv
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from localassets import trec
from localcluster.tools import tool
from localdemo.setup import (
    SECRET,
    install_operator,
    user_data,
    user_namespace,
)
from localdemo.site import ROOT, Site, local_site

NAMESPACE = "bench-operator"
JOBS = 5
ROWS = 60
RESULT = ROOT / "bench/results/operator_path.md"


class Watch:
    """Remembers when each object of a kind was first seen in a state."""

    def __init__(self, site: Site, kind: str) -> None:
        command = [str(tool("kubectl")), "--kubeconfig", str(site.kubeconfig)]
        command += ["get", kind, "-n", NAMESPACE, "--watch", "-o", "json", "--output-watch-events"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self._seen: dict[tuple[str, str], float] = {}
        self._changed = threading.Condition()
        self._kind = kind
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        decoder = json.JSONDecoder()
        text = ""
        for line in self._process.stdout or ():
            text += line
            try:
                event, end = decoder.raw_decode(text)
            except ValueError:
                continue
            text = text[end:].lstrip()
            self._note(event["object"])

    def _note(self, item: dict[str, Any]) -> None:
        meta, status = item["metadata"], item.get("status", {})
        name = meta.get("labels", {}).get("embedtune.dev/job-name") or meta["name"]
        with self._changed:
            for state in ("created", status.get("state", "")):
                self._seen.setdefault((name, state), time.time())
            self._changed.notify_all()

    def when(self, name: str, state: str, timeout_s: float = 300) -> float:
        """Seconds since 1970 at which `name` was first seen in `state`."""
        with self._changed:
            if not self._changed.wait_for(lambda: (name, state) in self._seen, timeout_s):
                raise TimeoutError(f"{self._kind} {name} was not seen {state}")
            return self._seen[name, state]

    def stop(self) -> None:
        """End the watch."""
        self._process.terminate()
        self._process.wait()


def main() -> int:
    """Measure, print and write the table."""
    site = local_site()
    site.provide_images()
    install_operator(site)
    user_data(site, ROOT / "examples/trec.yaml")
    user_namespace(site, NAMESPACE)
    uri = _data(site)
    pods, jobs = Watch(site, "pods"), Watch(site, "finetunejobs")
    try:
        begun, ended = zip(
            *(_one(site, f"job-{int(time.time())}-{i}", uri, pods, jobs) for i in range(JOBS)),
            strict=True,
        )
    finally:
        pods.stop()
        jobs.stop()
        site.kubectl("delete", "namespace", NAMESPACE, "--wait=false")
    rows = [
        ("apply to pod created", f"{statistics.median(begun):.2f} s", f"{max(begun):.2f} s"),
        ("trainer ended to Complete", f"{statistics.median(ended):.2f} s", f"{max(ended):.2f} s"),
        ("operator's memory (RSS)", f"{_operator_rss_mib():.0f} MiB", ""),
    ]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    text = (
        f"# The operator's path\n\n`make bench`, {JOBS} jobs one after another on the local"
        f" single-node cluster, {datetime.now(UTC):%Y-%m-%d}.\n\n"
        f"| | median | worst |\n|---|---|---|\n{table}\n"
    )
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(text)
    print(text)
    return 0


def _data(site: Site) -> str:
    with tempfile.TemporaryDirectory() as folder, trec().train.open(newline="") as stream:
        rows = list(csv.reader(stream))[: ROWS + 1]
        with (Path(folder) / "train.csv").open("w", newline="") as target:
            csv.writer(target).writerows([(text, label.split(":")[0]) for text, label in rows])
        site.upload("datasets", NAMESPACE, Path(folder))
    return f"s3://datasets/{NAMESPACE}/train.csv"


def _one(site: Site, name: str, uri: str, pods: Watch, jobs: Watch) -> tuple[float, float]:
    """One job's seconds from apply to pod, and from the trainer's end to Complete."""
    job = {
        "apiVersion": "embedtune.dev/v1alpha1",
        "kind": "FineTuneJob",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "model": {"backbone": "s3://bases/all-MiniLM-L6-v2"},
            "data": {"train": {"uri": uri}},
            "training": {"epochs": 1, "batchSize": 16},
            "output": {"uri": "s3://models/bench"},
            "storage": {"secretRef": {"name": SECRET}},
        },
    }
    site.kubectl("apply", "-f", "-", stdin=json.dumps(job))
    applied = jobs.when(name, "created")
    created = pods.when(name, "created")
    complete = jobs.when(name, "Complete")
    label = f"embedtune.dev/job-name={name}"
    (pod,) = json.loads(site.kubectl("get", "pods", "-n", NAMESPACE, "-l", label, "-o", "json"))[
        "items"
    ]
    state = pod["status"]["containerStatuses"][0]["state"]["terminated"]
    finished = datetime.fromisoformat(state["finishedAt"]).timestamp()
    return created - applied, complete - finished


def _operator_rss_mib() -> float:
    """Resident memory of the operator's process on this machine."""
    found = subprocess.run(
        ["pgrep", "-f", "python3 -m embedtune_operator"], capture_output=True, text=True, check=True
    )
    pid = found.stdout.split()[0]
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    sys.exit(main())
