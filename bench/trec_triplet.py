"""Semi-hard triplets over the TREC questions, beside sentence-transformers.

At its defaults, and, where the machine has bfloat16, with the argument for it.

all-MiniLM-L6-v2, real questions of real classes, groups of four rows of a class: as many as the
steps take, of all classes in turn while they have any. Both choose a negative for each pair of
anchor and positive in the same way, but each puts its batches together by its own sampler; the
first batch is compared over all triplets that violate the margin.
"""

import sys
from collections.abc import Callable, Sequence
from functools import partial

from contest import OURS, Contest, parser, request, run
from contestant import Start, System
from datasets import Dataset as HfDataset
from ours import Ours, in_bfloat16
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import (
    BatchAllTripletLoss,
    BatchHardTripletLossDistanceFunction,
    BatchSemiHardTripletLoss,
)
from sentence_transformers.sentence_transformer.training_args import BatchSamplers
from theirs import LABEL, Theirs
from theirs import NAME as PEER

import localassets
from embedtune_api.spec import Dataset, Encoder, Objective, Training
from embedtune_trainer.embedder.encoders import Encoders
from embedtune_trainer.embedder.load import Fetched, load_encoder
from embedtune_trainer.rows.read import Wanted, read_rows
from embedtune_trainer.rows.table import LabelledRows

HALF = f"{PEER}, bf16"
MARGIN, RATE, SEED, K = 0.2, 5e-5, 0, 4


def questions(count: int) -> LabelledRows:
    """So many of the training questions, in whole groups of K of a class.

    The classes take turns, so that neither system's sampler has rows left over that it repeats or
    drops, and the first rows are a batch with triplets.
    """
    path = localassets.trec().train
    rows = read_rows(path, Dataset(uri=path.as_uri()), Wanted("text", "text"))
    assert isinstance(rows, LabelledRows)
    of_class: dict[str, list[int]] = {}
    for number, label in enumerate(rows.labels):
        of_class.setdefault(label, []).append(number)
    groups = sorted(
        (begin, label) for label, own in of_class.items() for begin in range(0, len(own) - K + 1, K)
    )
    chosen = [row for begin, label in groups for row in of_class[label][begin : begin + K]]
    if len(chosen) < count:
        raise ValueError(f"the data has {len(chosen)} questions in groups of {K}, not {count}")
    return rows.take(chosen[:count])


def theirs(count: int, training: Training, device: str, **arguments: object) -> System:
    """The peer, with the sampler that it recommends for these losses."""
    rows = questions(count)
    model = SentenceTransformer(str(localassets.minilm()), device=device)
    number = {label: i for i, label in enumerate(sorted(set(rows.labels)))}
    data = HfDataset.from_dict(
        {
            "sentence": list(rows.items.values),
            LABEL: [number[label] for label in rows.labels],
        }
    )
    distance = BatchHardTripletLossDistanceFunction.cosine_distance
    return Theirs(
        model,
        data,
        BatchSemiHardTripletLoss(model, distance_metric=distance, margin=MARGIN),
        training,
        compared=BatchAllTripletLoss(model, distance_metric=distance, margin=MARGIN),
        batch_sampler=BatchSamplers.GROUP_BY_LABEL,
        **arguments,
    )


class OurTriplets(Ours):
    """Our side, whose first batch is taken over all triplets."""

    def __init__(self, count: int, training: Training, device: str) -> None:
        rows, folder = questions(count), localassets.minilm()
        embedder = load_encoder(Fetched("", folder), Encoder(backbone=folder.as_uri()), SEED)
        self._of_all = (Encoders.single(embedder.to(device)), rows, _asking("all"), training)
        super().__init__(self._of_all[0], rows, _asking("semihard"), training)

    def first(self) -> Start:
        """Over all triplets that violate the margin, of which the peer, too, takes the mean."""
        return Ours(*self._of_all).first()


def _asking(triplets: str) -> Objective:
    return Objective(
        loss="TripletMarginLoss",
        loss_options={"margin": MARGIN},
        miner_options={"typeOfTriplets": triplets},
        items_per_class=K,
    )


def main(arguments: Sequence[str]) -> int:
    """Run the comparison and write it down."""
    parse = parser(__doc__, steps=20)
    parse.add_argument("--batch", type=int, default=64)
    asked = request(parse, arguments)
    options = asked.options
    training = Training(epochs=1, batch_size=options.batch, learning_rate=RATE, seed=SEED)
    given = (options.batch * options.steps, training, options.device)
    systems: dict[str, Callable[[], System]] = {
        OURS: partial(OurTriplets, *given),
        PEER: partial(theirs, *given),
    }
    if in_bfloat16(options.device):
        systems[HALF] = partial(theirs, *given, bf16=True)
    return run(
        Contest(
            request=asked,
            title=f"TREC questions, semi-hard triplets, batches of {options.batch}",
            systems=systems,
            checked=(PEER,),
            goals={PEER: 1.3},
        )
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
