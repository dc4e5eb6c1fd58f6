"""How a model is loaded and embeds, in the words of the library that reads its folder."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

Items = Literal["text", "image", "vector", "pair"]
"""What a model embeds; a pair is one of texts and images."""


@dataclass(frozen=True)
class Kind:
    """A saved model.

    Attributes:
        items: what it embeds.
        plain: whether plain sentence-transformers reads its folder; embedtune reads all.
    """

    items: Items
    plain: bool = False


PLAIN_TEXT: Final = Kind("text", plain=True)
_OPEN: Final = "from embedtune_trainer.embedder.load import open_model"
_TABLE: Final = "from embedtune_trainer.rows.table import"
_PLAIN: Final = "from sentence_transformers import SentenceTransformer"
_PIL: Final = "from PIL import Image\n"
_TEXTS: Final = '["a text", "another text"]'
_OPENED: Final = '[Image.open("one.jpg"), Image.open("two.jpg")]'
_ITEMS: Final[dict[Items, tuple[str, str, str]]] = {
    "text": ("", "Texts", f"Texts({_TEXTS})"),
    "image": (
        "from pathlib import Path\n",
        "Images",
        'Images([Path("one.jpg"), Path("two.jpg")], ["one", "two"])',
    ),
    "vector": ("import numpy as np\n", "Vectors", 'Vectors(np.load("rows.npy"))'),
}
"""What is imported besides, the class of the items, and some of them."""


def kind_of(folder: Path) -> Kind:
    """What lies in a model's folder."""
    plain = (folder / "modules.json").exists()
    if (folder / "pair.json").exists():
        return Kind("pair", plain)
    own = folder / "embedtune.json"
    return Kind(json.loads(own.read_text("utf-8"))["modality"] if own.exists() else "text", plain)


def loading(folder: str, kind: Kind) -> list[str]:
    """Lines of Python that load a model from where it lies, the import first."""
    if kind.plain:
        return [_PLAIN, f'model = SentenceTransformer("{folder}")']
    if kind.items == "pair":
        return [
            _OPEN,
            f'text_model = open_model("{folder}/text")',
            f'image_model = open_model("{folder}/image")',
        ]
    return [_OPEN, f'model = open_model("{folder}")']


def using(folder: str, kind: Kind) -> str:
    """Python that loads a model and embeds with it."""
    imports, *load = loading(folder, kind)
    if kind.plain:
        more, embed = _plainly(kind.items)
    elif kind.items == "pair":
        (_, texts, some_texts), (more, images, some_images) = _ITEMS["text"], _ITEMS["image"]
        imports = f"{imports}\n{_TABLE} {images}, {texts}"
        embed = [
            f"texts_ND = text_model.encode({some_texts})",
            f"images_MD = image_model.encode({some_images})",
            "similarities_NM = texts_ND @ images_MD.T",
        ]
    else:
        more, name, some = _ITEMS[kind.items]
        imports = f"{imports}\n{_TABLE} {name}"
        embed = [f"embeddings = model.encode({some})"]
    return "\n".join([f"{more}{imports}", "", *load, *embed])


def _plainly(items: Items) -> tuple[str, list[str]]:
    """Imports, and the lines that embed with sentence-transformers."""
    if items == "text":
        return "", [f"embeddings = model.encode({_TEXTS})"]
    if items == "image":
        return _PIL, [f"embeddings = model.encode({_OPENED})"]
    return _PIL, [
        f"texts_ND = model.encode({_TEXTS})",
        f"images_MD = model.encode({_OPENED})",
        "similarities_NM = model.similarity(texts_ND, images_MD)",
    ]
