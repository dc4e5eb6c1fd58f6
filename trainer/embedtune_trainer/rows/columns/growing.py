"""An array that is appended to: in memory while it is small, then in a file that is mapped."""

import errno
import mmap
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from embedtune_trainer.errors import BadSpec

IN_MEMORY_BYTES: Final = 16 * 2**20
"""What one array may take of the memory; beyond, it lies in a file."""
Scalar = TypeVar("Scalar", bound=np.generic)


class Growing(Generic[Scalar]):
    """One array, from its first part to its last.

    The file has no name, so nothing is left of it when the array is gone.
    """

    def __init__(self, dtype: type[Scalar], scratch: Path | None = None) -> None:
        """The file, where one is needed, lies in `scratch`, or where the system keeps such."""
        self._dtype = np.dtype(dtype)
        self._scratch = scratch
        self._parts: list[bytes] = []
        self._bytes_here = 0
        self._file: Any = None
        self.count = 0

    def __len__(self) -> int:
        return self.count

    def extend(self, values: NDArray[Any] | Iterable[Any]) -> None:
        """Append numbers, in their order.

        Raises:
            BadSpec: there is no room for the file.
        """
        array = values if isinstance(values, np.ndarray) else np.asarray(list(values))
        self.append_bytes(array.astype(self._dtype, copy=False).tobytes())

    def append_bytes(self, data: bytes) -> None:
        """Append what is bytes already; see extend."""
        self._parts.append(data)
        self._bytes_here += len(data)
        self.count += len(data) // self._dtype.itemsize
        if self._bytes_here > IN_MEMORY_BYTES:
            self._write()

    def finish(self) -> NDArray[Scalar]:
        """All of it, read-only; nothing can be appended any more."""
        if self._file is None:
            return np.frombuffer(b"".join(self._parts), dtype=self._dtype)
        self._write()
        with self._file as file:
            file.flush()
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return np.frombuffer(mapped, dtype=self._dtype)

    def _write(self) -> None:
        try:
            if self._file is None:
                if self._scratch is not None:
                    self._scratch.mkdir(parents=True, exist_ok=True)
                self._file = tempfile.TemporaryFile(dir=self._scratch)  # noqa: SIM115  kept open
            self._file.writelines(self._parts)
            self._file.flush()
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
            raise BadSpec(
                f"no room for the rows in {self._scratch or tempfile.gettempdir()}"
                f" ({error.strerror}): give the work directory more, or set a dataset's limit"
            ) from None
        self._parts.clear()
        self._bytes_here = 0
