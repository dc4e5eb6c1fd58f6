"""Two processes take the step that one takes with the whole batch."""

import functools
import os
import socket
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import multiprocessing, nn

from embedtune_trainer.embedder.encoders import Encoders
from embedtune_trainer.embedder.pair import TextImagePair
from embedtune_trainer.objectives.loss import BatchLoss
from embedtune_trainer.processes import Processes
from embedtune_trainer.training.distributed import ALONE, World
from embedtune_trainer.training.inputs import Preparer
from embedtune_trainer.training.step import Stepper
from tests.trainer import stepping, tiny

pytestmark = pytest.mark.slow

ROWS = [np.arange(15), np.arange(3, 16)]
TRIPLET = {"loss": "TripletMarginLoss", "minerOptions": {"typeOfTriplets": "all"}}


class Pictures(stepping.Texts):
    """Texts that call themselves images."""

    modality = "image"


def triplet(folder, world):
    return _made(stepping.load(folder, dropout=False), stepping.labelled(16), TRIPLET, world)


def ranking(folder, world):
    return _made(stepping.load(folder, dropout=False), stepping.pairs(16), {}, world, micro_batch=1)


def proxies(folder, world):
    """A loss with weights of its own, over labelled texts."""
    made = triplet(folder, world)
    torch.manual_seed(1)
    own = nn.Linear(made.encoders.embedding_dim, 4, bias=False)

    def loss(embedded, rows):
        value = nn.functional.cross_entropy(own(embedded[0]), torch.from_numpy(rows % 4))
        return BatchLoss(value, torch.tensor(len(rows)))

    made.own = own
    made.mixture.tasks = (replace(made.task, loss=loss),)
    module = made.encoders.module
    made.stepper = Stepper(module, made.training, 10, losses=[own], world=world)
    return made


def clip(folder, world):
    """Two towers and a temperature; texts on both sides, which the loss cannot tell."""
    towers = [stepping.load(folder, dropout=False) for _ in "lr"]
    towers[1].processor.modality = "image"
    pair = TextImagePair(*towers, log_scale=2.0)
    found = stepping.pairs(16)
    data = stepping.PairRows(found.left, Pictures(found.right.values), found.source)
    return _made(Encoders.pair(pair), data, {"loss": "CLIPLoss"}, world)


MAKERS = (triplet, ranking, clip, proxies)


def _made(encoders, data, objective, world, micro_batch=None):
    return stepping.bench(
        *(encoders, data),
        **{"objective": objective, "world": world, "micro_batch": micro_batch, "batchSize": 16},
        **{"optimizer": "SGD", "learningRate": 0.1, "warmupRatio": 0.0},
    )


def trained(make, folder, world):
    torch.manual_seed(0)
    made = make(folder, world)
    losses = [float(made.take(step, rows).loss) for step, rows in enumerate(ROWS)]
    weights = made.weights()
    if hasattr(made, "own"):
        weights["proxies"] = made.own.weight.detach().clone()
    return losses, weights


def in_a_process(rank, folder, port, target):
    os.environ |= {
        **{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)},
        **{"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": "2"},
    }
    torch.set_num_threads(1)
    processes = Processes.of_environment()
    assert processes == Processes(rank, 2, rank, 2)
    with processes.joined():
        world = World.of(processes)
        for make in MAKERS:
            torch.save(trained(make, folder, world), target / f"{make.__name__}-{rank}.pt")


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return tiny.backbone(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture(scope="module")
def two(plain, tmp_path_factory):
    """Where two processes left what they trained; started once, since that takes seconds."""
    folder = tmp_path_factory.mktemp("two")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    multiprocessing.spawn(in_a_process, (plain, port, folder), nprocs=2)
    return folder


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
def test_two_processes_are_one(make, plain, two):
    alone_losses, alone = trained(make, plain, ALONE)
    found = [torch.load(two / f"{make.__name__}-{rank}.pt") for rank in (0, 1)]
    assert stepping.equal(found[0][1], found[1][1]), "the processes differ"
    for losses, weights in found:
        assert losses == pytest.approx(alone_losses, abs=1e-6)
        assert max(float((weights[n] - alone[n]).abs().max()) for n in alone) < 1e-6


def test_one_process_sends_nothing(plain, monkeypatch):
    for name in ("all_gather", "all_reduce", "init_process_group"):
        monkeypatch.setattr(torch.distributed, name, functools.partial(pytest.fail, name))
    processes = Processes.of_environment()
    with processes.joined():
        trained(triplet, plain, World.of(processes))


def test_shares_are_consecutive_and_make_up_the_batch():
    rows = np.arange(100, 111)
    shares = [World(rank, 4).share(rows) for rank in range(4)]
    assert np.array_equal(np.concatenate(shares), rows)
    for rank, share in enumerate(shares):
        assert np.array_equal(rows[World(rank, 4).place(11)], share)
    assert len(World(3, 4).share(rows[:2])) == 0
    assert len(rows[:2][World(3, 4).place(2)]) == 0


def test_a_process_without_rows_prepares_nothing(plain):
    made = triplet(plain, ALONE)
    preparer = Preparer(made.task.columns, world=World(3, 4))
    (given,) = preparer(made.batch([0, 1]))
    assert given.parts == ()
    assert given.place_CB.shape == (1, 0)
