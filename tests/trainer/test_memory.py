"""batchSize: auto and microBatch: auto: found from what a part costs and what is left."""

import numpy as np
import pytest
import torch

from embedtune_api.spec import Objective, Training
from embedtune_trainer.embedder.encoders import Encoders
from embedtune_trainer.machine import available_bytes
from embedtune_trainer.objectives.choice import Entry
from embedtune_trainer.training import memory
from tests.trainer import stepping, tiny


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return tiny.backbone(tmp_path_factory.mktemp("base") / "tiny")


def cost_of(made):
    (column,) = made.task.columns
    return memory._remembered_bytes(column, memory.autocast_for("auto", torch.device("cpu")))


def room_for(monkeypatch, made, items):
    """Memory in which so many of the longest items and the optimizer's state fit."""
    weights = sum(p.numel() * 4 for p in made.encoders.module.parameters() if p.requires_grad)
    needed = memory.TRANSIENT * items * cost_of(made) / memory.SHARE + 3 * weights
    monkeypatch.setattr(memory, "available_bytes", lambda: int(needed) + 1)


def test_what_an_item_costs_grows_with_its_length(plain):
    made = stepping.bench(stepping.load(plain), stepping.labelled())
    short = stepping.bench(
        made.encoders, stepping.LabelledRows(stepping.Texts(["cat", "dog"]), ["a", "b"], "s.csv")
    )
    longest = int(made.task.columns[0].table.lengths_N.max())
    assert cost_of(made) > longest / 3 / 2 * cost_of(short)


def test_the_micro_batch_is_the_power_of_two_that_fits(plain, monkeypatch):
    made = stepping.bench(stepping.load(plain), stepping.labelled(48), batchSize=24)
    training = Training.parse({"batchSize": 24, "microBatch": "auto"})
    columns = made.task.columns
    room_for(monkeypatch, made, 11)
    assert memory.find_micro_batch(columns, training) == 8
    room_for(monkeypatch, made, 24)
    assert memory.find_micro_batch(columns, training) is None, "all of it fits"
    monkeypatch.setattr(memory, "available_bytes", lambda: 0)
    assert memory.find_micro_batch(columns, training) == 1
    assert memory.find_micro_batch(columns, Training(micro_batch=5)) == 5


def test_the_batch_size_is_what_fits_and_leaves_enough_batches(plain, monkeypatch):
    made = stepping.bench(stepping.load(plain), stepping.labelled(48))
    entries = (Entry(stepping.labelled(1000)),)

    def found(**training):
        options = Training.parse({"batchSize": "auto", **training})
        return memory.find_batch_size(made.encoders, entries, Objective(), options).batch_size

    room_for(monkeypatch, made, 20)
    assert found() == 16
    assert found(microBatch=4) == 32, "1000 rows in 16 batches or more"
    monkeypatch.setattr(memory, "available_bytes", lambda: 0)
    assert found() == 8, "two classes of four rows"
    given = Training(batch_size=48)
    assert memory.find_batch_size(made.encoders, entries, Objective(), given) is given


def test_finding_out_changes_nothing(plain):
    encoders = Encoders.single(
        stepping.load(plain, projection={"dim": 8, "hidden": [8], "norm": "batch"})
    )
    before = {n: t.clone() for n, t in encoders.module.state_dict().items()}
    entries = (Entry(stepping.labelled()),)
    memory.find_batch_size(encoders, entries, Objective(), Training(batch_size="auto"))
    assert stepping.equal(before, encoders.module.state_dict())
    assert not encoders.module.training
    assert all(p.grad is None for p in encoders.module.parameters())


@pytest.mark.parametrize(
    ("files", "left"),
    [
        ({"memory.max": "4000000\n", "memory.current": "1000000\n"}, 3_000_000),
        ({"memory.max": "max\n", "memory.current": "1000000\n"}, 8192 * 1024),
        (
            {
                "memory/memory.limit_in_bytes": "9000000\n",
                "memory/memory.usage_in_bytes": "9100000\n",
            },
            0,
        ),
    ],
)
def test_the_memory_that_is_left_is_the_least(tmp_path, files, left):
    for name, content in files.items():
        path = tmp_path / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    (tmp_path / "meminfo").write_text("MemTotal: 99999 kB\nMemAvailable:    8192 kB\n")
    found = available_bytes(tmp_path / "cgroup", tmp_path / "none", tmp_path / "meminfo")
    assert found == left


@pytest.mark.parametrize(("room", "fits"), [(40, 32), (39, 16), (10**9, 48), (2, 1)])
def test_on_a_gpu_it_is_tried(plain, monkeypatch, room, fits):
    """Here with an encoder that says so, since there is no GPU."""
    made = stepping.bench(stepping.load(plain), stepping.labelled())
    (column,) = made.task.columns
    tried = []

    def encode(probe, count, autocast):
        tried.append(count)
        if count > room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return next(iter(probe.embedder.parameters())) * 1.0

    monkeypatch.setattr(memory, "_encode", encode)
    assert memory._tried([column], memory.autocast_for("auto", torch.device("cpu")), 48) == fits
    assert tried[0] == 5
    assert all(p.grad is None for p in made.encoders.module.parameters())


def test_a_found_size_trains(plain):
    made = stepping.bench(stepping.load(plain), stepping.labelled(), batchSize=24)
    training = Training.parse({"batchSize": 24, "microBatch": "auto"})
    assert memory.find_micro_batch(made.task.columns, training) is None
    assert np.isfinite(float(made.take(0, range(24)).loss))
