"""What a model consists of: for `embedtune inspect`, a run's log and the artifact's report.

Nothing heavy is imported before a model is looked at.
"""

from collections.abc import Iterator, Mapping
from textwrap import wrap
from typing import TYPE_CHECKING, Any, Final

from embedtune_trainer.module_table import WIDTH, module_table

if TYPE_CHECKING:
    from embedtune_api.spec import Encoder, Model
    from embedtune_trainer.embedder.analysis import Analysis
    from embedtune_trainer.sources.fetch import Fetched

ENCODER: Final = "encoder"
"""The name of a model's encoder if it has one alone; those of a pair are text and image."""
_TITLES: Final = {"text": "CLIPTextEncoder: ", "image": "CLIPImageEncoder: "}
_INDENT: Final = 11

Analyses = Mapping[str, "Analysis"]


def inspect_backbone(encoder: "Encoder", fetched: "Fetched | None" = None) -> "Analysis":
    """Look at one encoder without its weights; see embedder.inspect_backbone."""
    from embedtune_trainer.embedder import inspect_backbone as looking

    return looking.inspect_backbone(encoder, fetched)


def inspect_model(model: "Model", fetched: Mapping[str, "Fetched"]) -> Analyses:
    """Look at every encoder of a model.

    Args:
        model: spec.model.
        fetched: what was fetched of each backbone, by its URI; weights need not be there.

    Returns:
        By name: encoder, or text and image.

    Raises:
        UnsupportedModel: a backbone is not known.
        BadSpec: the spec asks for what it cannot do.
    """
    from embedtune_trainer.embedder.clip import is_pair_folder
    from embedtune_trainer.embedder.inspect_pair import inspect_pair
    from embedtune_trainer.embedder.pair_spec import check_one_space

    encoder = model.encoder
    if encoder is None:
        towers = {"text": model.text, "image": model.image}
        analyses = {
            name: inspect_backbone(tower, fetched.get(tower.backbone))
            for name, tower in towers.items()
            if tower is not None
        }
        check_one_space(*(analysis.embedding_dim for analysis in analyses.values()))
        return analyses
    found = fetched.get(encoder.backbone)
    if found is not None and found.folder is not None and is_pair_folder(found.folder):
        return inspect_pair(found.folder, model)
    return {ENCODER: inspect_backbone(encoder, found)}


def to_dict(analyses: Analyses) -> dict[str, Any]:
    """For JSON: one encoder's analysis, or a pair's as text and image.

    Shapes are of a batch of `batch` items.
    """
    from embedtune_trainer.embedder.trace import BATCH

    told = {name: {"batch": BATCH, **analysis.to_dict()} for name, analysis in analyses.items()}
    return told.get(ENCODER, told)


def render(analyses: Analyses) -> str:
    """For people: of each encoder the table of its modules, and below it what is made of it."""
    return "\n\n".join("\n".join(_text(name, a)) for name, a in analyses.items())


def facts(analysis: "Analysis") -> dict[str, str | int]:
    """The short form, for logs and reports."""
    head = analysis.head
    return {
        "backbone": analysis.backbone,
        "head": head.path if head else "none",
        "head_found_by": head.why if head else _no_head(analysis),
        "feature": f"{analysis.cut}, {_feature(analysis)}",
        "pooling": analysis.pooling,
        "layers": ", ".join(analysis.layers),
        "embedding_dim": analysis.embedding_dim,
        "parameters": analysis.parameters,
        "trained": analysis.trained,
        "frozen": analysis.parameters - analysis.trained,
    }


def notes(analyses: Analyses) -> Iterator[tuple[str, dict[str, object]]]:
    """Two messages with their facts for each encoder, see Reporter.note."""
    for name, analysis in analyses.items():
        told = facts(analysis)
        yield name, {key: told[key] for key in ("backbone", "head", "head_found_by", "feature")}
        rest = ("pooling", "layers", "embedding_dim", "parameters", "trained", "frozen")
        yield name, {key: told[key] for key in rest}


def _text(name: str, analysis: "Analysis") -> Iterator[str]:
    """The lines of one encoder."""
    yield f"{_TITLES.get(name, '')}{analysis.backbone}"
    cuttable = any(row.candidate for row in analysis.rows)
    legend = "; what has a * can be spec.model.cut" if cuttable else ""
    yield f"takes {analysis.takes}, B of them at a time{legend}"
    yield ""
    if analysis.rows:
        yield from module_table(analysis.rows)
        yield ""
    head, frozen = analysis.head, analysis.parameters - analysis.trained
    behind = ", ".join(analysis.layers) or "nothing"
    for title, said in (
        ("head", f"{head.path}, left out: {head.why}" if head else _no_head(analysis)),
        ("feature", f"{analysis.cut}, {_feature(analysis)}"),
        ("pooling", f"{analysis.pooling}, then {behind}"),
        ("embedding", f"{analysis.embedding_dim} dimensions"),
        ("weights", f"{analysis.parameters:,}: {analysis.trained:,} trained, {frozen:,} frozen"),
    ):
        first, *more = wrap(said, WIDTH - _INDENT, break_on_hyphens=False) or [""]
        yield title.ljust(_INDENT) + first
        yield from (" " * _INDENT + line for line in more)


def _no_head(analysis: "Analysis") -> str:
    behind = any(row.state == "left out" for row in analysis.rows)
    return "none is left out" + (" but what runs behind the cut" if behind else "")


def _feature(analysis: "Analysis") -> str:
    feature = analysis.feature
    if feature.kind == "vector":
        return f"one vector of {feature.dim}"
    each = "place" if feature.kind == "places" else "token"
    prefix = f", {feature.prefix} in front that are no places" if feature.prefix else ""
    return f"a vector of {feature.dim} for each {each}{prefix}"
