"""Run with docarray 0.41: writes DocLists as it saves them. Argument: a folder."""

import sys
from pathlib import Path

import numpy as np
from docarray import BaseDoc, DocList
from docarray.documents import ImageDoc, TextDoc
from docarray.typing import NdArray

PNG = b"\x89PNG\r\n\x1a\n"
COMPRESSIONS = ("lz4", "bz2", "lzma", "zlib", "gzip")
folder = Path(sys.argv[1])


class Labelled(BaseDoc):
    text: str
    label: str
    note: str | None = None


class Pair(BaseDoc):
    anchor: TextDoc
    positive: TextDoc
    score: float


class Captioned(BaseDoc):
    caption: str
    image: ImageDoc


class Vector(BaseDoc):
    vector: NdArray
    finetuner_label: int


def both(name: str, documents: DocList) -> None:
    documents.save_binary(f"{folder}/{name}.protobuf", protocol="protobuf")
    documents.save_binary(f"{folder}/{name}.protobuf-array", protocol="protobuf-array")
    (folder / f"{name}.json").write_text(documents.to_json(), encoding="utf-8")


labelled = DocList[Labelled](
    Labelled(text=text, label=label)
    for text, label in (
        ('a "quoted" text,\nof two lines', "1"),
        ("ein Käse", "0"),
        ("third", "12"),
        ("fourth", " spaced "),
    )
)
both("labelled", labelled)
for protocol in ("protobuf", "protobuf-array"):
    for compression in COMPRESSIONS:
        labelled.save_binary(
            f"{folder}/labelled.{protocol}.{compression}", protocol=protocol, compress=compression
        )
labelled.save_binary(f"{folder}/labelled.pickle", protocol="pickle")
texts = [("a", "b", 0.0), ("c", "d", 0.25), ("e", "f", 1.0)]
both(
    "scored",
    DocList[Pair](
        Pair(anchor=TextDoc(text=left), positive=TextDoc(text=right), score=score)
        for left, right, score in texts
    ),
)
pixels = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
both(
    "text-image",
    DocList[Captioned](
        [
            Captioned(caption="a cat", image=ImageDoc(url="cat.png")),
            Captioned(caption="pixels", image=ImageDoc(tensor=pixels)),
        ]
    ),
)
bytes_ = DocList[Captioned]([Captioned(caption="a dog", image=ImageDoc(bytes_=PNG))])
bytes_.save_binary(f"{folder}/bytes.protobuf", protocol="protobuf")
both(
    "vectors",
    DocList[Vector](
        Vector(vector=np.array([n, 0.5, -n], dtype=dtype), finetuner_label=n)
        for n, dtype in ((1, "float32"), (2, "float64"))
    ),
)
