"""`embedtune inspect`: a backbone, or a job's model, as a table of modules, without its weights.

What looks at networks is imported when it is about to, so that help is quick.
"""

import argparse
import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import Any, Final

from embedtune_api.base import InvalidJob
from embedtune_api.contract import ExitCode
from embedtune_api.spec import Encoder, Model, Storage
from embedtune_trainer.errors import BadSpec, SourceNotFound
from embedtune_trainer.jobfile import read_job

POOLINGS: Final = ("auto", "mean", "cls", "max", "last", "weightedMean", "gem", "none")
SCHEMES: Final = ("torchvision", "timm", "hf", "s3", "file", "mlp")
DESCRIPTION: Final = """\
Show what a backbone consists of and what becomes of it: its modules in the
order in which they run, the head that is left out and why, what can be the
cut, the dimension of its embeddings, what is trained and what is frozen.

Nothing is computed, and no weights are fetched: networks of torchvision and
timm are built from their names, others from their configuration alone, so
that a model of billions of parameters takes seconds."""
EPILOG: Final = """\
examples:
  embedtune inspect torchvision://resnet50
  embedtune inspect timm://vit_base_patch16_224 --pooling mean
  embedtune inspect hf://BAAI/bge-m3@main --freeze embeddings 'encoder.layer.[0-9]'
  embedtune inspect s3://bases/all-MiniLM-L6-v2 --json
  embedtune inspect job.yaml

In the table, a * marks what spec.model.cut can name; spec.model.freeze takes
globs over all of its paths."""


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """`inspect` among the commands."""
    inspect = commands.add_parser(
        "inspect",
        help="show what a backbone consists of, and what a job makes of it",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    inspect.add_argument(
        "backbone",
        metavar="BACKBONE",
        help="a URI as spec.model.backbone takes it, a model's folder, or the file of a"
        " FineTuneJob, whose model is then shown as the job makes it",
    )
    inspect.add_argument("--json", action="store_true", help="print all modules as JSON")
    inspect.add_argument("--cut", metavar="MODULE", help="as spec.model.cut")
    inspect.add_argument(
        "--pooling",
        metavar="NAME",
        choices=POOLINGS,
        help=f"as spec.model.pooling: {', '.join(POOLINGS)}",
    )
    inspect.add_argument(
        "--freeze", metavar="GLOB", nargs="+", action="extend", help="as spec.model.freeze"
    )
    inspect.set_defaults(action=_inspect)


def _inspect(arguments: argparse.Namespace) -> int:
    from embedtune_trainer.machine import prepare_process
    from embedtune_trainer.sources.fetch import fetch_description
    from embedtune_trainer.sources.storage import RetryPolicy, open_storage

    model, storage = _model(arguments)
    with TemporaryDirectory(prefix="embedtune-") as name:
        scratch = Path(name)
        prepare_process(scratch)
        store = open_storage(storage, Event(), RetryPolicy())
        fetched = {
            encoder.backbone: fetch_description(store, encoder, scratch / str(number))
            for number, encoder in enumerate(_encoders(model))
        }
        from embedtune_trainer.inspection import inspect_model, render, to_dict

        analyses = inspect_model(model, fetched)
    as_json = arguments.json
    text = json.dumps(to_dict(analyses), ensure_ascii=False) if as_json else render(analyses)
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
    if not any(analysis.trained for analysis in analyses.values()):
        from embedtune_trainer.embedder.load import NOTHING_LEFT

        raise BadSpec(NOTHING_LEFT)
    return ExitCode.DONE


def _encoders(model: Model) -> list[Encoder]:
    return [encoder for encoder in (model.encoder, model.text, model.image) if encoder is not None]


def _model(arguments: argparse.Namespace) -> tuple[Model, Storage]:
    """What is to be looked at, and where it is.

    Raises:
        BadSpec: it is neither a backbone nor a job, or an option is wrong.
        SourceNotFound: there is no such file.
    """
    given: dict[str, Any] = {}
    storage = Storage()
    path = Path(arguments.backbone)
    if "://" in arguments.backbone:
        given["backbone"] = arguments.backbone
    elif path.is_dir():
        given["backbone"] = path.absolute().as_uri()
    elif path.is_file():
        job = read_job(path)
        given, storage = job.spec.model.to_dict(), job.spec.storage
    else:
        raise SourceNotFound(
            f"{arguments.backbone}: is no file or folder here, and no URI of a backbone, which"
            f" begins with {', '.join(f'{scheme}://' for scheme in SCHEMES)}"
        )
    options = ("cut", "pooling", "freeze")
    given |= {o: getattr(arguments, o) for o in options if getattr(arguments, o) is not None}
    try:
        return Model.parse(given), storage
    except InvalidJob as error:
        lines = (f"spec.model.{line}" for line in str(error).splitlines())
        raise BadSpec("\n".join(lines)) from None
