"""Threads come from the container's CPU limit, by either version of cgroups."""

import os
from pathlib import Path

import pytest

from embedtune_trainer.machine import (
    KERNEL_CACHES,
    cpu_limit,
    cpu_threads,
    keep_kernels,
    prepare_process,
)


def files(root: Path, contents: dict[str, str]) -> Path:
    for name, text in contents.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    ("contents", "limit"),
    [
        ({}, None),
        ({"cpu.max": "max 100000\n", "self": "0::/\n"}, None),
        ({"cpu.max": "150000 100000\n", "self": "0::/\n"}, 1.5),
        ({"a/b/cpu.max": "max 100000", "a/cpu.max": "50000 100000", "self": "0::/a/b"}, 0.5),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000", "self": ""}, None),
        ({"cpu/cpu.cfs_quota_us": "200000", "cpu/cpu.cfs_period_us": "100000", "self": ""}, 2.0),
        (
            {
                "cpu/x/cpu.cfs_quota_us": "300000",
                "cpu/x/cpu.cfs_period_us": "100000",
                "self": "4:cpu,cpuacct:/x\n3:memory:/y\n0::/\n",
            },
            3.0,
        ),
    ],
)
def test_the_limit(contents: dict[str, str], limit: float | None, tmp_path: Path) -> None:
    root = files(tmp_path, contents)
    assert cpu_limit(root, root / "self") == limit
    at_most = len(os.sched_getaffinity(0))
    assert cpu_threads(root, root / "self") == max(1, min(at_most, int(limit or at_most)))


def test_what_a_user_has_set_stays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        monkeypatch.setenv(name, os.environ[name])  # so that all is as it was afterwards
    for name in ("HF_HUB_DISABLE_TELEMETRY", "RAYON_NUM_THREADS", "GOMP_SPINCOUNT"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setenv("HF_HOME", "/mine")
    assert prepare_process(tmp_path) == 7
    assert os.environ["RAYON_NUM_THREADS"] == "7"
    assert os.environ["HF_HUB_DISABLE_TELEMETRY"] == "1"
    assert os.environ["HF_HOME"] == "/mine"
    assert os.environ["GOMP_SPINCOUNT"] == "10000"


@pytest.mark.parametrize(
    ("modalities", "kept"),
    [(("text", "text"), 64), (("image", "image"), 256), (("text", "image"), 256)],
)
def test_texts_of_all_lengths_keep_fewer_kernels_than_images(
    monkeypatch: pytest.MonkeyPatch, modalities: tuple[str, str], kept: int
) -> None:
    for name in KERNEL_CACHES:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    keep_kernels(modalities)
    assert [os.environ[name] for name in KERNEL_CACHES] == [str(kept)] * 2


def test_how_many_kernels_a_user_wants_kept_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in KERNEL_CACHES:
        monkeypatch.setenv(name, "7")
    keep_kernels(("text", "text"))
    assert [os.environ[name] for name in KERNEL_CACHES] == ["7", "7"]
