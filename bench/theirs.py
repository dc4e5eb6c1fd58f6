"""sentence-transformers' side: its own trainer, over columns of texts that may have labels."""

import tempfile
import time
from typing import Any

import torch
from contestant import Start, Trained
from datasets import Dataset
from ours import gradient_norm, without_dropout
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.sentence_transformer.data_collator import (
    SentenceTransformerDataCollator,
)
from sentence_transformers.util import batch_to_device
from torch import nn

from embedtune_api.spec import Training

NAME = "sentence-transformers"
LABEL = "label"
"""The column that holds no texts, but each row's class."""


class _Collator(SentenceTransformerDataCollator):
    """The trainer's own, timed: it runs between the steps."""

    waited_s = 0.0

    def __call__(self, features: list[dict[str, Any]]) -> dict[str, Any]:
        begun = time.perf_counter()
        batch: dict[str, Any] = super().__call__(features)
        self.waited_s += time.perf_counter() - begun
        return batch


class _Trainer(SentenceTransformerTrainer):
    data_collator_class = _Collator


def fit(
    model: SentenceTransformer,
    data: Dataset,
    loss: nn.Module,
    training: Training,
    **arguments: Any,  # noqa: ANN401  the peer's own
) -> tuple[int, float]:
    """Train the model in place, with the spec's epochs, batch, rate, warm-up and seed.

    Args:
        model: what is trained, on whatever device.
        data: columns of texts, and perhaps LABEL.
        loss: over the model.
        training: all else is as the peer has it: AdamW without weight decay, a linear schedule.
        arguments: the peer's own.

    Returns:
        Steps, and seconds that it waited for texts to be made into tokens.
    """
    assert training.learning_rate is not None
    with tempfile.TemporaryDirectory() as scratch:
        trainer = _Trainer(
            model=model,
            args=SentenceTransformerTrainingArguments(
                output_dir=scratch,
                num_train_epochs=training.epochs,
                per_device_train_batch_size=training.rows_in_batch,
                learning_rate=training.learning_rate,
                warmup_ratio=training.warmup_ratio,
                seed=training.seed,
                use_cpu=model.device.type == "cpu",
                report_to="none",
                save_strategy="no",
                logging_strategy="no",
                disable_tqdm=True,
                **arguments,
            ),
            train_dataset=data,
            loss=loss,
        )
        trainer.train()
    collator = trainer.data_collator
    assert isinstance(collator, _Collator)
    return int(trainer.state.global_step), collator.waited_s


class Theirs:
    """A System: the peer's trainer with some arguments of its own."""

    def __init__(
        self,
        model: SentenceTransformer,
        data: Dataset,
        loss: nn.Module,
        training: Training,
        *,
        compared: nn.Module | None = None,
        **arguments: Any,  # noqa: ANN401  the peer's own
    ) -> None:
        """`compared` is the first batch's loss, where it is not the one that is trained with."""
        self._model, self._data, self._loss, self._training = model, data, loss, training
        self._compared = loss if compared is None else compared
        self._arguments = arguments

    def first(self) -> Start:
        """The loss over the first rows, collated as the trainer does."""
        without_dropout(self._model).train()
        columns = self._data[: self._training.rows_in_batch]
        labels = columns.pop(LABEL, None)
        features = [
            batch_to_device(self._model.preprocess(texts), self._model.device)
            for texts in columns.values()
        ]
        if labels is not None:
            labels = torch.tensor(labels, device=self._model.device)
        loss = self._compared(features, labels)
        loss.backward()
        return Start(float(loss.detach()), gradient_norm(list(self._model.parameters())))

    def train(self, steps: int) -> Trained:
        """One epoch."""
        taken, wait_s = fit(self._model, self._data, self._loss, self._training, **self._arguments)
        if taken != steps:
            raise AssertionError(f"{taken} steps, not {steps}")
        return Trained(len(self._data), wait_s)
