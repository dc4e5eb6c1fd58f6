"""One system's way through the bench: rest, two loads, then more and more resident jobs.

Bounded in count and time: a stage waits `patience_s` for its jobs after the last one is sent, and
no stage begins after `limit_s`. What was not seen by then is counted, as longer than all that was.
"""

import asyncio
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from scale_parts.calls import AuditLog, by_verb
from scale_parts.load import Achieved, Load
from scale_parts.plane import Cluster
from scale_parts.sightings import JOB, Spread
from scale_parts.systems import System
from scale_parts.usage import Usage
from scale_parts.watching import Watching

SETTLE_S = 5.0
"""After a stage, for the calls that follow a job's end and for the collector of garbage."""
BEFORE_REST_S = 20.0
"""Before a rest, for what can wait: statuses that the system gathers are still a load's calls."""


@dataclass(frozen=True)
class Plan:
    """What every system is put through.

    Attributes:
        jobs: of each of the loads.
        rates: of the loads, in jobs a second.
        levels: resident jobs at which jobs come and go, those of them that the system can be
            brought to.
        churn_rate: jobs that come, and as many that go, a second.
        churn_s: for how many seconds.
        fill_rate: jobs a second between the levels.
        rest_s: how long it is left alone.
        patience_s: how long a stage waits for its jobs after the last is sent.
        limit_s: after which no stage begins.
        controller_qps: calls a second that each of Kubernetes' own controllers may make, and the
            scheduler; Kubernetes has 20 and 50, with which jobs would wait for theirs.
    """

    jobs: int = 1000
    rates: tuple[float, ...] = (20, 100)
    levels: tuple[int, ...] = (2500, 5000, 10_000)
    churn_rate: float = 20
    churn_s: float = 30
    fill_rate: float = 50
    rest_s: float = 30
    patience_s: float = 300
    limit_s: float = 1800
    controller_qps: int = 5000


@dataclass(frozen=True)
class Stage:
    """What was measured in one stage; seconds, MiB.

    Attributes:
        kind: rest, load, fill or churn.
        resident: jobs that there were when it began.
        jobs: that were made.
        rate: at which they should be made, a second.
        achieved: the load as it was; None at rest.
        started: from a job's POST to its first child, by the child's role.
        ended: from a pod seen Succeeded to its job seen finished.
        calls: the system's calls, by verb and resource.
        verbs: the same by verb.
        seconds: how long it took.
        cpu_s: of each process.
        others_s: of processes that are none of the bench's.
        busy: share of the machine's processors that was in use.
        peak_mib: of each process.
        whole: whether every job was seen to finish.
    """

    kind: str
    resident: int
    jobs: int = 0
    rate: float = 0
    achieved: Achieved | None = None
    started: dict[str, Spread] = field(default_factory=dict)
    ended: Spread | None = None
    calls: dict[str, int] = field(default_factory=dict)
    verbs: dict[str, int] = field(default_factory=dict)
    seconds: float = 0
    cpu_s: dict[str, float] = field(default_factory=dict)
    others_s: float = 0
    busy: float = 0
    peak_mib: dict[str, float] = field(default_factory=dict)
    whole: bool = True


class Course:
    """One system on one cluster."""

    def __init__(
        self, cluster: Cluster, watching: Watching, load: Load, plan: Plan, say: Callable[..., None]
    ) -> None:
        self._cluster = cluster
        self._watching = watching
        self._load = load
        self._plan = plan
        self._say = say
        self._audit = AuditLog(cluster.audit_log)
        self._resident: list[str] = []
        self._made = 0
        self._pids = {**cluster.pids, "observer": watching.pid, "load": os.getpid()}

    async def run(self) -> list[Stage]:
        """All stages, or those for which there is time."""
        plan, begin = self._plan, time.monotonic()
        stages: list[Stage] = []

        def goes_on(stage: Stage) -> bool:
            stages.append(stage)
            self._say(self._cluster.system.name, stage)
            return stage.whole and time.monotonic() - begin < plan.limit_s

        if not goes_on(await self._rest()):
            return stages
        for rate in plan.rates:
            goes_on(await self._come("load", plan.jobs, rate))
        if not goes_on(await self._rest()):
            return stages
        for level in (n for n in plan.levels if n <= self._cluster.system.most):
            missing = level - len(self._resident)
            if missing > 0 and not goes_on(await self._come("fill", missing, plan.fill_rate)):
                break
            goes_on(await self._rest())
            churned = round(plan.churn_rate * plan.churn_s)
            if not goes_on(await self._come("churn", churned, plan.churn_rate, going=churned)):
                break
        return stages

    async def _rest(self) -> Stage:
        """Nothing comes and nothing goes."""
        await asyncio.sleep(BEFORE_REST_S)
        self._audit.news()
        begin = time.monotonic()
        async with Usage(self._pids) as usage:
            await asyncio.sleep(self._plan.rest_s)
        return self._stage("rest", len(self._resident), begin, usage)

    async def _come(self, kind: str, jobs: int, rate: float, going: int = 0) -> Stage:
        """Jobs come, and as many as are `going` of the oldest go."""
        names = [f"job-{self._made + i:05}" for i in range(jobs)]
        self._made += jobs
        resident = len(self._resident)
        leave, self._resident = self._resident[:going], self._resident[going:] + names
        self._audit.news()
        begin = time.monotonic()
        async with Usage(self._pids) as usage:
            achieved, gone = await asyncio.gather(
                self._load.make(names, rate), self._load.delete(leave, rate)
            )
            whole = await self._watching.finished(names, self._plan.patience_s)
            whole &= await self._watching.gone(leave, self._plan.patience_s)
            await asyncio.sleep(SETTLE_S)
        if achieved.errors or gone.errors:
            raise RuntimeError(f"the load failed: {(*achieved.errors, *gone.errors)[:3]}")
        seen = self._watching.sightings
        roles = [k.role for k in self._cluster.system.kinds if k.role != JOB]
        return self._stage(
            kind,
            resident,
            begin,
            usage,
            jobs=jobs,
            rate=rate,
            achieved=achieved,
            started={role: seen.started(names, role) for role in roles},
            ended=seen.ended(names) if self._cluster.system.ends else None,
            whole=bool(whole),
        )

    def _stage(self, kind: str, resident: int, begin: float, usage: Usage, **more: object) -> Stage:
        seconds = time.monotonic() - begin
        calls = self._audit.news()
        used_s = sum(usage.cpu_s.values()) + usage.others_s
        return Stage(
            kind=kind,
            resident=resident,
            calls=dict(calls.most_common()),
            verbs=by_verb(calls),
            seconds=seconds,
            cpu_s=usage.cpu_s,
            others_s=usage.others_s,
            busy=used_s / seconds / (os.cpu_count() or 1),
            peak_mib=usage.peak_mib,
            **more,  # type: ignore[arg-type]
        )


async def measure(
    system: System, folder: Path, plan: Plan, say: Callable[..., None]
) -> dict[str, Any]:
    """A system's results, as they are kept in JSON."""
    with Cluster(system, folder, plan.controller_qps) as cluster:
        async with (
            Watching(cluster) as watching,
            Load(cluster.plane, system, watching.sightings) as load,
        ):
            stages = await Course(cluster, watching, load, plan, say).run()
    return {
        "about": system.about,
        "users": list(system.users),
        "duplicates": watching.sightings.duplicates(),
        "stages": [rounded(asdict(stage)) for stage in stages],
    }


def rounded(value: object) -> object:
    """All floats to four places, which is more than any of them is worth."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item) for item in value]
    return round(value, 4) if isinstance(value, float) else value
