"""From the facts to what the pod should ask for, each number with its reason."""

import math
from collections.abc import Iterable, Sequence
from typing import Final

from embedtune_api.quantity import parse_quantity
from embedtune_api.spec import FineTuneJobSpec
from embedtune_api.status import SizedResources
from embedtune_trainer.sizing.facts import Facts, row_cost
from embedtune_trainer.sizing.memory import (
    MIB,
    Line,
    gpu_lines,
    host_lines,
    states_of,
    total_bytes,
)

GIB: Final = 1024 * MIB
FLOPS_OF_A_CORE: Final = 2e10
"""Of a server's core, with what networks reach in float32."""
WAY_BACK: Final = 3
"""A step's work, in ways there."""
HOURS: Final = ((0.25, 1), (1.0, 2), (4.0, 4), (math.inf, 8))
"""CPU hours of a training, and the cores it gets."""
CORES_OF_A_GPU: Final = {"text": 2, "vector": 2, "image": 4}
"""That keep it busy: images are decoded meanwhile."""
SHM: Final = 64 * MIB
SHM_OF_A_GPU: Final = GIB
"""By which NCCL's processes of one pod exchange gradients."""
CACHES: Final = 512 * MIB
DISK_MARGIN: Final = 1.2
SHOWN: Final = 16 * MIB
"""Lines of less are added up as others."""


def estimate(facts: Facts, spec: FineTuneJobSpec, default_gpus: int) -> SizedResources:
    """What the training pod should ask for; what spec.resources gives stays as it is.

    Args:
        facts: of the job.
        spec: its.
        default_gpus: the platform's, for jobs that say nothing.
    """
    given, reasoning = spec.resources, list[str]()
    gpus = default_gpus if given.gpus is None else given.gpus
    if given.gpus is None and gpus and {e.takes for e in facts.encoders.values()} == {"vector"}:
        gpus = 0
        reasoning.append("gpus 0: a network over vectors trains as fast without")
    processes = spec.parallelism.processes(gpus)
    shm = SHM_OF_A_GPU * gpus if gpus > 1 else SHM
    lines = host_lines(facts, spec, gpus=gpus)
    needed = processes * total_bytes(lines) + (shm if gpus > 1 else 0)
    memory = _rounded(needed)
    reasoning.append(f"memory {memory}: {_sum(lines, processes)}")
    if given.memory is not None:
        reasoning[-1] = f"memory {given.memory}: spec.resources; the estimate is {memory}" + (
            "" if parse_quantity(given.memory) >= needed else ", which is more"
        )
        memory = str(given.memory)
    gpu_memory = None
    if gpus:
        lines = gpu_lines(facts, spec)
        gpu_memory = f"{math.ceil(total_bytes(lines) / GIB)}Gi"
        reasoning.append(f"GPU memory {gpu_memory}: {_sum(lines)}")
    cpu, why = _cpu(facts, spec, gpus)
    disk, disk_why = _disk(facts, spec)
    reasoning += [why, disk_why, *facts.notes]
    return SizedResources(
        cpu=cpu,
        memory=memory,
        gpus=gpus,
        gpu_memory=gpu_memory,
        shm=f"{shm // MIB}Mi",
        ephemeral_storage=disk,
        reasoning=tuple(reasoning),
    )


def _sum(lines: Sequence[Line], processes: int = 1) -> str:
    """The lines in words, the largest first."""
    large = sorted((x for x in lines if x.size_bytes >= SHOWN), key=lambda x: -x.size_bytes)
    rest = sum(line.size_bytes for line in lines if line.size_bytes < SHOWN)
    told = [f"{line.what} {_mib(line.size_bytes)}" for line in large]
    if rest >= MIB:
        told.append(f"others {_mib(rest)}")
    return ", ".join(told) + (f"; for each of {processes} processes" if processes > 1 else "")


def _mib(size_bytes: float) -> str:
    return f"{math.ceil(size_bytes / MIB):,} MiB"


def _rounded(size_bytes: float) -> str:
    """In steps that suit its size."""
    step = 64 if size_bytes < 4 * GIB else 256
    return f"{step * math.ceil(size_bytes / MIB / step)}Mi"


def _cpu(facts: Facts, spec: FineTuneJobSpec, gpus: int) -> tuple[str, str]:
    """Cores, and why."""
    given = spec.resources.cpu
    if given is not None:
        return str(given), f"cpu {given}: spec.resources"
    if gpus:
        each = max(CORES_OF_A_GPU[encoder.takes] for encoder in facts.encoders.values())
        return str(each * gpus), f"cpu {each * gpus}: {each} for each GPU"
    if facts.rows is None:
        return "2", "cpu 2: how many rows there are is not known"
    hours = _flops(facts, spec) / FLOPS_OF_A_CORE / 3600
    cores = next(cores for most, cores in HOURS if hours <= most)
    return str(cores), f"cpu {cores}: about {_hours(hours)} of work for one core"


def _flops(facts: Facts, spec: FineTuneJobSpec) -> float:
    way = WAY_BACK if any(e.trained > e.parameters / 100 for e in facts.encoders.values()) else 1
    return spec.training.epochs * sum(
        way * (entry.rows or 0) * sum(cost.flops for cost in row_cost(facts, entry))
        for entry in facts.entries
    )


def _hours(hours: float) -> str:
    return f"{hours:.1f} hours" if hours >= 1 else f"{max(1, math.ceil(hours * 60))} minutes"


def _disk(facts: Facts, spec: FineTuneJobSpec) -> tuple[str, str]:
    """What the work folder holds at most, and why."""
    weights, trained = facts.weights_bytes, facts.trained_bytes
    shares = {"float32": 1.0, "float16": 0.5, "int8": 0.25}
    graphs = sum(shares[precision] for precision in spec.output.precisions)
    parts = {
        "backbone": facts.backbone_bytes or 1.1 * weights,
        "data": 3.0 * (facts.data_bytes or 0),
        "checkpoints": 2 * (1 + states_of(spec)) * trained,
        "model": (1 + graphs) * weights,
        "caches": CACHES,
    }
    disk = _rounded(DISK_MARGIN * sum(parts.values()))
    return disk, f"ephemeral storage {disk}: {_parts(parts.items())}"


def _parts(parts: Iterable[tuple[str, float]]) -> str:
    return ", ".join(f"{what} {_mib(size)}" for what, size in parts if size)
