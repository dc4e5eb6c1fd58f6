"""Fitting into the machine: as many threads as the container may use, nothing written outside.

This runs before torch and transformers are imported, since they read the environment then. It
imports neither.
"""

import ctypes
import os
import platform
from collections.abc import Iterable
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUP = Path("/proc/self/cgroup")
KEPT = (("MALLOC_TRIM_THRESHOLD_", -1, 1 << 30), ("MALLOC_MMAP_THRESHOLD_", -3, 32 << 20))
"""glibc's variables, mallopt's names for them, and bytes."""
KERNEL_CACHES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")
"""oneDNN's variable, and that of ideep, torch's layer over it."""
KERNELS, KERNELS_OF_TEXTS = 256, 64


def prepare_process(work_dir: Path) -> int:
    """Set the environment that libraries read; what a user has set stays.

    Args:
        work_dir: the only folder that may be written to.

    Returns:
        The number of CPU threads to use.
    """
    threads = int(os.environ.get("OMP_NUM_THREADS") or cpu_threads())
    cache = work_dir / ".cache"
    defaults = {
        "HF_HOME": cache / "huggingface",
        "XDG_CACHE_HOME": cache,
        "MPLCONFIGDIR": cache / "matplotlib",
        "TORCHINDUCTOR_CACHE_DIR": cache / "torchinductor",
        "TRITON_CACHE_DIR": cache / "triton",
        # The hub is asked only for hf:// URIs; what is loaded is loaded with local_files_only.
        "HF_HUB_DISABLE_PROGRESS_BARS": 1,
        "HF_HUB_DISABLE_TELEMETRY": 1,
        "TOKENIZERS_PARALLELISM": "true",
        "OMP_NUM_THREADS": threads,
        # Waiting threads spin for some 20 microseconds, then they sleep. If they spin on, a core
        # shared with others makes training several times slower, since the thread that is waited
        # for does not get to run; if they sleep at once, MobileNetV2 takes 1.3 times as long.
        "GOMP_SPINCOUNT": 10_000,
        "RAYON_NUM_THREADS": threads,
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, str(value))
    keep_freed_memory()
    return threads


def keep_freed_memory() -> None:
    """Have glibc's allocator keep what is freed, up to a GB, for the next step.

    By default it gives large blocks back to the system, and each step waits until it has got them
    anew, page by page: a step of MobileNetV2 on two cores took 1.4 times as long. Blocks of more
    than 32 MB, its own upper limit, are still given back: kept, they leave holes, and a job of
    CLIP's kind took 3.5 GB in place of 2.6. What a user has set by MALLOC_TRIM_THRESHOLD_ or
    MALLOC_MMAP_THRESHOLD_ stays. Other C libraries are left as they are.
    """
    for name, option, most in KEPT:
        if name not in os.environ and platform.libc_ver()[0] == "glibc":
            ctypes.CDLL(None).mallopt(option, most)


def keep_kernels(modalities: Iterable[str]) -> None:
    """Bound what oneDNN keeps of the code that it makes for each shape, half a MB of it.

    By default it keeps a thousand of each kind, and every length of texts is a shape: MiniLM grew
    from 1,170 to 1,600 MB in 60 epochs. One shape's code is made anew in .2 ms, which is nothing
    beside a text encoder's products, but a fifth of MobileNetV2's step: networks of images keep all
    that a step needs, 67 (ResNet-18), 169 (MobileNetV2) to 342 (EfficientNet-B5). What a user has
    set stays. It must come before the first calculation: oneDNN asks once.

    Args:
        modalities: of the items that are to be encoded.
    """
    most = KERNELS_OF_TEXTS if set(modalities) == {"text"} else KERNELS
    for name in KERNEL_CACHES:
        os.environ.setdefault(name, str(most))


def cpu_threads(cgroups: Path = CGROUPS, own_cgroup: Path = OWN_CGROUP) -> int:
    """How many threads can run at once: the container's CPU limit rounded down, at least 1.

    The host's core count is not it: with more threads than the limit, each spends most of its
    time throttled.
    """
    allowed = len(os.sched_getaffinity(0))
    limit = cpu_limit(cgroups, own_cgroup)
    return max(1, allowed if limit is None else min(allowed, int(limit)))


def cpu_limit(cgroups: Path = CGROUPS, own_cgroup: Path = OWN_CGROUP) -> float | None:
    """The least CPU limit in cores of this process's cgroup and those above it; None: no limit.

    Reads cgroup v2 (cpu.max) and v1 (cpu.cfs_quota_us). In a container the own cgroup mostly is
    the root of what is mounted.
    """
    limits = [
        limit
        for folder in _folders(cgroups, own_cgroup)
        if (limit := _limit_v2(folder) or _limit_v1(folder)) is not None
    ]
    return min(limits, default=None)


def _folders(cgroups: Path, own_cgroup: Path, controller: str = "cpu") -> set[Path]:
    """Folders that could hold a limit for this process, whether or not they exist."""
    found = {cgroups, cgroups / controller}
    lines = own_cgroup.read_text().splitlines() if own_cgroup.exists() else []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        root = cgroups / controller if controllers else cgroups
        relative = Path(path.strip("/"))
        found.update(root / part for part in (relative, *relative.parents))
    return found


def _limit_v2(folder: Path) -> float | None:
    words = _words(folder / "cpu.max")
    if len(words) != 2 or words[0] == "max":
        return None
    return int(words[0]) / int(words[1])


def _limit_v1(folder: Path) -> float | None:
    quota, period = _words(folder / "cpu.cfs_quota_us"), _words(folder / "cpu.cfs_period_us")
    if not quota or not period or int(quota[0]) <= 0:
        return None
    return int(quota[0]) / int(period[0])


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []


def available_bytes(
    cgroups: Path = CGROUPS, own_cgroup: Path = OWN_CGROUP, meminfo: Path = Path("/proc/meminfo")
) -> int:
    """Memory that this process may still take: the least of its cgroups' and the machine's.

    Reads cgroup v2 (memory.max and memory.current) and v1 (memory.limit_in_bytes and
    memory.usage_in_bytes); what files hold in a cgroup's cache is counted as taken.
    """
    left = [
        limit - used
        for folder in _folders(cgroups, own_cgroup, "memory")
        if (limit := _bytes(folder, "memory.max", "memory.limit_in_bytes")) is not None
        and (used := _bytes(folder, "memory.current", "memory.usage_in_bytes")) is not None
    ]
    lines = (line.split() for line in meminfo.read_text().splitlines())
    free = next(int(words[1]) * 1024 for words in lines if words[0] == "MemAvailable:")
    return max(0, min([free, *left]))


def _bytes(folder: Path, *names: str) -> int | None:
    for name in names:
        words = _words(folder / name)
        if words and words[0].isdigit():
            return int(words[0])
    return None
