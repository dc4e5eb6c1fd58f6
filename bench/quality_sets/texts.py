"""TREC, arXiv and WordNet: MiniLM by embedtune and by sentence-transformers' own trainer."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from datasets import Dataset as HfDataset
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import (
    BatchHardTripletLossDistanceFunction,
    BatchSemiHardTripletLoss,
    MultipleNegativesRankingLoss,
)
from sentence_transformers.training_args import BatchSamplers
from theirs import LABEL, NAME, fit
from torch import nn

import localassets
from embedtune_api.spec import Dataset, FineTuneJobSpec, Training
from embedtune_trainer.embedder.encoders import Encoders
from embedtune_trainer.embedder.load import Fetched, load_encoder
from embedtune_trainer.evaluation.retrieval import paired, same_label
from embedtune_trainer.objectives.triplet import TripletMarginLoss
from embedtune_trainer.rows.read import Wanted, read_rows
from embedtune_trainer.rows.table import Items, LabelledRows, PairRows, Rows, Texts
from localassets.tables import Split
from quality_sets.comparison import (
    Comparison,
    Embedded,
    Ours,
    distinct,
    example,
    greatest_difference,
    numbered,
    with_seed,
)
from quality_sets.judge import Judge

WORDNET_ROWS = 6_000
TOLERANCE = 1e-5
HeldOut = tuple[Items, Items]


def trec(limit: int | None = None) -> Comparison:
    """Questions with labels: semi-hard triplets."""
    spec = example("trec")
    paths = localassets.trec()
    rows, index, queries = (_read(paths.train, limit), _read(paths.train), _read(paths.test))
    assert isinstance(rows, LabelledRows)
    assert isinstance(index, LabelledRows)
    assert isinstance(queries, LabelledRows)
    columns = {"sentence": list(rows.items.values), LABEL: numbered(rows.labels)[0].tolist()}
    how = _How(columns, _semi_hard, BatchSamplers.GROUP_BY_LABEL)
    judge = Judge(same_label(*numbered(queries.labels, index.labels)), ("precision_at_1", "map"))
    title = "TREC: questions of 50 classes, semi-hard triplets"
    return _comparison(title, spec, rows, (queries.items, index.items), how, judge)


def arxiv(limit: int | None = None) -> Comparison:
    """Titles with abstracts: ranking among the batch."""
    return _pairs("arxiv", "arXiv: titles with abstracts", localassets.arxiv_pairs(), limit)


def wordnet(limit: int | None = None) -> Comparison:
    """Words with meanings: ranking among the batch."""
    paths = localassets.wordnet_pairs()
    return _pairs("wordnet", "WordNet: words with meanings", paths, limit or WORDNET_ROWS)


def _pairs(name: str, title: str, paths: Split, limit: int | None) -> Comparison:
    rows, held_out = _read(paths.train, limit), _read(paths.test)
    assert isinstance(rows, PairRows)
    assert isinstance(held_out, PairRows)
    columns = {"anchor": list(rows.left.values), "positive": list(rows.right.values)}
    how = _How(columns, MultipleNegativesRankingLoss, BatchSamplers.NO_DUPLICATES)
    (left, left_N), (right, right_N) = distinct(held_out.left), distinct(held_out.right)
    judge = Judge(paired(left_N, right_N, len(left)), ("recall_at_1", "ndcg_at_10"))
    title = f"{title}, MultipleNegativesRankingLoss"
    return _comparison(title, example(name), rows, (left, right), how, judge)


@dataclass(frozen=True)
class _How:
    """The peer's training.

    Attributes:
        columns: of its data set.
        loss: over its model.
        sampler: that it recommends for this loss.
    """

    columns: dict[str, list[str] | list[int]]
    loss: Callable[[SentenceTransformer], nn.Module]
    sampler: BatchSamplers


def _comparison(
    title: str, spec: FineTuneJobSpec, rows: Rows, held_out: HeldOut, how: _How, judge: Judge
) -> Comparison:
    training = spec.training
    steps = _ours(spec, rows, held_out, training.seed).steps
    facts = (
        f"{len(rows):,} rows, {training.epochs} epoch, batches of {training.rows_in_batch},"
        f" learning rate {training.learning_rate:g}"
    )
    return Comparison(
        title=f"{title}; {facts}",
        peer=NAME,
        sides=(
            partial(_ours, spec, rows, held_out),
            partial(_Theirs, spec, how, held_out, steps),
        ),
        judge=judge,
        tolerance=TOLERANCE,
        apart=greatest_difference,
    )


def _ours(spec: FineTuneJobSpec, rows: Rows, held_out: HeldOut, seed: int) -> Ours:
    assert spec.model.encoder is not None
    embedder = load_encoder(Fetched("", localassets.minilm()), spec.model.encoder, seed)
    training = with_seed(spec.training, seed)
    return Ours(Encoders.single(embedder), rows, spec.objective, training, held_out)


class _Theirs:
    """A Side: sentence-transformers'."""

    def __init__(
        self, spec: FineTuneJobSpec, how: _How, held_out: HeldOut, steps: int, seed: int
    ) -> None:
        self._model = SentenceTransformer(str(localassets.minilm()), device="cpu")
        if spec.model.max_seq_length is not None:
            self._model.max_seq_length = spec.model.max_seq_length
        self._how, self._held_out, self._steps = how, held_out, steps
        self._training: Training = with_seed(spec.training, seed)

    def train(self) -> int:
        """By the peer's trainer; it begins another epoch if its sampler leaves rows out."""
        data = HfDataset.from_dict(self._how.columns)
        loss = self._how.loss(self._model)
        steps, _ = fit(
            self._model,
            data,
            loss,
            self._training,
            batch_sampler=self._how.sampler,
            max_steps=self._steps,
        )
        return steps

    def embed(self) -> Embedded:
        """See Side."""
        queries_QD, index_ND = (self._encoded(items) for items in self._held_out)
        return queries_QD, index_ND

    def _encoded(self, items: Items) -> torch.Tensor:
        assert isinstance(items, Texts)
        return torch.from_numpy(self._model.encode(list(items.values), show_progress_bar=False))


def _semi_hard(model: SentenceTransformer) -> nn.Module:
    distance = BatchHardTripletLossDistanceFunction.cosine_distance
    margin = TripletMarginLoss().margin
    return BatchSemiHardTripletLoss(model, distance_metric=distance, margin=margin)


def _read(path: Path, limit: int | None = None) -> Rows:
    return read_rows(path, Dataset(uri=path.as_uri(), limit=limit), Wanted("text", "text"))
