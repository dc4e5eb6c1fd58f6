"""What a run ran on, in words."""

import os
from pathlib import Path

from embedtune_trainer.processes import Processes

CPU_INFO = Path("/proc/cpuinfo")


def hardware() -> dict[str, str]:
    """GPU with its memory if there is one, processor, threads, torch's version, processes."""
    import torch

    found = {}
    if torch.cuda.is_available():
        gpu = torch.cuda.get_device_properties(0)
        count = torch.cuda.device_count()
        times = f"{count} x " if count > 1 else ""
        found["GPU"] = f"{times}{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB"
    found["CPU"] = f"{processor()}, {torch.get_num_threads()} of {os.cpu_count()} threads"
    found["torch"] = torch.__version__
    if (count := Processes.of_environment().size) > 1:
        found["Processes"] = f"{count}, each with the above"
    return found


def processor(cpu_info: Path = CPU_INFO) -> str:
    """The processor's name, or its architecture where the system does not tell the name."""
    try:
        lines = cpu_info.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or os.uname().machine


def memory_peak() -> str:
    """The most memory that the process, or the GPU, has held so far."""
    import resource

    import torch

    if torch.cuda.is_available():
        return f"{torch.cuda.max_memory_reserved() / 2**30:.1f} GiB of the GPU's"
    kibibytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return f"{kibibytes / 2**20:.1f} GiB"
