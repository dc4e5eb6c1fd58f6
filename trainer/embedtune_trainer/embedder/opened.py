"""A finished model's folder as what encodes with it: one encoder, or a pair of them."""

from pathlib import Path

from embedtune_api.spec import Model
from embedtune_trainer.embedder.encoders import Encoders
from embedtune_trainer.embedder.load import open_model
from embedtune_trainer.embedder.pair import is_pair_folder, load_pair
from embedtune_trainer.sources.fetch import Fetched


def open_encoders(folder: Path) -> Encoders:
    """What `stage` wrote, or any other folder of a model, in evaluation mode on the CPU.

    Raises:
        UnsupportedModel: the folder cannot be loaded.
    """
    folder = folder.absolute()
    if not is_pair_folder(folder):
        encoders = Encoders.single(open_model(folder))
    else:
        model = Model.parse({"backbone": folder.as_uri()})
        encoders = Encoders.pair(load_pair(Fetched(folder.as_uri(), folder=folder), model, seed=0))
    encoders.module.eval()
    return encoders
