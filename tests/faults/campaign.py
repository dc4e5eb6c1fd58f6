"""What a real API server, and then the operator, make of each mutant.

A mutant is refused at admission, or the operator says what is wrong with it; either names the
field. What is let in must have children that are let in.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import aiohttp

from embedtune_api import reasons
from embedtune_api.job import FineTuneJob
from embedtune_operator.decide import decide
from embedtune_operator.observe import Observed
from embedtune_operator.views import StoredJob
from tests.faults.kinds import JOB
from tests.faults.mutants import Mutant
from tests.faults.schema import REMOVE, Item, JsonObject, Kind, Path, changed, dotted
from tests.operator.objects import NOW, SETTINGS

AT_ONCE = 8
DRY_RUN = {"dryRun": "All", "fieldValidation": "Strict"}
REFUSED, BAD_SPEC, ACCEPTED = "refused at admission", "failed with BadSpec", "accepted"


@dataclass
class Campaign:
    """Sends mutants of one kind, and counts."""

    kind: Kind
    url: str
    session: aiohttp.ClientSession
    verdicts: Counter[str] = field(default_factory=Counter)
    stricter: list[str] = field(default_factory=list)
    """Refused at admission, and not by the types that documents are read with."""
    wrong: list[str] = field(default_factory=list)
    """What a user could not make sense of, or the operator could not cope with."""

    async def run(self, mutants: Iterable[Mutant]) -> None:
        """Send them all."""
        turns = asyncio.Semaphore(AT_ONCE)

        async def one(mutant: Mutant) -> None:
            async with turns:
                await self._one(mutant)

        await asyncio.gather(*map(one, mutants))

    async def _one(self, mutant: Mutant) -> None:
        status, answer = await self.create(mutant.document)
        if status < 400:
            await self.let_in(mutant, answer)
            return
        self.verdicts[REFUSED] += 1
        message = str(answer["message"])
        if status >= 500 or not names(message, mutant.path):
            self.wrong.append(f"{mutant}: {status} {message[:300]}")
        if self.kind.parses(mutant.document):
            self.stricter.append(f"{mutant}: {message[:200]}")

    async def let_in(self, mutant: Mutant, stored: JsonObject) -> None:
        """Look at what the operator makes of a mutant that was let in."""
        raise NotImplementedError

    async def create(self, body: JsonObject) -> tuple[int, JsonObject]:
        """The status and the answer to a creation by dry run."""
        url = self.url + collection(body)
        async with self.session.post(url, params=DRY_RUN, json=body) as response:
            return response.status, await response.json()


class JobCampaign(Campaign):
    """Of FineTuneJobs: the trainer must be given what the user wrote."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        super().__init__(JOB, url, session)

    async def let_in(self, mutant: Mutant, stored: JsonObject) -> None:
        plan = decide(StoredJob.of(stored), Observed(), SETTINGS, NOW)
        if plan.finalizer:
            stored["metadata"]["finalizers"] = ["embedtune.dev/remove-model"]
            plan = decide(StoredJob.of(stored), Observed(), SETTINGS, NOW)
        if plan.status is not None and plan.status["state"] == "Failed":
            self._ended(mutant, plan.status)
            return
        self.verdicts[ACCEPTED] += 1
        self._read_alike(mutant, stored, plan.children)
        for child in plan.children:
            status, refusal = await self.create(child)
            if status >= 400:
                self.wrong.append(f"{mutant}: {child['kind']}: {refusal['message'][:300]}")

    def _ended(self, mutant: Mutant, status: JsonObject) -> None:
        self.verdicts[BAD_SPEC] += 1
        said = next(c["message"] for c in status["conditions"] if c["type"] == "Failed")
        if status["reason"] != reasons.BAD_SPEC or not names(said, mutant.path):
            self.wrong.append(f"{mutant}: {status['reason']}: {said[:300]}")

    def _read_alike(
        self, mutant: Mutant, stored: JsonObject, children: Iterable[JsonObject]
    ) -> None:
        for child in children:
            if child["kind"] == "ConfigMap":
                given = FineTuneJob.parse(json.loads(child["data"]["job.json"]))
                if _lasting(given) != _lasting(FineTuneJob.parse(stored)):
                    self.wrong.append(f"{mutant}: the trainer is given another spec")


def _lasting(job: FineTuneJob) -> JsonObject:
    """The spec without what can be changed, and so is not given to the trainer."""
    document = {"spec": job.spec.to_dict()}
    for path in JOB.changeable():
        document = changed(document, path, REMOVE)
    return document


def collection(body: JsonObject) -> str:
    """Where objects of this one's kind and namespace are made."""
    version, namespace = body["apiVersion"], body["metadata"].get("namespace")
    where = f"/namespaces/{namespace}" if namespace else ""
    return f"/{'apis' if '/' in version else 'api'}/{version}{where}/{body['kind'].lower()}s"


def names(message: str, path: Path) -> bool:
    """Whether a message says which field it is about.

    It has the field's path; or the path of what the field lies in, and the field's name.
    """
    if dotted(path) in message:
        return True
    above = any(dotted(path[:end]) in message for end in range(1, len(path)))
    fields = [part for part in path if isinstance(part, str) and not isinstance(part, Item)]
    return above and fields[-1] in message
