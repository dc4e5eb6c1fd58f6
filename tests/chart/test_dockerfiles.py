"""What the Dockerfiles promise, told from their text; the images themselves are run in e2e."""

import re
from pathlib import Path

import pytest

from embedtune_operator.pod import USER_ID
from localcluster import baseimage, images

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", images.NAMES)
class TestDockerfile:
    def text(self, name: str) -> str:
        return (ROOT / name / "Dockerfile").read_text()

    def test_base_is_an_argument(self, name: str) -> None:
        text = self.text(name)
        assert "ARG BASE_IMAGE=python:3.11-slim-bookworm\nFROM ${BASE_IMAGE}\n" in text

    def test_runs_as_the_user_of_the_pods_without_a_shell(self, name: str) -> None:
        text = self.text(name)
        assert f"\nUSER {USER_ID}:{USER_ID}\n" in text
        assert text.rstrip().endswith(f'ENTRYPOINT ["python3", "-m", "embedtune_{name}"]')

    def test_hashes_are_required_of_all_that_is_installed(self, name: str) -> None:
        installs = re.findall(r"(?:pip install|pip sync)(?:.|\\\n)*?;", self.text(name))
        assert len(installs) == 2
        assert all("--require-hashes" in install for install in installs)

    def test_dependencies_lie_below_the_code(self, name: str) -> None:
        text = self.text(name)
        assert text.index(f"/opt/requirements/{name}.txt") < text.index("COPY crds/embedtune_api")

    def test_no_registry_is_named(self, name: str) -> None:
        assert not re.search(r"https?://|--index|--extra-index|trusted-host", self.text(name))

    def test_cache_mount_is_above_no_home(self, name: str) -> None:
        """buildah 1.28 empties the image where a cache's target is a parent of its own storage."""
        targets = re.findall(r"type=cache,target=(\S+)", self.text(name))
        assert targets == ["/build-cache"]


def test_mirror_is_asked_of_apt() -> None:
    assert re.fullmatch(r"https?://\S+[^/]", baseimage.debian_mirror())
