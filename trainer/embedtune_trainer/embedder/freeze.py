"""Which parts of the backbone are not trained, chosen by globs over module paths.

A frozen module's weights get no gradient, and it stays in evaluation mode, so that neither dropout
nor running statistics act in it. A glob matches a whole path, as fnmatch has it (`*` also matches
dots), and takes everything below the module with it.
"""

import difflib
from collections.abc import Sequence
from fnmatch import fnmatchcase

from torch import nn

from embedtune_api.spec import Encoder
from embedtune_trainer.embedder.features import Stop
from embedtune_trainer.embedder.some_at_a_time import take_some_at_a_time
from embedtune_trainer.errors import BadSpec

WHOLE = "backbone"
"""The word that freezes all of it."""
FIELD = "spec.model.freeze"


def freeze(backbone: nn.Module, globs: Sequence[str]) -> tuple[str, ...]:
    """Freeze what the globs match.

    Returns:
        The paths of the topmost frozen modules; the empty path is the backbone itself.

    Raises:
        BadSpec: a glob matches no module; the message names those that come near.
    """
    paths = module_paths(backbone)
    chosen: list[str] = []
    for glob in globs:
        matched = [""] if glob == WHOLE else [p for p in paths if fnmatchcase(p, glob)]
        if not matched:
            raise BadSpec(no_match(FIELD, glob, paths))
        chosen += matched
    topmost = tuple(path for path in dict.fromkeys(chosen) if not _below_another(path, chosen))
    for path in topmost:
        frozen = backbone.get_submodule(path)
        frozen.requires_grad_(False)
        if path:
            take_some_at_a_time(frozen)
    keep_frozen(backbone, topmost)
    return topmost


def freeze_all_but(backbone: nn.Module, globs: Sequence[str]) -> tuple[str, ...]:
    """Freeze all but what the globs match and what is below it, as freeze does.

    A parameter that belongs to a module above a chosen one is frozen, too.
    """
    paths = module_paths(backbone)
    kept: set[str] = set()
    for glob in globs:
        matched = [p for p in paths if fnmatchcase(p, glob)]
        if not matched:
            raise BadSpec(no_match(f"{FIELD}AllBut", glob, paths))
        kept.update(matched)
    ancestors = {"", *(up for path in kept for up in above(path))}
    frozen = {p for p in paths if p not in ancestors and not {p, *above(p)} & kept}
    for path in ancestors:
        for parameter in backbone.get_submodule(path).parameters(recurse=False):
            parameter.requires_grad_(False)
    return freeze(backbone, [p for p in paths if p in frozen and not set(above(p)) & frozen])


def module_paths(network: nn.Module) -> list[str]:
    """The paths that globs can match."""
    return [path for path, m in network.named_modules() if path and not isinstance(m, Stop)]


def freeze_backbone(network: nn.Module, encoder: Encoder) -> tuple[str, ...]:
    """Freeze what the spec says; see freeze."""
    if encoder.freeze_all_but:
        return freeze_all_but(network, encoder.freeze_all_but)
    return freeze(network, encoder.freeze)


def keep_frozen(backbone: nn.Module, paths: Sequence[str]) -> None:
    """Put frozen modules back into evaluation mode; to be called after every train()."""
    for path in paths:
        backbone.get_submodule(path).eval()


def no_match(field: str, glob: str, paths: Sequence[str], what: str = "module") -> str:
    """The message that a glob matches nothing, with what comes near it."""
    near = difflib.get_close_matches(glob, paths, n=3, cutoff=0.5)
    if "." in glob:
        tails = [p for p in paths if p.endswith("." + glob) or glob.endswith("." + p)]
        near = list(dict.fromkeys([*tails[-1:], *near]))[:3]
    tops = list(dict.fromkeys(path.split(".")[0] for path in paths))
    hint = f"; near it: {', '.join(near)}" if near else ""
    word = f", and the word {WHOLE} stands for all of it" if field == FIELD else ""
    return (
        f"{field}: {glob!r} matches no {what} of the backbone{hint};"
        f" at its top are {', '.join(tops)}{word}"
    )


def above(path: str) -> list[str]:
    """The paths of the modules that hold this one, but for the network's own."""
    parents = path.split(".")
    return [".".join(parents[:depth]) for depth in range(1, len(parents))]


def _below_another(path: str, chosen: Sequence[str]) -> bool:
    return bool(path) and not {"", *above(path)}.isdisjoint(chosen)
