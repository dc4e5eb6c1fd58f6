"""From a job to the facts that its estimate is made of; no weights are fetched."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from embedtune_api.spec import Encoder, FineTuneJobSpec, Model
from embedtune_trainer.datafiles import DataFiles, about
from embedtune_trainer.embedder.analysis import Analysis
from embedtune_trainer.embedder.backbone import position_limit
from embedtune_trainer.embedder.layout import TOKENIZER_FILES, read_layout
from embedtune_trainer.embedder.load import NOTHING_LEFT
from embedtune_trainer.embedder.mlp import VectorBackbone
from embedtune_trainer.embedder.pair import PAIR, SavedPair
from embedtune_trainer.embedder.saved import SETTINGS, read_settings, read_text
from embedtune_trainer.embedder.text import LONGEST, TextBackbone, max_length
from embedtune_trainer.embedder.tokens import TextTokenizer, load_tokenizer
from embedtune_trainer.errors import BadSpec, TrainerError, UnsupportedModel
from embedtune_trainer.inspection import Analyses, inspect_model
from embedtune_trainer.modality import wanted_by
from embedtune_trainer.rows.layout import Wanted
from embedtune_trainer.rows.table import Items, Texts
from embedtune_trainer.sizing.activations import count_activations, takes_texts
from embedtune_trainer.sizing.facts import Column, EncoderFacts, Entry, Facts
from embedtune_trainer.sizing.sample import Sample, columns_of, sample, sizes_of
from embedtune_trainer.sources.fetch import LIBRARIES, Fetched, fetch_description
from embedtune_trainer.sources.storage import Store
from embedtune_trainer.training.inputs import normalises_batches

UNKNOWN_LENGTH: Final = 512
"""Tokens of texts whose tokenizer cannot be had, where the backbone has no limit either."""


def gather(spec: FineTuneJobSpec, store: Store, scratch: Path) -> Facts:
    """Look at a job's backbone and data.

    Raises:
        TrainerError: the job cannot run (final), or the storage does not answer (retryable).
        UnsupportedModel: nothing can be said of its backbone without its weights.
    """
    with about("spec.model.backbone"):
        wanted = wanted_by(spec.model, store, scratch / "config")
    samples = _samples(spec, store, wanted, scratch / "data")
    with about("spec.model.backbone"):
        fetched = {
            encoder.backbone: fetch_description(
                store, encoder, scratch / f"backbone-{number}", TOKENIZER_FILES
            )
            for number, encoder in enumerate(encoders_of(spec.model))
        }
        analyses = inspect_model(spec.model, fetched)
        if not any(analysis.trained for analysis in analyses.values()):
            raise BadSpec(NOTHING_LEFT)
    tokenizers = {
        name: found
        for name, analysis in analyses.items()
        if (found := _tokenizer(_encoder(spec.model, name), analysis, fetched)) is not None
    }
    notes = [sample.note for sample in samples.values()]
    notes += [
        f"{name}: no tokenizer was found, texts count as the longest there may be"
        for name, analysis in analyses.items()
        if takes_texts(analysis.bare) and name not in tokenizers
    ]
    sizes = [found.size_bytes for found in samples.values()]
    return Facts(
        {name: _facts(analysis, tokenizers.get(name)) for name, analysis in analyses.items()},
        tuple(
            Entry(place, found.count, _columns(found, analyses, tokenizers))
            for place, found in samples.items()
        ),
        None if None in sizes else sum(size or 0 for size in sizes),
        _backbone_bytes(spec.model, store),
        tuple(notes),
    )


def encoders_of(model: Model) -> list[Encoder]:
    """One, or the text's and the image's."""
    return [encoder for encoder in (model.encoder, model.text, model.image) if encoder is not None]


def _encoder(model: Model, name: str) -> Encoder:
    """What the spec says of the encoder of this name."""
    found = {"text": model.text, "image": model.image}.get(name) or model.encoder
    if found is None:
        raise BadSpec("spec.model: give backbone, or text and image with a backbone each")
    return found


def _samples(
    spec: FineTuneJobSpec, store: Store, wanted: Wanted, folder: Path
) -> dict[str, Sample]:
    files = DataFiles(store, folder, wanted)
    images = "image" in (wanted.left, wanted.right)
    return {
        place: sample(store, files, dataset, place, images) for place, dataset in spec.data.entries
    }


def _facts(analysis: Analysis, tokenizer: TextTokenizer | None) -> EncoderFacts:
    bare = analysis.bare
    texts, backbone = takes_texts(bare), bare.parts.backbone
    length = 1
    if texts:
        limit = position_limit(backbone.network) if isinstance(backbone, TextBackbone) else None  # type: ignore[arg-type]  every one over tokens is
        length = tokenizer.max_length if tokenizer else min(limit or UNKNOWN_LENGTH, LONGEST)
    plain, halved = (count_activations(bare, length, bfloat16=half) for half in (False, True))
    image = bare.input if not texts and bare.input and len(bare.input) == 4 else None
    return EncoderFacts(
        "text" if texts else "vector" if isinstance(backbone, VectorBackbone) else "image",
        analysis.parameters,
        analysis.trained,
        analysis.embedding_dim,
        plain,
        halved,
        length,
        image[2] * image[3] if image else 0,
        normalises_batches(backbone),
    )


def _tokenizer(
    encoder: Encoder, analysis: Analysis, fetched: Mapping[str, Fetched]
) -> TextTokenizer | None:
    """Of an encoder of texts, as far as its folder has one that can be used alone."""
    backbone, folder = analysis.bare.parts.backbone, fetched[encoder.backbone].folder
    if not isinstance(backbone, TextBackbone) or folder is None:
        return None
    if (folder / PAIR).exists():
        folder = SavedPair.read(folder).text
    saved = (folder / SETTINGS).exists() and read_settings(folder).get("kind") == "text"
    try:
        found = read_text(folder, weights=False)[0] if saved else read_layout(folder, weights=False)
        tokenizer = load_tokenizer(found.transformer, lower_case=found.lower_case)
    except UnsupportedModel:
        return None
    limit = position_limit(backbone.network)
    length = max_length(found, encoder, tokenizer.model_max_length, limit)
    return TextTokenizer(tokenizer, length, found.prompt)


def _columns(
    found: Sample,
    analyses: Analyses,
    tokenizers: Mapping[str, TextTokenizer],
) -> tuple[Column, ...]:
    """What of a row is encoded by what; of rows that were not read, two items."""
    names = list(analyses)
    if found.rows is None:
        sides = names if len(names) == 2 else [names[0]] * 2
        return tuple(Column(side) for side in sides)
    return tuple(
        Column(name, _lengths(items, tokenizers.get(name)))
        for items in columns_of(found.rows)
        for name in ([n for n in names if n == items.modality] or names[:1])
    )


def _lengths(items: Items, tokenizer: TextTokenizer | None) -> NDArray[np.int64] | None:
    """Tokens of each text."""
    if tokenizer is None or not isinstance(items, Texts):
        return None
    return tokenizer.table(items).lengths_N


def _backbone_bytes(model: Model, store: Store) -> int | None:
    """Of the folders of models on S3; others' are worked out of their parameters."""
    sizes = 0
    for encoder in encoders_of(model):
        if encoder.backbone.partition("://")[0] in (*LIBRARIES, "mlp"):
            continue
        try:
            found = sizes_of(store, encoder.backbone) if "s3://" in encoder.backbone else None
        except TrainerError:
            found = None
        if found is None:
            return None
        sizes += sum(found.values())
    return sizes
