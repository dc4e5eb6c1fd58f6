"""How a model is loaded, in the words of the library that reads its folder."""

from pathlib import Path


def is_sentence_transformers(folder: Path) -> bool:
    """Whether plain sentence-transformers reads the model; else embedtune does."""
    return (folder / "modules.json").exists()


def loading(folder: str, *, sentence_transformers: bool) -> list[str]:
    """Lines of Python that load a model from where it lies."""
    if sentence_transformers:
        return [
            "from sentence_transformers import SentenceTransformer",
            f'model = SentenceTransformer("{folder}")',
        ]
    return [
        "from pathlib import Path",
        "from embedtune_trainer.embedder.reload import load_saved",
        f'model = load_saved(Path("{folder}"))',
    ]


def embedding(*, sentence_transformers: bool) -> str:
    """A line of Python that embeds something with it."""
    if sentence_transformers:
        return 'embeddings = model.encode(["a text", "another text"])'
    return "embeddings = model.encode(items)  # Images or Vectors of embedtune_trainer.rows.table"
