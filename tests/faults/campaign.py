"""What a real API server, and then the operator, make of each mutant.

A mutant is refused at admission, or ends with a terminal condition; either names the field. What is
let in must be read by the operator as the trainer will read it, and its children must be let in.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import aiohttp

from embedtune_api import reasons
from embedtune_api.base import InvalidJob
from embedtune_api.job import FineTuneJob
from embedtune_operator.decide import decide
from embedtune_operator.observe import Observed
from embedtune_operator.views import StoredJob
from tests.faults.mutants import Mutant
from tests.faults.schema import REMOVE, JsonObject, Path, changeable, changed, dotted
from tests.operator.objects import NOW, SETTINGS

AT_ONCE = 8
DRY_RUN = {"dryRun": "All", "fieldValidation": "Strict"}
KINDS = {
    "FineTuneJob": "/apis/embedtune.dev/v1alpha1/namespaces/default/finetunejobs",
    "ConfigMap": "/api/v1/namespaces/default/configmaps",
    "Job": "/apis/batch/v1/namespaces/default/jobs",
}
REFUSED, BAD_SPEC, ACCEPTED = "refused at admission", "failed with BadSpec", "accepted"


@dataclass
class Campaign:
    """Sends mutants, and counts."""

    url: str
    session: aiohttp.ClientSession
    verdicts: Counter[str] = field(default_factory=Counter)
    stricter: list[str] = field(default_factory=list)
    """Refused at admission, and not by the types that `embedtune run` reads a job with."""
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
        status, answer = await self._create("FineTuneJob", mutant.job)
        if status >= 400:
            self.verdicts[REFUSED] += 1
            message = str(answer["message"])
            if status >= 500 or not names(message, mutant.path):
                self.wrong.append(f"{mutant}: {status} {message[:300]}")
            if parses(mutant.job):
                self.stricter.append(f"{mutant}: {message[:200]}")
            return
        plan = decide(StoredJob.of(answer), Observed(), SETTINGS, NOW)
        if plan.finalizer:
            answer["metadata"]["finalizers"] = ["embedtune.dev/remove-model"]
            plan = decide(StoredJob.of(answer), Observed(), SETTINGS, NOW)
        if plan.status is not None and plan.status["state"] == "Failed":
            self._ended(mutant, plan.status)
            return
        self.verdicts[ACCEPTED] += 1
        self._read_alike(mutant, answer, plan.children)
        for child in plan.children:
            status, refusal = await self._create(child["kind"], child)
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

    async def _create(self, kind: str, body: JsonObject) -> tuple[int, JsonObject]:
        url = self.url + KINDS[kind]
        async with self.session.post(url, params=DRY_RUN, json=body) as response:
            return response.status, await response.json()


def _lasting(job: FineTuneJob) -> JsonObject:
    """The spec without what can be changed, and so is not given to the trainer."""
    document = {"spec": job.spec.to_dict()}
    for path in changeable():
        document = changed(document, path, REMOVE)
    return document


def parses(job: JsonObject) -> bool:
    """Whether the API types read it."""
    try:
        FineTuneJob.parse(job)
    except InvalidJob:
        return False
    return True


def names(message: str, path: Path) -> bool:
    """Whether a message says which field it is about.

    It has the field's path; or the path of what the field lies in, and the field's name.
    """
    if dotted(path) in message:
        return True
    above = any(dotted(path[:end]) in message for end in range(1, len(path)))
    leaf = next(str(part) for part in reversed(path) if isinstance(part, str))
    return above and leaf in message
