"""Run with docarray 0.21: writes DocumentArrays as it saves them. Argument: a folder."""

import sys
from pathlib import Path

import numpy as np
from docarray import Document, DocumentArray

PNG = b"\x89PNG\r\n\x1a\n"
COMPRESSIONS = ("lz4", "bz2", "lzma", "zlib", "gzip")

folder = Path(sys.argv[1])
labelled = DocumentArray(
    Document(text=text, tags={"finetuner_label": label})
    for text, label in (
        ('a "quoted" text,\nof two lines', 1),
        ("ein Käse", 0),
        ("third", 12),
        ("fourth", " spaced "),
    )
)
for protocol in ("protobuf", "protobuf-array", "pickle", "pickle-array"):
    labelled.save_binary(f"{folder}/labelled.{protocol}")
    for compression in COMPRESSIONS:
        labelled.save_binary(f"{folder}/labelled.{protocol}.{compression}")
labelled.save_json(f"{folder}/labelled.json")
labelled.save_json(f"{folder}/labelled-protobuf.json", protocol="protobuf")
labelled.save_csv(f"{folder}/labelled.csv")


def both(name: str, documents: DocumentArray) -> None:
    documents.save_binary(f"{folder}/{name}.protobuf")
    documents.save_json(f"{folder}/{name}.json")


def pair(left: Document, right: Document, **tags: object) -> Document:
    return Document(chunks=[left, right], tags=tags)


texts = [("a", "b", 0.0), ("c", "d", 0.25), ("e", "f", 1.0)]
scored = DocumentArray(
    pair(Document(text=left), Document(text=right), finetuner_score=score)
    for left, right, score in texts
)
both("scored", scored)
both(
    "pairs",
    DocumentArray(pair(Document(text=left), Document(text=right)) for left, right, _ in texts),
)
text, image = {"modality": "text"}, {"modality": "image"}
both(
    "text-image",
    DocumentArray(
        [
            pair(Document(text="a cat", **text), Document(uri="cat.png", **image)),
            pair(Document(blob=PNG, **image), Document(text="a dog", **text)),
        ]
    ),
)
pixels = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
both(
    "images",
    DocumentArray(
        [
            Document(uri="cat.png", tags={"finetuner_label": "cat"}),
            Document(blob=PNG, uri="gone.png", tags={"finetuner_label": "dog"}),
            Document(tensor=pixels, tags={"finetuner_label": "cat"}),
        ]
    ),
)
both(
    "vectors",
    DocumentArray(
        Document(tensor=np.array([n, 0.5, -n], dtype=dtype), tags={"finetuner_label": str(n)})
        for n, dtype in ((1, "float32"), (2, "float64"))
    ),
)
mixed = DocumentArray([*labelled[:1], scored[0]])
mixed.save_binary(f"{folder}/mixed.protobuf")
both("modalities", DocumentArray([pair(Document(text="a", **text), Document(text="b", **text))]))
