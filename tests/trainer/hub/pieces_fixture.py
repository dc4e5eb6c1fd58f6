"""Writes pieces/: a small sentencepiece model, and what SiglipTokenizer makes with it.

    python -m venv /tmp/pieces
    /tmp/pieces/bin/pip install sentencepiece protobuf transformers torch
    PYTHONPATH=. /tmp/pieces/bin/python -m tests.trainer.hub.pieces_fixture

Written by sentencepiece 0.2.3 and transformers 5.23.0; the trainer needs only protobuf.
"""

import json
from io import BytesIO
from pathlib import Path

PLACE = Path(__file__).parent / "pieces"
CORPUS = Path(__file__).parents[3] / "README.md"
TEXTS = (
    "a photo of a cat",
    "A Photo, of a CAT!",
    "  two  spaces\tand a tab\n",
    "don't (stop) - it's 100% training_data.csv",
    "naïve café, Ⅳ ﬁne ½",
    "日本語 und Straße",
    "▁under▁score",
    "",
    "the evaluation of embeddings " * 20,
)
LENGTH = 16


def write() -> None:
    """The model with the settings of SigLIP's, and its tokenizer's configuration."""
    import sentencepiece
    from transformers import SiglipTokenizer

    PLACE.mkdir(exist_ok=True)
    model = BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS.read_text(encoding="utf-8").splitlines()),
        model_writer=model,
        vocab_size=260,
        model_type="unigram",
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        hard_vocab_limit=False,
        num_threads=1,
    )
    (PLACE / "spiece.model").write_bytes(model.getvalue())
    config = {"tokenizer_class": "SiglipTokenizer", "model_max_length": LENGTH}
    (PLACE / "tokenizer_config.json").write_text(json.dumps(config) + "\n")
    tokenizer = SiglipTokenizer.from_pretrained(str(PLACE))
    made = tokenizer(list(TEXTS), padding="max_length", truncation=True, max_length=LENGTH)[
        "input_ids"
    ]
    (PLACE / "expected.json").write_text(json.dumps(made) + "\n")


if __name__ == "__main__":
    write()
