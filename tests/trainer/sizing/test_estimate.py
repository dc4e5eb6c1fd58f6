"""What an estimate is made of, and how it moves with the spec."""

from typing import Any

import numpy as np
import pytest

from embedtune_api.job import FineTuneJob
from embedtune_api.quantity import parse_quantity
from embedtune_api.spec import FineTuneJobSpec
from embedtune_api.status import SizedResources
from embedtune_trainer.sizing.activations import Activations, Cost
from embedtune_trainer.sizing.estimate import estimate
from embedtune_trainer.sizing.facts import Column, EncoderFacts, Entry, Facts, batch_bytes

KIB, MIB = 2**10, 2**20
PLAIN = Activations(0, Cost(160 * KIB, 12 * KIB, 2e7), Cost(860, 0, 4e3))
HALVED = Activations(20 * MIB, Cost(100 * KIB, 6 * KIB, 2e7), Cost(720, 0, 4e3))
SHORT = np.full(100, 12)


def encoder(trained: float = 1.0, millions: int = 100) -> EncoderFacts:
    numbers = millions * 10**6
    return EncoderFacts("text", numbers, int(trained * numbers), 384, PLAIN, HALVED, 256)


def facts(one: EncoderFacts | None = None, lengths: Any = SHORT, rows: int = 10_000) -> Facts:
    entry = Entry("spec.data.train", rows, (Column("encoder", lengths),))
    return Facts({"encoder": one or encoder()}, (entry,), MIB, None, ("train: 10,000 rows",))


def spec(**parts: Any) -> FineTuneJobSpec:
    given = {
        "model": {"backbone": "s3://bases/minilm"},
        "data": {"train": {"uri": "s3://datasets/train.csv"}},
        "output": {"uri": "s3://models/tuned"},
        **parts,
    }
    return FineTuneJob.parse({"metadata": {"name": "x"}, "spec": given}).spec


def sized(found: Facts | None = None, gpus: int = 0, **parts: Any) -> SizedResources:
    return estimate(found or facts(), spec(**parts), gpus)


def mib(quantity: str | None) -> float:
    return float(parse_quantity(quantity or "0.1") / MIB)


def memory(found: Facts | None = None, **parts: Any) -> float:
    return mib(sized(found, **parts).memory)


def test_more_to_do_takes_more() -> None:
    base = memory(training={"epochs": 1})
    assert memory(training={"batchSize": 1024}) > base
    assert memory(facts(lengths=None)) > base, "texts that nobody has looked at may be long"
    assert memory(facts(encoder(millions=300))) > base
    assert memory(training={"ema": {}, "keepBest": {}}) > base
    assert memory(training={"compile": True}) > base
    assert memory(training={"optimizer": "SGD", "learningRate": 0.1}) < base
    assert memory(facts(encoder(trained=0.01))) < base, "frozen, or with adapters"
    assert memory(facts(lengths=None), training={"microBatch": 4}) < memory(facts(lengths=None))


def test_a_graph_beside_the_model_is_counted_where_it_is_the_peak() -> None:
    little = facts(encoder(trained=0.01))
    onnx = {"uri": "s3://models/tuned", "formats": ["safetensors", "onnx"]}
    assert memory(little, output=onnx) > memory(little) + 1000


def test_what_is_given_stays_and_is_compared() -> None:
    found = sized(resources={"cpu": "3", "memory": "1Gi", "gpus": 0})
    assert (found.cpu, found.memory, found.gpus) == ("3", "1Gi", 0)
    assert "which is more" in found.reasoning[0]
    roomy = sized(resources={"memory": "64Gi"})
    assert "which is more" not in roomy.reasoning[0]


def test_gpus_come_from_the_platform_with_what_each_must_have() -> None:
    one, two = sized(gpus=1), sized(gpus=2)
    assert (one.gpus, one.cpu, one.shm) == (1, "2", "64Mi")
    assert one.gpu_memory is not None
    assert (two.gpus, two.cpu, two.shm) == (2, "4", "2048Mi")
    assert mib(two.memory) > 2 * mib(one.memory) - 64, "each GPU has a process of its own"
    assert sized(resources={"gpus": 1}).gpu_memory == one.gpu_memory
    assert sized().gpu_memory is None


def test_a_network_over_vectors_needs_no_gpu() -> None:
    vectors = EncoderFacts("vector", 10**5, 10**5, 128, PLAIN, HALVED)
    assert sized(facts(vectors, lengths=None), gpus=1).gpus == 0
    assert sized(facts(vectors, lengths=None), resources={"gpus": 1}).gpus == 1


@pytest.mark.parametrize(
    ("rows", "cores"), [(100, "1"), (10_000, "2"), (50_000, "4"), (10**7, "8")]
)
def test_cores_by_the_work(rows: int, cores: str) -> None:
    assert sized(facts(rows=rows)).cpu == cores


def test_each_number_has_its_reason() -> None:
    found = sized(gpus=1)
    assert [line.split(" ")[0] for line in found.reasoning] == [
        "memory",
        "GPU",
        "cpu",
        "ephemeral",
        "train:",
    ]
    assert found.memory in found.reasoning[0]


def test_a_batch_is_taken_to_hold_longer_texts_than_the_mean() -> None:
    """Of a thousand batches drawn at random none goes above; nor is it the longest for all."""
    random = np.random.default_rng(0)
    lengths = np.minimum(256, random.lognormal(3, 1, 4000).astype(np.int64) + 2)
    one, rows = encoder(), 64
    most = batch_bytes(one, PLAIN, (Column("encoder", lengths),), rows)
    cost = np.array([PLAIN.of(int(n)).saved_bytes for n in lengths])
    drawn = [cost[random.integers(0, len(cost), rows)].sum() for _ in range(1000)]
    assert max(drawn) < most < 2 * max(drawn)
    assert most < rows * PLAIN.of(256).saved_bytes


def test_each_process_of_a_pod_takes_its_own() -> None:
    two = sized(parallelism={"processesPerNode": 2})
    assert mib(two.memory) == pytest.approx(2 * memory(), rel=0.02)
    assert any("for each of 2 processes" in line for line in two.reasoning)
    assert memory(parallelism={"nodes": 2}) == memory(), "of one pod"
