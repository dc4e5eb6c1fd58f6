"""The cache of built tools: keyed by what decides the binary, and never built twice."""

import dataclasses
import shutil
from pathlib import Path

import pytest

from localcluster import tools
from localcluster.tools import MODULES, Module, existing, owner


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Module:
    shutil.copytree(owner("helm").directory, tmp_path / "helm")
    monkeypatch.setattr(tools, "GO_DIR", tmp_path)
    return Module("helm", {"helm": "helm.sh/helm/v3/cmd/helm"})


@pytest.mark.parametrize("file", ["go.mod", "go.sum"])
def test_the_key_changes_with_the_module_files(module: Module, file: str) -> None:
    before = module.cache_key()
    path = module.directory / file
    path.write_text(path.read_text() + "\n// changed\n")
    assert module.cache_key() != before


def test_the_key_changes_with_the_flags(module: Module) -> None:
    assert dataclasses.replace(module, ldflags="-s").cache_key() != module.cache_key()


def test_the_key_is_the_same_again(module: Module) -> None:
    assert module.cache_key() == module.cache_key()


def test_kubebuilder_assets_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "etcd").write_text("#!/bin/sh\n")
    (tmp_path / "etcd").chmod(0o755)
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert existing("etcd") == tmp_path / "etcd"
    assert existing("kubectl") is None


def test_an_unknown_tool_is_named() -> None:
    with pytest.raises(ValueError, match=r"no tool is called 'docker'; there are .*kubectl"):
        owner("docker")


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.name)
def test_every_tool_is_pinned_by_its_go_mod(module: Module) -> None:
    go_mod = (module.directory / "go.mod").read_text()
    assert all(package in go_mod for package in module.packages.values())
    assert (module.directory / "go.sum").exists()
