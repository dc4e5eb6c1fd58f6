"""Whatever a user writes is refused with the field's name, ends with it, or is trained."""

import json
import random

import pytest

from embedtune_operator.decide import decide
from embedtune_operator.observe import Observed
from embedtune_operator.views import StoredJob
from localcluster.controlplane import ControlPlane
from tests.faults.campaign import ACCEPTED, REFUSED, Campaign, names, parses
from tests.faults.conftest import WHOLE
from tests.faults.mutants import Mutant, mutants
from tests.faults.proxy import connect
from tests.faults.schema import dotted, fields, valid_with
from tests.operator.objects import NOW, SETTINGS, UID

SAMPLE = 400


def some() -> list[Mutant]:
    """All mutants, or as many as `make test` has the time for."""
    found = list(mutants())
    return found if WHOLE else random.Random(0).sample(found, SAMPLE)


def test_every_field_has_mutants() -> None:
    tried = {mutant.path for mutant in mutants()}
    assert {path for path, _ in fields()} == tried
    assert all(parses(valid_with(path)) for path in tried)


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
    for mutant in some():
        # as the API server stores it
        raw = json.loads(json.dumps(mutant.job).replace(r"\ud800", r"\ufffd"))
        raw["metadata"]["uid"] = UID
        plan = decide(StoredJob.of(raw), Observed(), SETTINGS, NOW)
        if not parses(raw):
            assert plan.status is not None
            said = next(c for c in plan.status["conditions"] if c["type"] == "Failed")
            assert (said["status"], said["reason"]) == ("True", "BadSpec")
            if not names(said["message"], mutant.path):
                nameless.append(f"{mutant}: {said['message'][:200]}")
    assert nameless == []


@pytest.mark.controlplane
async def test_every_mutant_is_refused_or_fails_with_the_fields_name(
    control_plane: ControlPlane,
) -> None:
    async with connect(control_plane) as session:
        campaign = Campaign(control_plane.url, session)
        await campaign.run(some())
    print(dict(campaign.verdicts), f"{len(campaign.stricter)} only refused by the API server")
    assert campaign.wrong == []
    assert campaign.verdicts[REFUSED] > campaign.verdicts[ACCEPTED] > 0
