"""What is streamed to containerd: a complete OCI layout, less what it has already."""

import hashlib
import io
import json
import tarfile
from collections.abc import Collection
from pathlib import Path

import pytest

from localcluster import ociimage


def content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    """What a member of a tar holds."""
    opened = archive.extractfile(member)
    assert opened is not None
    return opened.read()


def docker_archive(
    path: Path, layers: list[bytes], tags: tuple[str, ...] = ("localhost/embedtune/x:dev",)
) -> list[str]:
    """A docker-archive as buildah writes it, with the second name of a layer as a link."""
    digests = [hashlib.sha256(layer).hexdigest() for layer in layers]
    config = json.dumps({"rootfs": {"diff_ids": [f"sha256:{d}" for d in digests]}}).encode()
    manifest = [
        {"Config": "c.json", "RepoTags": list(tags), "Layers": [f"{d}.tar" for d in digests]}
    ]
    written: set[str] = set()
    with tarfile.open(path, "w") as archive:
        for name, data in (
            *((f"{d}.tar", layer) for d, layer in zip(digests, layers, strict=True)),
            ("c.json", config),
            ("manifest.json", json.dumps(manifest).encode()),
        ):
            if name not in written:
                entry = tarfile.TarInfo(name)
                entry.size = len(data)
                archive.addfile(entry, io.BytesIO(data))
                written.add(name)
    return [f"sha256:{d}" for d in digests]


def streamed(images: list[ociimage.Image], known: Collection[str] = ()) -> dict[str, bytes]:
    out = io.BytesIO()
    ociimage.stream(images, known, out)
    out.seek(0)
    with tarfile.open(fileobj=out) as layout:
        return {m.name: content(layout, m) for m in layout.getmembers()}


def test_a_docker_archive_becomes_a_layout_whose_hashes_hold(tmp_path: Path) -> None:
    layers = [b"one" * 700, b"two" * 512]
    docker_archive(tmp_path / "a.tar", layers)
    with ociimage.opened(tmp_path / "a.tar") as images:
        files = streamed(images)
    for name, blob in files.items():
        if name.startswith("blobs/"):
            assert name == f"blobs/sha256/{hashlib.sha256(blob).hexdigest()}"
    (entry,) = json.loads(files["index.json"])["manifests"]
    assert entry["annotations"]["io.containerd.image.name"] == "localhost/embedtune/x:dev"
    manifest = json.loads(files[f"blobs/{entry['digest'].replace(':', '/')}"])
    found = [files[f"blobs/{layer['digest'].replace(':', '/')}"] for layer in manifest["layers"]]
    assert found == layers


def test_known_layers_stay_out(tmp_path: Path) -> None:
    known, new = docker_archive(tmp_path / "a.tar", [b"torch" * 999, b"code"])
    with ociimage.opened(tmp_path / "a.tar") as images:
        files = streamed(images, {known})
    assert f"blobs/{known.replace(':', '/')}" not in files
    assert f"blobs/{new.replace(':', '/')}" in files


def test_a_repeated_layer_is_written_once(tmp_path: Path) -> None:
    docker_archive(tmp_path / "a.tar", [b"same", b"same"])
    with ociimage.opened(tmp_path / "a.tar") as images:
        assert len([n for n in streamed(images) if n.startswith("blobs/")]) == 3


def test_the_same_archive_has_the_same_digest(tmp_path: Path) -> None:
    docker_archive(tmp_path / "a.tar", [b"layer"])
    docker_archive(tmp_path / "b.tar", [b"layer"])
    with ociimage.opened(tmp_path / "a.tar") as a, ociimage.opened(tmp_path / "b.tar") as b:
        assert a[0].manifest.digest == b[0].manifest.digest


@pytest.mark.parametrize("layer", [b"\x1f\x8bcompressed"])
def test_compressed_layers_are_left_to_containerd(tmp_path: Path, layer: bytes) -> None:
    docker_archive(tmp_path / "a.tar", [layer])
    with (
        pytest.raises(ociimage.UnknownArchive, match="compressed"),
        ociimage.opened(tmp_path / "a.tar"),
    ):
        pass


def test_an_image_without_a_name_is_refused(tmp_path: Path) -> None:
    docker_archive(tmp_path / "a.tar", [b"layer"], tags=())
    with (
        pytest.raises(ociimage.UnknownArchive, match="names no image"),
        ociimage.opened(tmp_path / "a.tar"),
    ):
        pass


def test_what_is_no_tar_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_text("hello")
    with (
        pytest.raises(ociimage.UnknownArchive, match="no tar"),
        ociimage.opened(tmp_path / "a.tar"),
    ):
        pass


def test_an_image_of_files_holds_each_once(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(b"binary")
    image = ociimage.from_files(
        "localhost/x:1", {"/bin/a": program, "/bin/b": program}, {}, tmp_path / "layer.tar"
    )
    with image.parts[1].open() as blob, tarfile.open(fileobj=blob) as layer:
        assert layer.getmember("bin/b").islnk()
        assert content(layer, layer.getmember("bin/b")) == b"binary"
        assert layer.getmember("tmp").mode == 0o1777
