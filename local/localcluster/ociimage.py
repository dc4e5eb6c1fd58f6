"""Images as containerd imports them: described as an OCI layout, streamed as one tar.

Two things are turned into that: the files of a small image that `up` makes itself (the sandbox,
CoreDNS, MinIO), and the docker-archive or OCI folder that buildah writes. Layers that containerd
has already are left out of the stream, so that a new code layer on five gigabytes of torch is
imported in a second.
"""

import hashlib
import io
import json
import platform
import shutil
import tarfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

_MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
_CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
_LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
_COPY_BYTES = 1 << 20
_NAME = "io.containerd.image.name"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


class UnknownArchive(Exception):
    """A file that is no image archive of the kinds that are understood here."""


@dataclass(frozen=True)
class Blob:
    """A piece of content.

    Attributes:
        media_type: what it is.
        digest: "sha256:" and its hash.
        size_bytes: its length.
        open: opens it for reading.
    """

    media_type: str
    digest: str
    size_bytes: int
    open: Callable[[], IO[bytes]]

    def descriptor(self) -> dict[str, Any]:
        """How OCI manifests refer to it."""
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size_bytes}


@dataclass(frozen=True)
class Image:
    """An image under one name.

    Attributes:
        name: its full reference, such as localhost/embedtune/trainer:dev.
        manifest: what the name stands for.
        parts: its config and layers.
    """

    name: str
    manifest: Blob
    parts: tuple[Blob, ...]


def in_memory(media_type: str, content: bytes) -> Blob:
    """A blob of bytes that are at hand."""
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    return Blob(media_type, digest, len(content), lambda: io.BytesIO(content))


def from_files(
    name: str, files: Mapping[str, Path], config: Mapping[str, Any], scratch: Path
) -> Image:
    """An image with one layer that holds these files, all of them executable, and /tmp.

    Args:
        name: its full reference.
        files: where each file lies on this machine, by its path in the image.
        config: the OCI config's `config`: Entrypoint, Cmd, User.
        scratch: where the layer is written.
    """
    folders = sorted({str(p) for target in files for p in Path(target).parents} - {"/", "."})
    with tarfile.open(scratch, "w") as layer:
        for folder in (*folders, "/tmp"):
            entry = tarfile.TarInfo(folder.lstrip("/"))
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if folder == "/tmp" else 0o755
            layer.addfile(entry)
        first: dict[Path, str] = {}
        for target, source in files.items():
            entry = tarfile.TarInfo(target.lstrip("/"))
            entry.mode = 0o755
            if source in first:
                entry.type, entry.linkname = tarfile.LNKTYPE, first[source]
                layer.addfile(entry)
                continue
            first[source] = entry.name
            entry.size = source.stat().st_size
            with source.open("rb") as content:
                layer.addfile(entry, content)
    with scratch.open("rb") as written:
        digest = f"sha256:{hashlib.file_digest(written, 'sha256').hexdigest()}"
    blob = Blob(_LAYER_TYPE, digest, scratch.stat().st_size, lambda: scratch.open("rb"))
    described = {
        "architecture": _ARCHITECTURES.get(platform.machine(), platform.machine()),
        "os": "linux",
        "config": dict(config),
        "rootfs": {"type": "layers", "diff_ids": [digest]},
    }
    return _image(name, in_memory(_CONFIG_TYPE, json.dumps(described).encode()), (blob,))


@contextmanager
def opened(path: Path) -> Iterator[list[Image]]:
    """The images in a docker-archive (uncompressed layers) or an OCI layout folder.

    Raises:
        UnknownArchive: it is neither; `ctr images import` may still understand it.
    """
    if path.is_dir():
        yield _oci_folder(path)
        return
    if not tarfile.is_tarfile(path):
        raise UnknownArchive(f"{path} is no tar archive")
    with tarfile.open(path) as archive:
        yield _docker_archive(archive)


def stream(images: Collection[Image], known: Collection[str], target: IO[bytes]) -> None:
    """Writes an OCI layout as a tar, without the blobs whose digests are known already."""
    index = {
        "schemaVersion": 2,
        "manifests": [
            {**image.manifest.descriptor(), "annotations": {_NAME: image.name}} for image in images
        ],
    }
    _add(target, "oci-layout", in_memory("", b'{"imageLayoutVersion": "1.0.0"}'))
    written = set(known)
    for image in images:
        for blob in (*image.parts, image.manifest):
            # The manifest always goes along: importing walks down from it.
            if blob is image.manifest or blob.digest not in written:
                _add(target, f"blobs/{blob.digest.replace(':', '/')}", blob)
                written.add(blob.digest)
    _add(target, "index.json", in_memory("", json.dumps(index).encode()))
    target.write(bytes(2 * tarfile.BLOCKSIZE))


def _add(target: IO[bytes], name: str, blob: Blob) -> None:
    """Writes one tar entry; tarfile's own stream copies in small pieces, and slowly."""
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = blob.size_bytes, 0o644
    target.write(entry.tobuf())
    with blob.open() as content:
        shutil.copyfileobj(content, target, _COPY_BYTES)
    target.write(bytes(-blob.size_bytes % tarfile.BLOCKSIZE))


def _image(name: str, config: Blob, layers: tuple[Blob, ...]) -> Image:
    manifest = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST_TYPE,
        "config": config.descriptor(),
        "layers": [layer.descriptor() for layer in layers],
    }
    return Image(name, in_memory(_MANIFEST_TYPE, json.dumps(manifest).encode()), (config, *layers))


def _docker_archive(archive: tarfile.TarFile) -> list[Image]:
    try:
        contents = json.loads(_read(archive, "manifest.json"))
    except KeyError as error:
        raise UnknownArchive(f"{archive.name!r} has no manifest.json") from error
    images = []
    for entry in contents:
        config = _read(archive, entry["Config"])
        digests = json.loads(config)["rootfs"]["diff_ids"]
        layers = tuple(
            _tar_member(archive, member, digest)
            for member, digest in zip(entry["Layers"], digests, strict=True)
        )
        images += [
            _image(tag, in_memory(_CONFIG_TYPE, config), layers) for tag in entry["RepoTags"] or []
        ]
    if not images:
        raise UnknownArchive(f"{archive.name!r} names no image; push it with a tag")
    return images


def _tar_member(archive: tarfile.TarFile, name: str, digest: str) -> Blob:
    member = archive.getmember(name)
    while member.issym() or member.islnk():  # a layer that occurs twice is a link
        member = archive.getmember(_link_target(member))
    if _content(archive, member).read(2) == b"\x1f\x8b":
        raise UnknownArchive(f"{archive.name!r} has compressed layers")
    return Blob(_LAYER_TYPE, digest, member.size, lambda: _content(archive, member))


def _link_target(member: tarfile.TarInfo) -> str:
    if member.islnk():
        return member.linkname
    parts: list[str] = []
    for part in (*member.name.split("/")[:-1], *member.linkname.split("/")):
        parts = parts[:-1] if part == ".." else [*parts, part]
    return "/".join(parts)


def _read(archive: tarfile.TarFile, name: str) -> bytes:
    return _content(archive, archive.getmember(name)).read()


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    content = archive.extractfile(member)
    if content is None:
        raise UnknownArchive(f"{member.name} in {archive.name!r} is no file")
    return content


def _oci_folder(path: Path) -> list[Image]:
    def blob(descriptor: Mapping[str, Any]) -> Blob:
        where = path / "blobs" / str(descriptor["digest"]).replace(":", "/")
        return Blob(
            str(descriptor["mediaType"]),
            str(descriptor["digest"]),
            int(descriptor["size"]),
            lambda: where.open("rb"),
        )

    try:
        index = json.loads((path / "index.json").read_text())
    except OSError as error:
        raise UnknownArchive(f"{path} has no index.json") from error
    images = []
    for entry in index["manifests"]:
        notes = entry.get("annotations", {})
        name = notes.get(_NAME) or notes.get("org.opencontainers.image.ref.name")
        if not name:
            raise UnknownArchive(f"{path}/index.json names no image; push it with a tag")
        manifest = blob(entry)
        with manifest.open() as content:
            parts = json.load(content)
        blobs = (blob(parts["config"]), *(blob(layer) for layer in parts["layers"]))
        images.append(Image(str(name), manifest, blobs))
    return images
