"""From spec.model to encoders, and to what is said of them."""

from collections.abc import Callable
from pathlib import Path

import torch

from embedtune_api.spec import Encoder, Model
from embedtune_trainer import inspection
from embedtune_trainer.datafiles import about
from embedtune_trainer.embedder.encoders import Encoders
from embedtune_trainer.embedder.load import load_encoder, load_tower
from embedtune_trainer.embedder.pair import build_pair, is_pair_folder, load_encoders
from embedtune_trainer.errors import BadSpec, Interrupted, TrainerError
from embedtune_trainer.progress import Reporter
from embedtune_trainer.sources.fetch import Fetched, fetch_backbone
from embedtune_trainer.sources.storage import Store

Stop = Callable[[], bool]


def go_on(stop: Stop) -> None:
    """Raise when told to stop.

    Raises:
        Interrupted: stop() was true.
    """
    if stop():
        raise Interrupted("told to stop before the model was finished")


def load(
    model: Model, store: Store, work_dir: Path, seed: int, stop: Stop, brought: dict[str, Fetched]
) -> Encoders:
    """What the spec's model describes, fetched and loaded, on the GPU if there is one.

    What was fetched goes into `brought`.
    """
    encoders = _loaded(model, store, work_dir, seed, stop, brought)
    if torch.cuda.is_available():
        encoders.module.to("cuda")
    return encoders


def _loaded(
    model: Model, store: Store, work_dir: Path, seed: int, stop: Stop, brought: dict[str, Fetched]
) -> Encoders:
    def fetched(encoder: Encoder, field: str) -> Fetched:
        with about(field):
            found = fetch_backbone(store, encoder, work_dir / field)
            brought[found.uri] = found
        go_on(stop)
        return found

    if model.text is not None and model.image is not None:
        towers = []
        for name, tower in (("text", model.text), ("image", model.image)):
            field = f"spec.model.{name}.backbone"
            found = fetched(tower, field)
            with about(f"{field}: {tower.backbone}"):
                towers.append(load_tower(found, tower, seed))
        return Encoders.pair(build_pair(*towers))
    encoder = model.encoder
    if encoder is None:
        raise BadSpec("spec.model: give backbone, or text and image with a backbone each")
    field = "spec.model.backbone"
    found = fetched(encoder, field)
    with about(f"{field}: {encoder.backbone}"):
        if found.folder is not None and is_pair_folder(found.folder):
            return load_encoders(found, model, seed)
        return Encoders.single(load_encoder(found, encoder, seed))


def analysed(model: Model, brought: dict[str, Fetched], reporter: Reporter) -> inspection.Analyses:
    """What the encoders consist of, told to the reporter; nothing if that cannot be found out."""
    try:
        analyses = inspection.inspect_model(model, brought)
    except TrainerError as error:
        reporter.note("the model's modules cannot be listed", why=error)
        return {}
    for name, facts in inspection.notes(analyses):
        reporter.note(name, **facts)
    return analyses
