"""Kopf keeps nothing: no object is copied for its sake, and none is marked."""

import copy
from typing import Any

import kopf
import pytest

from embedtune_operator.handlers import kopf_settings
from tests.operator.objects import SETTINGS, raw_job


def test_no_object_is_copied_to_find_what_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    persistence = kopf_settings(SETTINGS).persistence
    body = kopf.Body(raw_job())
    monkeypatch.setattr(copy, "deepcopy", lambda *_: pytest.fail("a copy"))
    new = persistence.diffbase_storage.build(body=body)
    assert persistence.diffbase_storage.fetch(body=body) is None
    assert persistence.progress_storage.clear(essence=new) == {}


def test_no_object_is_marked() -> None:
    persistence = kopf_settings(SETTINGS).persistence
    body, patch = kopf.Body(raw_job()), kopf.Patch()
    key: Any = "handler"
    record: Any = {}
    persistence.diffbase_storage.store(body=body, patch=patch, essence=kopf.BodyEssence({}))
    persistence.progress_storage.store(key=key, record=record, body=body, patch=patch)
    persistence.progress_storage.touch(body=body, patch=patch, value="now")
    persistence.progress_storage.purge(key=key, body=body, patch=patch)
    assert persistence.progress_storage.fetch(key=key, body=body) is None
    assert not patch
