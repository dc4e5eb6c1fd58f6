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
    paths = [path for path, _ in backbone.named_modules() if path]
    chosen: list[str] = []
    for glob in globs:
        matched = [""] if glob == WHOLE else [p for p in paths if fnmatchcase(p, glob)]
        if not matched:
            raise BadSpec(_no_match(glob, paths))
        chosen += matched
    topmost = tuple(path for path in dict.fromkeys(chosen) if not _below_another(path, chosen))
    for path in topmost:
        backbone.get_submodule(path).requires_grad_(False)
    keep_frozen(backbone, topmost)
    return topmost


def freeze_backbone(network: nn.Module, encoder: Encoder) -> tuple[str, ...]:
    """Freeze what the spec says; see freeze."""
    return freeze(network, encoder.freeze)


def keep_frozen(backbone: nn.Module, paths: Sequence[str]) -> None:
    """Put frozen modules back into evaluation mode; to be called after every train()."""
    for path in paths:
        backbone.get_submodule(path).eval()


def _below_another(path: str, chosen: Sequence[str]) -> bool:
    parents = path.split(".")
    above = {"", *(".".join(parents[:depth]) for depth in range(1, len(parents)))}
    return bool(path) and not above.isdisjoint(chosen)


def _no_match(glob: str, paths: Sequence[str]) -> str:
    near = difflib.get_close_matches(glob, paths, n=3, cutoff=0.5)
    if "." in glob:
        tails = [p for p in paths if p.endswith("." + glob) or glob.endswith("." + p)]
        near = list(dict.fromkeys([*tails[-1:], *near]))[:3]
    tops = [path for path in paths if "." not in path]
    hint = f"; near it: {', '.join(near)}" if near else ""
    return (
        f"{FIELD}: {glob!r} matches no module of the backbone{hint};"
        f" at its top are {', '.join(tops)}, and the word {WHOLE} stands for all of it"
    )
