"""What becomes of a job whose runtime is a mutant that was let in.

The operator itself is run (controller, decisions, client), over a dictionary that holds the job and
its runtime; what it writes is written to a real API server, too, by dry run. The job's children are
let in; or it waits, and its status says what is wrong with which runtime; or, where a part of the
runtime is Kubernetes' own to judge, its status says what the API server said of the child.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import aiohttp
import kopf

from embedtune_api import reasons
from embedtune_api.base import InvalidJob
from embedtune_api.runtime import RuntimeSpec
from embedtune_api.status import FineTuneJobStatus
from embedtune_operator.__main__ import NESTING_MAX
from embedtune_operator.apply import CHILD_KINDS
from embedtune_operator.client import Client, Refused
from embedtune_operator.connection import Connection
from tests.faults.campaign import ACCEPTED, Campaign, collection, names
from tests.faults.mutants import Mutant
from tests.faults.schema import JsonObject, Kind, Path
from tests.operator.fake_api import JOB_PATH, FakeApi, FakeOperator
from tests.operator.objects import raw_job
from tests.operator.world import condition

WAITS, CHILD_REFUSED = "held up, saying why", "the child refused, and that said"
FREE_FORM: tuple[Path, ...] = (("spec", "affinity"), ("spec", "podTemplatePatch"))
"""What is Kubernetes' own, and not the CRD's to judge."""


@contextmanager
def nested_like_the_operator() -> Iterator[None]:
    """What the operator's process can read, this one can."""
    usual = sys.getrecursionlimit()
    sys.setrecursionlimit(2 * NESTING_MAX)
    try:
        yield
    finally:
        sys.setrecursionlimit(usual)


class RuntimeCampaign(Campaign):
    """Of runtimes, each with the smallest job that uses it."""

    def __init__(self, kind: Kind, url: str, session: aiohttp.ClientSession) -> None:
        super().__init__(kind, url, session)
        self.real = DryRun(url, session)

    async def let_in(self, mutant: Mutant, stored: JsonObject) -> None:
        api = HalfReal(self.real)
        api.put(f"{collection(stored)}/{stored['metadata']['name']}", stored)
        api.put(JOB_PATH, job_by(stored))
        try:
            await FakeOperator(api).settle()
        except Exception as error:
            self.wrong.append(f"{mutant}: the operator broke: {error!r:.300}")
            return
        status = api.objects[JOB_PATH]["status"]
        if status["reason"] in (reasons.CREATED, reasons.QUEUED):
            self._made(mutant, stored, api, status)
        elif status["reason"] == reasons.CREATE_FAILED:
            self._refused(mutant, api, status)
        else:
            self._waits(mutant, status)

    def _made(
        self, mutant: Mutant, stored: JsonObject, api: "HalfReal", status: JsonObject
    ) -> None:
        self.verdicts[ACCEPTED] += 1
        kinds = [path.split("/")[-2] for path in api.made if "/events/" not in path]
        if kinds != ["configmaps", "jobs"]:
            self.wrong.append(f"{mutant}: made {api.made}")
        if _read_back(status) != _settled(stored):
            self.wrong.append(f"{mutant}: another spec is settled")

    def _refused(self, mutant: Mutant, api: "HalfReal", status: JsonObject) -> None:
        """The operator must have been told so, and say so, and whose word it may be."""
        self.verdicts[CHILD_REFUSED] += 1
        said = condition(status, "Stalled")
        part = mutant.path[:2]
        if (
            part not in FREE_FORM
            or api.refusals[-1] not in said["message"]
            or not blames(said, self.kind, part)
        ):
            self.wrong.append(f"{mutant}: {said['message'][:300]}")

    def _waits(self, mutant: Mutant, status: JsonObject) -> None:
        self.verdicts[WAITS] += 1
        said = condition(status, "Stalled")
        if status["reason"] not in reasons.WAITS_FOR_RUNTIME or not blames(
            said, self.kind, mutant.path
        ):
            self.wrong.append(f"{mutant}: {status['reason']}: {said['message'][:300]}")


def job_by(runtime: JsonObject) -> JsonObject:
    """The smallest job, which uses this runtime."""
    job = raw_job(output={})
    job["spec"]["runtime"] = {"name": runtime["metadata"]["name"], "kind": runtime["kind"]}
    return job


def blames(said: JsonObject, kind: Kind, path: Path) -> bool:
    """Whether a condition says which runtime holds the job up, and by which field."""
    name = f"the {kind.name} {kind.donors[0]['metadata']['name']}"
    message = said["message"]
    return said["status"] == "True" and name in message and names(message, path)


def _read_back(status: JsonObject) -> RuntimeSpec | None:
    """The spec that the operator goes on with, as far as it can be read."""
    try:
        used = FineTuneJobStatus.parse(status).runtime
        return RuntimeSpec.parse(used.spec) if used else None
    except InvalidJob:
        return None


def _settled(stored: JsonObject) -> RuntimeSpec:
    """The spec without the classes that are not the job's."""
    spec = RuntimeSpec.parse(stored["spec"])
    own = spec.default_resource_class
    classes = {name: found for name, found in spec.resource_classes.items() if name == own}
    return spec.model_copy(update={"resource_classes": classes})


class DryRun(Client):
    """The operator's own client; nothing that it writes is stored."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        super().__init__(_Given(kopf.AiohttpSession(server=url, aiohttp_session=session)))

    async def _call(self, *args: Any, params: dict[str, str] | None = None, **more: Any) -> Any:
        return await super()._call(*args, params=(params or {}) | {"dryRun": "All"}, **more)


class _Given(Connection):
    def __init__(self, session: kopf.AiohttpSession) -> None:
        super().__init__([])
        self._session_given = session

    async def present(self) -> kopf.AiohttpSession:
        return self._session_given


class HalfReal(FakeApi):
    """Keeps what is written if a real API server would let it in, too."""

    def __init__(self, real: Client) -> None:
        super().__init__()
        self.real = real
        self.refusals: list[str] = []
        """Of children."""

    async def create(self, path: str, body: JsonObject) -> JsonObject:
        if body["kind"] in CHILD_KINDS:
            try:
                await self.real.create(path, body)
            except Refused as refusal:
                self.refusals.append(str(refusal))
                raise
        return await super().create(path, body)

    async def apply(self, path: str, body: JsonObject) -> JsonObject:
        if path.endswith("/status"):  # of a job that is there under this name
            metadata = {key: body["metadata"][key] for key in ("name", "namespace")}
            await self.real.apply(path, body | {"metadata": metadata})
        return await super().apply(path, body)
