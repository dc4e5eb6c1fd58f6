"""Cells that are images: bytes, data: URIs, paths beside the data file, s3:// and https://."""

import base64
import binascii
import hashlib
import io
import os
import posixpath
import re
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Final
from urllib.parse import urlsplit

import numpy as np

from embedtune_trainer.errors import (
    BadData,
    BadSpec,
    SourceNotFound,
    StorageUnavailable,
    TrainerError,
)
from embedtune_trainer.rows.cells import Blank, Unfit, kind_of
from embedtune_trainer.rows.columns.pictures import FileSlice, Image
from embedtune_trainer.rows.messages import shown
from embedtune_trainer.rows.records import Cell
from embedtune_trainer.sources.storage import Store, file_path
from embedtune_trainer.sources.web import Web

IMAGE_ENDINGS: Final = frozenset(
    (
        *(".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm"),
        *(".avif", ".jp2"),
    )
)
_DATA_URI: Final = re.compile(r"data:image/[\w.+-]+;base64,", re.IGNORECASE)
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_REMOTE: Final = ("s3", "http", "https")
THREADS: Final = 8


class ImageFetcher:
    """Downloads images into a folder, each URI once, several at a time."""

    def __init__(
        self, folder: Path, store: Store, web: Web | None = None, threads: int = THREADS
    ) -> None:
        """`store` is for s3://, `web` for https://; the folder is made when it is needed."""
        self._parent = folder
        self._store = store
        self._web = web or Web()
        self._threads = threads
        self._failed: dict[str, TrainerError] = {}
        self._kept: dict[bytes, int] = {}

    @cached_property
    def _folder(self) -> Path:
        """A new one, so that a file in it is one that has been fetched here."""
        self._parent.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix="fetched-", dir=self._parent))

    def fetch(self, uris: Iterable[str]) -> dict[str, Path | TrainerError]:
        """Files by URI, or why one cannot be had.

        Raises:
            AccessDenied: the store refuses the credentials.
            Interrupted: told to stop.
        """
        wanted = sorted(set(uris))
        if not wanted:
            return {}
        folder = self._folder  # made before the threads begin
        with ThreadPoolExecutor(self._threads) as pool:
            try:
                got = pool.map(lambda uri: self._one(uri, folder), wanted)
                found = dict(zip(wanted, got, strict=True))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        self._failed |= {u: why for u, why in found.items() if isinstance(why, TrainerError)}
        return found

    def keep(self, data: bytes) -> FileSlice:
        """Put an image's bytes into a file, so that they need not stay in memory; equal ones once.

        Not for several threads.
        """
        path = self._folder / "embedded-images"
        digest = hashlib.blake2b(data, digest_size=16).digest()
        if digest not in self._kept:
            with path.open("ab") as stream:
                self._kept[digest] = stream.tell()
                stream.write(data)
        return FileSlice(path, self._kept[digest], len(data))

    def _one(self, uri: str, folder: Path) -> Path | TrainerError:
        if uri in self._failed:
            return self._failed[uri]
        name = hashlib.sha256(uri.encode()).hexdigest()[:40]
        target = folder / name[:2] / name
        if target.exists():
            return target
        try:
            if uri.startswith("s3://"):
                return self._store.fetch_file(uri, target)
            return self._web.fetch_file(uri, target)
        except (SourceNotFound, StorageUnavailable, BadData, BadSpec) as error:
            return error


class ImageReader:
    """Cells of one data file to images."""

    def __init__(self, base: Path, source: str | None, fetch: ImageFetcher | None) -> None:
        """Relative paths start at the folder `base`, or, where source is s3://, beside it there."""
        self._base = base
        from_s3 = source is not None and source.startswith("s3://")
        self._beside = f"{source}".rpartition("/")[0] + "/" if from_s3 else None
        self._fetch = fetch
        self._fetched: dict[str, Path | TrainerError] = {}

    def prepare(self, cells: Iterable[Cell]) -> None:
        """Download what is remote; what cannot be had is told when its cell is read."""
        if self._fetch is not None:
            remote = (self._remote(cell) for cell in cells if isinstance(cell, str))
            self._fetched = self._fetch.fetch(uri for uri in remote if uri is not None)

    def keep(self, data: bytes) -> bytes | FileSlice:
        """An image's bytes, out of memory if there is a place for them."""
        return self._fetch.keep(data) if self._fetch is not None and data else data

    def looks_like_image(self, cell: Cell) -> bool:
        """Whether it names an image: by its ending, as a data: URI of one, or as a file there."""
        if not isinstance(cell, str):
            return cell is not None
        value = cell.strip()
        if _DATA_URI.match(value):
            return True
        path = urlsplit(value).path if _SCHEME.match(value) else value
        if PurePosixPath(path).suffix.lower() in IMAGE_ENDINGS:
            return True
        return _is_file(self._base / value)

    def __call__(self, cell: Cell) -> Image:
        """One cell's image.

        Raises:
            Unfit: it is none, or is not there.
        """
        if isinstance(cell, Path | FileSlice):
            return cell
        if cell is None or (isinstance(cell, str | bytes) and not cell.strip()):
            raise Blank
        if isinstance(cell, bytes):
            return self.keep(cell)
        if isinstance(cell, np.ndarray):
            return self.keep(_png(cell))
        if not isinstance(cell, str):
            raise Unfit(f"{kind_of(cell)} where an image is wanted: a path, a URL or bytes")
        return self._from_text(cell.strip())

    def _from_text(self, value: str) -> Image:
        if value.startswith("data:"):
            return self.keep(_decoded(value))
        if uri := self._remote(value):
            return self._downloaded(uri, value)
        scheme = _SCHEME.match(value)
        if scheme and scheme[1] != "file":
            raise Unfit(f"{shown(value)}: images come from file, {', '.join(_REMOTE)}")
        try:
            path = file_path(value) if scheme else self._base / value
        except BadSpec as error:
            raise Unfit(str(error)) from None
        if not _is_file(path):
            raise Unfit(
                f"there is no image {path}; paths start at the data file's own folder, and the cell"
                f" holds {shown(value)}"
            )
        return path

    def _remote(self, value: str) -> str | None:
        """The URI to download, if it is not a local file or in the cell."""
        value = value.strip()
        scheme = _SCHEME.match(value)
        if scheme:
            return value if scheme[1].lower() in _REMOTE else None
        if self._beside is None or not value or value.startswith(("/", "data:")):
            return None
        bucket, _, folder = self._beside.removeprefix("s3://").partition("/")
        key = posixpath.normpath(posixpath.join(folder, value))
        return None if key.startswith("..") else f"s3://{bucket}/{key}"

    def _downloaded(self, uri: str, value: str) -> Path:
        got = self._fetched.get(uri)
        if got is None:
            raise Unfit(f"{shown(value)} is not on this machine, and nothing is downloaded here")
        if isinstance(got, TrainerError):
            kind = type(got) if isinstance(got, StorageUnavailable) else BadData
            raise Unfit(f"the image cannot be had: {got}", kind)
        return got


def _decoded(value: str) -> bytes:
    found = _DATA_URI.match(value)
    try:
        data = base64.b64decode(value[found.end() :], validate=True) if found else b""
    except binascii.Error:
        data = b""
    if not data:
        raise Unfit(f"{shown(value)} is no image; such a cell begins with data:image/png;base64,")
    return data


def _png(pixels: np.ndarray) -> bytes:
    """An array of pixels as a file."""
    from PIL import Image as Pillow

    grey = pixels.ndim == 2
    if pixels.dtype != np.uint8 or not (grey or (pixels.ndim == 3 and pixels.shape[2] in (3, 4))):
        raise Unfit(
            f"an array of {pixels.dtype} with the shape {pixels.shape} is no image; give uint8 of"
            " (height, width, 3)"
        )
    stream = io.BytesIO()
    Pillow.fromarray(pixels).save(stream, format="png")
    return stream.getvalue()


def _is_file(path: Path) -> bool:
    try:
        return os.path.isfile(path)
    except (OSError, ValueError):
        return False
