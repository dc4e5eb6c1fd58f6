"""Checkpoints on a file system and on real S3 servers: kept, verified, passed over, refused."""

import json
import weakref
from collections import Counter
from threading import Condition, Event
from unittest.mock import Mock

import pytest
import torch

from embedtune_api.checkpoints import Checkpoints
from embedtune_api.spec import Storage as StorageSpec
from embedtune_trainer.checkpoints import keeper as keeper_module
from embedtune_trainer.checkpoints.files import Snapshot, write
from embedtune_trainer.checkpoints.identity import Identity
from embedtune_trainer.checkpoints.keeper import Keeper
from embedtune_trainer.checkpoints.shelf import Shelf
from embedtune_trainer.checkpoints.writer import Backoff
from embedtune_trainer.errors import BadSpec, StorageUnavailable
from embedtune_trainer.sources.storage import FileStore, RetryPolicy, open_storage

CPU = torch.device("cpu")
ME = Identity(
    spec={"training": {"learningRate": 1e-3, "epochs": 2}},
    data={"spec.data.train": "abc"},
    versions={"torch": "2.9", "embedtune": "1"},
    parameters={"w": [2, 3]},
)


class Notes:
    def __init__(self):
        self.told = []
        self.changed = Condition()

    def note(self, message, **facts):
        with self.changed:
            self.told.append((message, facts))
            self.changed.notify_all()

    def heard(self, message):
        """Whether it is told within 10 seconds."""
        with self.changed:
            return self.changed.wait_for(lambda: message in self.messages(), 10)

    def messages(self):
        return [message for message, _ in self.told]


class Away(FileStore):
    """A storage that does not answer for so many calls."""

    def __init__(self, calls):
        self.calls = calls

    def put_folder(self, folder, uri, last):
        if self.calls:
            self.calls -= 1
            raise StorageUnavailable(f"{uri}: away")
        super().put_folder(folder, uri, last)


def keeper_on(store, uri, work, *, identity=ME, notes=None, now=None, **options):
    shelf = Shelf(store, store, uri, Event())
    return Keeper(
        *(shelf, Checkpoints.parse(options), identity, work, notes or Notes()),
        backoff=Backoff(0.001, 0.002),
        **({"clock": lambda: now[0]} if now else {}),
    )


@pytest.fixture
def place(tmp_path):
    return f"file://{tmp_path}/out/checkpoints/", tmp_path / "work"


def state(step):
    return {"module": {"w": torch.full((2, 3), float(step))}, "step": step}


def put(keeper, *steps):
    for step in steps:
        keeper.offer(step, state(step), CPU)
        assert keeper.settled(20)


def steps_in(tmp_path):
    return sorted(int(path.name) for path in (tmp_path / "out/checkpoints").iterdir())


def test_the_newest_are_kept_and_the_last_is_gone_on_from(place, tmp_path):
    with keeper_on(FileStore(), *place, keep=2) as keeper:
        put(keeper, 5, 10, 15)
    assert steps_in(tmp_path) == [10, 15]
    with keeper_on(FileStore(), *place) as keeper:
        step, found = keeper.newest(CPU)
    assert step == found["step"] == 15
    assert torch.equal(found["module"]["w"], torch.full((2, 3), 15.0))


def test_nothing_to_go_on_from(place):
    with keeper_on(FileStore(), *place) as keeper:
        assert keeper.newest(CPU) is None


def test_while_the_storage_is_away_one_copy_is_in_memory_and_two_lie_on_the_disk(
    place, tmp_path, monkeypatch
):
    copies, most = [], Counter()

    def taking(*args):
        snapshot = Snapshot.take(*args)
        copies.append(weakref.ref(snapshot))
        most["copies"] = max(most["copies"], sum(copy() is not None for copy in copies))
        return snapshot

    def writing(snapshot, folder):
        write(snapshot, folder)
        most["folders"] = max(most["folders"], len(list(folder.parent.iterdir())))

    monkeypatch.setattr(keeper_module, "Snapshot", Mock(take=taking))
    monkeypatch.setattr(keeper_module, "write", writing)
    storage = Away(calls=10**9)
    with keeper_on(storage, *place) as keeper:
        for step in range(1, 60):
            keeper.offer(step, state(step), CPU)
        storage.calls = 0
        assert keeper.settled(20)
        assert not list((tmp_path / "work" / keeper_module.WRITTEN).iterdir())
    assert steps_in(tmp_path)[-1] == 59
    assert most == {"copies": 1, "folders": 2}


@pytest.mark.parametrize("name", ["state.safetensors", "state.json", "checkpoint.json"])
@pytest.mark.parametrize("harm", ["a bit", "cut", "gone"])
def test_a_damaged_one_is_passed_over_for_the_one_before(name, harm, place, tmp_path):
    notes = Notes()
    with keeper_on(FileStore(), *place, keep=3) as keeper:
        put(keeper, 5, 10)
    path = tmp_path / "out/checkpoints/0000000010" / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    if harm == "gone":
        path.unlink()
    else:
        path.write_bytes(data if harm == "a bit" else data[:-1])
    with keeper_on(FileStore(), *place, notes=notes, keep=1) as keeper:
        step, _ = keeper.newest(CPU)
        assert step == 5
        put(keeper, 8)
    # Without its manifest it is none at all, so nothing is said of it.
    told = [m for m in notes.messages() if "damaged" in m]
    assert len(told) == (0 if (name, harm) == ("checkpoint.json", "gone") else 1)
    assert steps_in(tmp_path) == [8]


def test_when_all_are_damaged_it_begins_anew(place, tmp_path):
    with keeper_on(FileStore(), *place) as keeper:
        put(keeper, 5)
    (tmp_path / "out/checkpoints/0000000005/state.json").write_text("{}")
    with keeper_on(FileStore(), *place) as keeper:
        assert keeper.newest(CPU) is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"spec": {"training": {"epochs": 2}}}, "spec.training.learningRate was 0.001, is not set"),
        ({"data": {"spec.data.train": "x"}}, "the rows of spec.data.train are not the same"),
        ({"versions": {"torch": "2.8", "embedtune": "1"}}, "torch was 2.9, is 2.8"),
        ({"parameters": {"w": [2, 4]}}, r"the shape of w was \[2, 3\], is \[2, 4\]"),
    ],
)
def test_one_of_another_run_is_refused_by_name(change, words, place):
    with keeper_on(FileStore(), *place) as keeper:
        put(keeper, 5)
    other = Identity.model_validate({**ME.model_dump(), **change})
    with (
        keeper_on(FileStore(), *place, identity=other) as keeper,
        pytest.raises(BadSpec, match=rf"of another run: {words}\. Put back what .*to begin anew"),
    ):
        keeper.newest(CPU)


def test_other_hardware_is_told(place, tmp_path):
    notes = Notes()
    with keeper_on(FileStore(), *place) as keeper:
        put(keeper, 5)
    path = tmp_path / "out/checkpoints/0000000005/checkpoint.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "hardware": "an abacus"}))
    with keeper_on(FileStore(), *place, notes=notes) as keeper:
        assert keeper.newest(CPU) is not None
    assert any("other hardware" in message for message in notes.messages())


def test_when_it_is_due(place):
    now = [0.0]
    with keeper_on(FileStore(), *place, now=now, everySteps=7, everyMinutes=2) as keeper:
        assert [step for step in range(1, 30) if keeper.due(step, 28)] == [7, 14, 21]
        assert not keeper.due(27, 28)
        now[0] = 61
        assert keeper.due(27, 28)
        assert not keeper.due(26, 28)
        assert not keeper.due(28, 28)
        now[0] = 120
        assert keeper.due(3, 28)
        keeper.offer(3, state(3), CPU)
        assert not keeper.due(4, 28)


def test_the_storage_may_be_away_for_a_while(place, tmp_path):
    notes = Notes()
    with keeper_on(Away(9), *place, notes=notes) as keeper:
        put(keeper, 5)
    assert notes.messages().count("checkpoint not written yet, it is tried again") == 9
    assert steps_in(tmp_path) == [5]
    assert not list((tmp_path / "work").glob("write*"))


def test_the_last_one_is_written_before_it_returns(place, tmp_path):
    with keeper_on(FileStore(), *place) as keeper:
        keeper.offer_last(0, lambda: pytest.fail("nothing to save yet"), CPU)
        keeper.offer_last(9, lambda: state(9), CPU)
        assert steps_in(tmp_path) == [9]
        keeper.offer_last(9, lambda: pytest.fail("it is saved already"), CPU)


def test_on_s3(s3, tmp_path):
    store = open_storage(StorageSpec(), Event(), RetryPolicy(), s3.env)
    uri = s3.uri("out/checkpoints/")
    s3.put("out/checkpoints/0000000099/state.json", b"of an attempt that was killed")
    with keeper_on(store, uri, tmp_path / "work", keep=2) as keeper:
        assert keeper.newest(CPU) is None
        put(keeper, 5, 10, 15)
    names = s3.names("out/checkpoints")
    assert {name.partition("/")[0] for name in names} == {"0000000010", "0000000015"}
    with keeper_on(store, uri, tmp_path / "work") as keeper:
        step, found = keeper.newest(CPU)
    assert (step, found["step"]) == (15, 15)
    assert not list((tmp_path / "work").iterdir())
    model = tmp_path / "model"
    model.mkdir()
    (model / "weights").write_bytes(b"w")
    (model / "manifest.json").write_text("{}")
    store.publish(model, s3.uri("out/"))
    assert set(s3.names("out")) == {"weights", "manifest.json"}
