"""Which items are the same, in 16 bytes an item.

An item's identity is the BLAKE2b digest of what it is: a text's UTF-8, a vector's numbers, an
image's encoded bytes, wherever they lie. Two different items with one digest of 128 bits are not
to be met: among a milliard of items the odds are below 1e-20.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from typing import Final

import numpy as np
from numpy.typing import NDArray

from embedtune_trainer.errors import BadData
from embedtune_trainer.rows.columns.column import AT_ONCE, Indices
from embedtune_trainer.rows.columns.pictures import FileSlice, Image, PackedImages

Identities = NDArray[np.uint64]
"""(N, 2), equal rows for equal items."""
Bytes = bytes | memoryview
THREADS: Final = 8
DIGEST_BYTES: Final = 16


def digests(count: int, many: Callable[[int, int], Iterable[Bytes]]) -> Identities:
    """(count, 2) digests; `many` gives the items from one number up to another."""
    out_N2 = np.empty((count, 2), np.uint64)
    for begin in range(0, count, AT_ONCE):
        end = min(begin + AT_ONCE, count)
        out_N2[begin:end] = _pairs([_digest(part) for part in many(begin, end)])
    return out_N2


def digests_of_images(images: PackedImages, names: Sequence[str]) -> Identities:
    """(N, 2) digests of the encoded images; what lies in one place is read once.

    Raises:
        BadData: one of them cannot be read; `names` is what messages call them.
    """
    (place_N,), count = numbered(digests(len(images), lambda a, b: map(_place, images.many(a, b))))
    _, first_U = np.unique(place_N, return_index=True)
    read_U2 = np.empty((count, 2), np.uint64)
    with ThreadPoolExecutor(THREADS, thread_name_prefix="digest") as pool:
        for begin in range(0, count, AT_ONCE):
            rows = first_U[begin : begin + AT_ONCE].tolist()
            found = pool.map(lambda i: _digest_of_image(images[i], names, i), rows)
            read_U2[begin : begin + AT_ONCE] = _pairs(list(found))
    return read_U2[place_N]


def numbered(*columns: Identities) -> tuple[list[Indices], int]:
    """Items by number, the same number for the same item wherever it stands.

    Numbers go from 0 in the order in which the items first come, the columns one after the other.

    Returns:
        (N,) numbers a column, and how many different items there are.
    """
    all_N2 = np.concatenate(columns) if len(columns) > 1 else columns[0]
    order_N = np.lexsort((all_N2[:, 1], all_N2[:, 0]))
    sorted_N2 = all_N2[order_N]
    new_N = np.ones(len(order_N), dtype=bool)
    new_N[1:] = (sorted_N2[1:] != sorted_N2[:-1]).any(1)
    first_U = order_N[new_N]  # lexsort keeps the order of equals
    number_U = np.empty(len(first_U), np.int64)
    number_U[np.argsort(first_U)] = np.arange(len(first_U))
    numbers_N = np.empty(len(order_N), np.int64)
    numbers_N[order_N] = number_U[np.cumsum(new_N) - 1]
    return np.split(numbers_N, np.cumsum([len(column) for column in columns[:-1]])), len(first_U)


def shared(left: Identities, right: Identities) -> int:
    """How many different items stand on both sides."""
    (left_N, right_N), _ = numbered(left, right)
    return len(np.intersect1d(left_N, right_N))


def _digest(data: Bytes) -> bytes:
    return blake2b(data, digest_size=DIGEST_BYTES).digest()


def _pairs(found: list[bytes]) -> Identities:
    return np.frombuffer(b"".join(found), np.uint64).reshape(-1, 2)


def _place(image: Image) -> bytes:
    if isinstance(image, bytes):
        return image
    if isinstance(image, FileSlice):
        return b"%d %d %s" % (image.offset, image.size, os.fsencode(image.path))
    return b"file " + os.fsencode(image)


def _digest_of_image(image: Image, names: Sequence[str], index: int) -> bytes:
    try:
        if isinstance(image, bytes):
            return _digest(image)
        if isinstance(image, FileSlice):
            with image.path.open("rb") as stream:
                stream.seek(image.offset)
                return _digest(stream.read(image.size))
        return _digest(image.read_bytes())
    except OSError as error:
        raise BadData(f"{names[index]}: the image cannot be read: {error.strerror}") from None
