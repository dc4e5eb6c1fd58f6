"""Whatever a user writes is refused with the field's name, ends with it, or is trained.

And whatever a platform writes into a runtime, its jobs are trained by it, or say what is wrong.
"""

import json
import random
from collections.abc import AsyncIterator, Iterable, Iterator

import pytest

from embedtune_api import reasons
from embedtune_api.runtime import RUNTIME_KINDS
from embedtune_operator.decide import decide
from embedtune_operator.observe import Observed
from embedtune_operator.views import StoredJob, StoredRuntime
from localcluster.apiclient import ApiError
from localcluster.controlplane import ControlPlane
from tests.faults.campaign import ACCEPTED, REFUSED, Campaign, JobCampaign, collection, names
from tests.faults.conftest import WHOLE
from tests.faults.kinds import JOB, NAMESPACE, RUNTIMES
from tests.faults.mutants import Mutant, mutants
from tests.faults.proxy import connect
from tests.faults.runtime_campaign import (
    CHILD_REFUSED,
    RuntimeCampaign,
    blames,
    job_by,
    nested_like_the_operator,
)
from tests.faults.schema import JsonObject, Kind, dotted
from tests.operator.objects import NOW, SETTINGS, UID, raw_job
from tests.operator.world import condition

SAMPLES = {JOB: (400, 0), RUNTIMES[0]: (75, 0), RUNTIMES[1]: (75, 1)}
"""How many of each kind, and from which seed."""
KINDS = pytest.mark.parametrize("kind", SAMPLES, ids=lambda kind: kind.name)
OF_RUNTIMES = pytest.mark.parametrize("kind", RUNTIMES, ids=lambda kind: kind.name)


def some(kind: Kind) -> list[Mutant]:
    """All mutants, or as many as `make test` has the time for."""
    found, (size, seed) = list(mutants(kind)), SAMPLES[kind]
    return found if WHOLE else random.Random(seed).sample(found, size)


def stored(mutant: Mutant) -> JsonObject:
    """As the API server would store it."""
    raw: JsonObject = json.loads(json.dumps(mutant.document).replace(r"\ud800", r"\ufffd"))
    raw["metadata"]["uid"] = UID
    return raw


@KINDS
def test_every_field_has_mutants(kind: Kind) -> None:
    tried = {mutant.path for mutant in mutants(kind)}
    assert {path for path, _ in kind.fields()} == tried
    assert all(kind.parses(kind.valid_with(path)) for path in tried)


def test_runtimes_are_tried_of_both_kinds() -> None:
    assert tuple(kind.name for kind in RUNTIMES) == RUNTIME_KINDS
    tried = [[mutant.path for mutant in mutants(kind)] for kind in RUNTIMES]
    assert tried[0] == tried[1]
    assert ("spec", "resourceClasses", "large", "tolerations", 0, "key") in tried[0]


def test_a_message_names_a_field() -> None:
    path = ("spec", "data", "mix", 0, "uri")
    assert dotted(path) == "spec.data.mix[0].uri"
    assert names("spec.data.mix[0].uri: Invalid value", path)
    assert names("spec.data.mix[0]: unknown uri", path)
    assert not names("spec.data.mix[0]: Invalid value", path)
    assert not names("uri: Invalid value", path)


@pytest.mark.slow
def test_no_mutant_is_more_than_the_operator_can_decide_about() -> None:
    """Also where no API server has stood before it: written with another version's CRD, say."""
    nameless = []
    for mutant in some(JOB):
        raw = stored(mutant)
        plan = decide(StoredJob.of(raw), Observed(), SETTINGS, NOW)
        if not JOB.parses(raw):
            assert plan.status is not None
            said = condition(plan.status, "Failed")
            assert (said["status"], said["reason"]) == ("True", "BadSpec")
            if not names(said["message"], mutant.path):
                nameless.append(f"{mutant}: {said['message'][:200]}")
    assert nameless == []


@pytest.mark.slow
@OF_RUNTIMES
def test_no_runtime_is_more_than_the_operator_can_decide_about(kind: Kind) -> None:
    """The same of the jobs that use it."""
    nameless = []
    for mutant in some(kind):
        raw = stored(mutant)
        observed = Observed(runtimes=(StoredRuntime.of(kind.name, raw),), confirmed=True)
        plan = decide(StoredJob.of(job_by(raw)), observed, SETTINGS, NOW)
        assert plan.status is not None
        if not kind.parses(raw):
            assert plan.status["reason"] == reasons.RUNTIME_INVALID
            said = condition(plan.status, "Stalled")
            if not blames(said, kind, mutant.path):
                nameless.append(f"{mutant}: {said['message'][:200]}")
    assert nameless == []


async def tried(campaign: Campaign, mutants: Iterable[Mutant]) -> Campaign:
    """The campaign, after all of them."""
    await campaign.run(mutants)
    print(dict(campaign.verdicts), f"{len(campaign.stricter)} only refused by the API server")
    assert campaign.wrong == []
    return campaign


@pytest.mark.controlplane
async def test_every_mutant_is_refused_or_fails_with_the_fields_name(
    control_plane: ControlPlane,
) -> None:
    async with connect(control_plane) as session:
        campaign = await tried(JobCampaign(control_plane.url, session), some(JOB))
    assert campaign.verdicts[REFUSED] > campaign.verdicts[ACCEPTED] > 0


@pytest.fixture
def job_there(control_plane: ControlPlane) -> Iterator[None]:
    """A job whose status can be written by dry run."""
    api = control_plane.client()
    try:
        api.call("POST", "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
    except ApiError as error:
        if error.status != 409:
            raise
    job = raw_job()
    job["metadata"] = {"name": job["metadata"]["name"], "namespace": NAMESPACE}
    api.call("POST", collection(job), job)
    yield
    api.call("DELETE", f"{collection(job)}/{job['metadata']['name']}")


@pytest.fixture
async def campaign(
    control_plane: ControlPlane, job_there: None, kind: Kind
) -> AsyncIterator[RuntimeCampaign]:
    """One of runtimes of this kind."""
    with nested_like_the_operator():
        async with connect(control_plane) as session:
            yield RuntimeCampaign(kind, control_plane.url, session)


@pytest.mark.controlplane
@OF_RUNTIMES
async def test_every_runtime_is_refused_or_makes_pods_or_is_named(
    campaign: RuntimeCampaign, kind: Kind
) -> None:
    await tried(campaign, some(kind))
    assert campaign.verdicts[REFUSED] > campaign.verdicts[ACCEPTED] > 0
    assert campaign.verdicts[CHILD_REFUSED] > 0


@pytest.mark.controlplane
@OF_RUNTIMES
async def test_nothing_else_is_wrong_with_a_mutant(campaign: RuntimeCampaign, kind: Kind) -> None:
    valid = [kind.valid_with(path) for path, _ in kind.fields()]
    distinct = {json.dumps(document): document for document in valid}.values()
    await tried(campaign, [Mutant((), "nothing", document) for document in distinct])
    assert campaign.verdicts == {ACCEPTED: len(distinct)}
