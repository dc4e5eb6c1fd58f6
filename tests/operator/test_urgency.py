"""Which jobs are looked at before which others, through a job's life."""

from embedtune_operator.workqueue import Urgency
from tests.operator.fake_api import JOB_PATH, FakeOperator, submitted
from tests.operator.objects import UID
from tests.operator.test_decide import RESULT
from tests.operator.test_faults import RUNS, ended, pod


async def test_the_child_of_a_new_job_goes_first_its_end_soon_and_all_else_can_wait() -> None:
    api = submitted()
    operator = FakeOperator(api)
    urgency = operator.controller.urgency
    assert urgency(UID) is Urgency.FIRST
    await operator.controller.reconcile(UID)
    assert urgency(UID) is Urgency.CAN_WAIT, "it has its child, and the status can wait"
    await operator.settle()
    pod(api, RUNS, "Running")
    operator.deliver()
    assert urgency(UID) is Urgency.CAN_WAIT
    await operator.settle()
    pod(api, ended(80, "no answer"), "Failed")
    operator.deliver()
    assert urgency(UID) is Urgency.SOON
    await operator.settle()
    pod(api, RUNS, "Running", "pod-2")
    operator.deliver()
    assert urgency(UID) is Urgency.CAN_WAIT, "that of the pod before is told"
    await operator.settle()
    pod(api, ended(0, RESULT), "Succeeded", "pod-2")
    operator.deliver()
    assert urgency(UID) is Urgency.SOON
    await operator.settle()
    assert api.objects[JOB_PATH]["status"]["state"] == "Complete"
    assert urgency(UID) is Urgency.CAN_WAIT


async def test_what_its_user_asks_for_is_answered_soon() -> None:
    api = submitted()
    operator = FakeOperator(api)
    await operator.settle()
    job = api.objects[JOB_PATH]
    job["spec"]["suspend"] = True
    job["metadata"]["generation"] += 1
    api.put(JOB_PATH, job)
    operator.deliver()
    assert operator.controller.urgency(UID) is Urgency.SOON
    await operator.settle()
    assert operator.controller.urgency(UID) is Urgency.CAN_WAIT
    api.objects[JOB_PATH]["metadata"]["deletionTimestamp"] = "2026-11-24T12:00:30Z"
    api.put(JOB_PATH, api.objects[JOB_PATH])
    operator.deliver()
    assert operator.controller.urgency(UID) is Urgency.SOON


async def test_a_job_that_is_gone_can_wait() -> None:
    operator = FakeOperator(submitted())
    operator.controller.job_gone(UID)
    assert operator.controller.urgency(UID) is Urgency.CAN_WAIT
