"""The encoding of files of text: named by the spec, and what is said where it is another."""

import codecs
from collections.abc import Iterator
from io import TextIOWrapper
from pathlib import Path
from typing import Final

from embedtune_api.spec import Dataset
from embedtune_trainer.errors import BadData, BadSpec
from embedtune_trainer.rows.formats.compressed import opened

CHUNK_BYTES: Final = 2**20


class Encoding:
    """How the bytes of a data set's files are text."""

    def __init__(self, dataset: Dataset, field: str) -> None:
        """`field` is the dataset's path in the spec, for messages.

        Raises:
            BadSpec: there is no such encoding.
        """
        self._given = dataset.csv.encoding
        self._field = f"{field}.csv.encoding"
        try:
            codec = codecs.lookup(self._given)
        except LookupError:
            raise BadSpec(
                f"{self._field}: {self._given!r} is not a known encoding, such as latin-1"
            ) from None
        if not codec._is_text_encoding:
            raise BadSpec(
                f"{self._field}: {self._given!r} is not an encoding of text, such as latin-1"
            )
        self._name = "utf-8-sig" if codec.name == "utf-8" else self._given

    def lines(self, file: Path, called: str) -> Iterator[str]:
        """The file's lines with their ends, whichever they are.

        Raises:
            BadData: bytes are not in the encoding, or there is a NUL.
        """
        with opened(file, called) as stream:
            text = TextIOWrapper(stream, encoding=self._name, newline="")
            number = 0
            try:
                for line in text:
                    number += 1
                    if "\0" in line:
                        raise BadData(
                            f"{called}: line {number}: holds a NUL character, so this is not a"
                            f" text file in {self._given}; set {self._field} (utf-16 has many NULs)"
                        )
                    yield line
            except UnicodeError as error:
                raise self._undecodable(file, called, error) from None
            finally:
                text.detach()  # else it would close what `opened` closes

    def _undecodable(self, file: Path, called: str, error: UnicodeError) -> BadData:
        """Where it is, found by decoding again: the text stream does not tell."""
        decoder = codecs.getincrementaldecoder(self._name)()
        lines = done = 0
        with opened(file, called) as stream:
            data = b"-"
            while data:
                data = stream.read(CHUNK_BYTES)
                pending = decoder.getstate()[0]
                try:
                    decoder.decode(data, final=not data)
                except UnicodeDecodeError as wrong:
                    # what a codec counts from begins behind a BOM, and with what was pending
                    whole = pending + data
                    start = wrong.start + len(whole) - len(wrong.object)
                    lines += whole.count(10, len(pending), start)
                    return BadData(
                        f"{called}: line {lines + 1}, byte {done - len(pending) + start}:"
                        f" {whole[start : start + 1]!r} is not {self._given}; save the file as"
                        f" utf-8, or set {self._field} to what it is, for example cp1252"
                    )
                except UnicodeError:
                    break
                done += len(data)
                lines += data.count(10)
        return BadData(f"{called}: is not {self._given} ({error}); set {self._field}")
