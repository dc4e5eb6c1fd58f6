"""How a model is loaded and embeds, in the words of the library that reads its folder."""

import json
from pathlib import Path
from typing import Final, Literal

Kind = Literal["sentence-transformers", "text", "image", "vector", "pair"]
"""A folder that plain sentence-transformers reads; an encoder of one modality that embedtune reads;
two of them."""

_OPEN: Final = "from embedtune_trainer.embedder.load import open_model"
_TABLE: Final = "from embedtune_trainer.rows.table import"
_TEXTS: Final = '["a text", "another text"]'
_ITEMS: Final[dict[Kind, tuple[str, str, str]]] = {
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
    if (folder / "modules.json").exists():
        return "sentence-transformers"
    if (folder / "pair.json").exists():
        return "pair"
    settings = json.loads((folder / "embedtune.json").read_text(encoding="utf-8"))
    modality: Kind = settings["modality"]
    return modality


def loading(folder: str, kind: Kind) -> list[str]:
    """Lines of Python that load a model from where it lies, the import first."""
    if kind == "sentence-transformers":
        imports = "from sentence_transformers import SentenceTransformer"
        return [imports, f'model = SentenceTransformer("{folder}")']
    if kind == "pair":
        return [
            _OPEN,
            f'text_model = open_model("{folder}/text")',
            f'image_model = open_model("{folder}/image")',
        ]
    return [_OPEN, f'model = open_model("{folder}")']


def using(folder: str, kind: Kind) -> str:
    """Python that loads a model and embeds with it."""
    imports, *load = loading(folder, kind)
    if kind == "sentence-transformers":
        embed = [f"embeddings = model.encode({_TEXTS})"]
    elif kind == "pair":
        (_, texts, some_texts), (first, images, some_images) = _ITEMS["text"], _ITEMS["image"]
        imports = f"{first}{imports}\n{_TABLE} {images}, {texts}"
        embed = [
            f"texts_ND = text_model.encode({some_texts})",
            f"images_MD = image_model.encode({some_images})",
            "similarities_NM = texts_ND @ images_MD.T",
        ]
    else:
        first, name, some = _ITEMS[kind]
        imports = f"{first}{imports}\n{_TABLE} {name}"
        embed = [f"embeddings = model.encode({some})"]
    return "\n".join([imports, "", *load, *embed])
