"""Follows a FineTuneJob from outside, as `kubectl get -w` would, a line a change."""

import json
import time
from collections.abc import Callable
from typing import Any

TIMEOUT_S = 1800
Kubectl = Callable[..., str]


def follow(kubectl: Kubectl, namespace: str, name: str) -> bool:
    """Print the job's state as it changes; whether it ended Complete."""
    deadline = time.monotonic() + TIMEOUT_S
    last = ""
    while time.monotonic() < deadline:
        job = json.loads(kubectl("get", "ftj", name, "-n", namespace, "-o", "json"))
        status = job.get("status", {})
        line = describe(status)
        if line != last:
            print(f"  {time.strftime('%H:%M:%S')}  {line}", flush=True)
            last = line
        if status.get("state") in ("Complete", "Failed"):
            return bool(status["state"] == "Complete")
        time.sleep(1)
    print(f"  not done after {TIMEOUT_S} s")
    return False


def describe(status: dict[str, Any]) -> str:
    """The status in one line."""
    parts = [status.get("state", "Pending"), status.get("reason", "")]
    if progress := status.get("progress"):
        parts.append(progress["phase"])
        if progress.get("step"):
            parts.append(f"{progress['summary']} step {progress['step']}/{progress['steps']}")
        if progress.get("loss"):
            parts.append(f"loss {progress['loss']}")
        if progress.get("samplesPerSecond"):
            parts.append(f"{progress['samplesPerSecond']} rows/s")
    if headline := status.get("metrics", {}).get("headline"):
        parts.append(f"{headline['name']} {headline['before']} -> {headline.get('after', '?')}")
    if status.get("state") == "Failed":
        parts.append(status.get("lastFailure", {}).get("message", ""))
    return "  ".join(part for part in parts if part)
