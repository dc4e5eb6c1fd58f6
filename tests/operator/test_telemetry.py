"""What /metrics says, and that its size has an end."""

from typing import Any

from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from embedtune_api.status import Progress
from embedtune_operator.cache import Cache
from embedtune_operator.children import Pod
from embedtune_operator.telemetry import JOBS_SHOWN, Telemetry, World
from embedtune_operator.views import StoredJob
from embedtune_operator.watching import Pulse
from tests.operator.fake_api import JOB_PATH, FakeOperator, submitted
from tests.operator.objects import raw_job
from tests.operator.test_faults import life
from tests.operator.test_removal import GOES

PROGRESS = Progress(
    summary="62%",
    phase="Training",
    percent=62,
    epoch=1,
    step=62,
    steps=100,
    samples_per_second="512.5",
)


def samples(telemetry: Telemetry) -> dict[str, dict[tuple[str, ...], float]]:
    """Values of each metric by the values of its labels."""
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(generate_latest(telemetry.registry).decode()):
        for sample in family.samples:
            values = tuple(sample.labels[name] for name in sorted(sample.labels))
            found.setdefault(sample.name, {})[values] = sample.value
    return found


def world(
    cache: Cache, *, leads: bool = True, progress: dict[str, Progress] | None = None
) -> World:
    pulse = Pulse([], dead_after_s=1, on_gap=lambda _kind: None)
    return World(cache, pulse, lambda: 3, lambda: leads, progress or {})


def training(number: int) -> Pod:
    labels = {"embedtune.dev/job-uid": f"u{number}", "embedtune.dev/job-name": f"job-{number}"}
    meta: dict[str, Any] = {"name": f"pod-{number}", "namespace": "search", "uid": f"p{number}"}
    created = {"creationTimestamp": f"2026-11-24T12:{number // 60:02}:{number % 60:02}Z"}
    return Pod.of({"metadata": meta | created | {"labels": labels}, "spec": {"containers": []}})


def test_running_jobs_are_shown_up_to_a_limit() -> None:
    cache, telemetry = Cache(), Telemetry()
    number = JOBS_SHOWN + 7
    for n in reversed(range(number)):
        cache.put_pod(training(n))
    telemetry.collect_from(world(cache, progress={f"p{n}": PROGRESS for n in range(number)}))
    found = samples(telemetry)
    assert len(found["embedtune_job_progress_ratio"]) == JOBS_SHOWN
    assert found["embedtune_job_progress_ratio"]["job-0", "search"] == 0.62
    assert found["embedtune_job_samples_per_second"]["job-499", "search"] == 512.5
    assert found["embedtune_jobs_not_shown"] == {(): 7}


def test_states_and_reasons_are_those_of_the_api() -> None:
    cache, telemetry = Cache(), Telemetry()
    statuses = [
        None,
        {"state": "Running", "reason": "Training"},
        *({"state": f"Mine{n}", "reason": f"Reason{n}"} for n in range(20)),
    ]
    for n, status in enumerate(statuses):
        raw = raw_job(status)
        raw["metadata"]["uid"] = f"uid-{n}"
        cache.put_job(StoredJob.of(raw))
    telemetry.collect_from(world(cache))
    assert samples(telemetry)["embedtune_jobs"] == {
        ("", "Pending"): 1,
        ("Training", "Running"): 1,
        ("Other", "Other"): 20,
    }


def test_a_replica_that_does_not_lead_counts_no_jobs() -> None:
    cache, telemetry = Cache(), Telemetry()
    cache.put_job(StoredJob.of(raw_job()))
    telemetry.collect_from(world(cache, leads=False))
    found = samples(telemetry)
    assert found["embedtune_leader"] == {(): 0}
    assert "embedtune_jobs" not in found


async def test_a_job_is_counted_once_when_it_has_finished() -> None:
    api = submitted(**GOES)
    operator: FakeOperator = await life(api)
    job = api.objects[JOB_PATH]
    job["metadata"]["generation"] = 2
    api.put(JOB_PATH, job)
    operator.deliver()
    await operator.settle()
    assert api.objects[JOB_PATH]["status"]["observedGeneration"] == 2
    found = samples(operator.telemetry)
    assert found["embedtune_jobs_finished_total"] == {("Succeeded", "Complete"): 1}
    assert found["embedtune_created_to_running_seconds_count"] == {(): 1}
    assert found["embedtune_created_to_running_seconds_sum"] == {(): 2}
