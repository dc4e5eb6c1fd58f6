"""The contract between operator and trainer."""

import json

import pytest

from embedtune_api import reasons
from embedtune_api.contract import (
    FINAL_EXIT_CODES,
    STOPPED_EXIT_CODES,
    TERMINATION_MAX_BYTES,
    ExitCode,
    Failure,
    TrainResult,
)


def test_every_exit_code_has_a_reason_of_its_own() -> None:
    found = [code.reason for code in ExitCode]
    assert len(set(found)) == len(found)
    known = {v for k, v in vars(reasons).items() if k.isupper()}
    assert set(found) <= known


def test_final_codes_are_the_final_range_and_the_oom_killers() -> None:
    assert set(FINAL_EXIT_CODES) == {*range(64, 72), 137}


def test_a_trainer_that_was_told_to_stop_has_not_failed() -> None:
    assert not set(STOPPED_EXIT_CODES) & set(FINAL_EXIT_CODES)
    assert set(STOPPED_EXIT_CODES) == {81, 143}


@pytest.mark.parametrize("character", ["x", '"', "\n", "é", "\U0001f9ea", "\x01"])
def test_a_long_failure_is_cut_at_its_front_to_fit(character: str) -> None:
    result = TrainResult(failure=Failure(reason="BadData", message=character * 9000 + " the end"))
    text = result.to_message()
    assert len(text.encode()) <= TERMINATION_MAX_BYTES
    message = json.loads(text)["failure"]["message"]
    assert message.startswith("…")
    assert message.endswith(" the end")
    assert len(message) > 300


def test_a_short_failure_is_whole() -> None:
    result = TrainResult(failure=Failure(reason="BadData", message="train.csv, row 7"))
    assert TrainResult.parse(json.loads(result.to_message())) == result
