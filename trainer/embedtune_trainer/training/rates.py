"""Which learning rate each weight has: by its layer's depth, and by the modules that a spec names.

Paths are those of spec.model.freeze, in the backbone's network; `head` stands for what is behind
it, pooling and layers. In a pair of encoders they begin with `text.` or `image.`, and `temperature`
is what scales their similarities.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Any, Final

from torch import nn

from embedtune_api import spec
from embedtune_trainer.embedder.freeze import above, no_match
from embedtune_trainer.embedder.model import Embedder
from embedtune_trainer.errors import BadSpec

FIELD: Final = "spec.training.rates"
HEAD: Final = "head"
TEMPERATURE: Final = "temperature"
_NETWORK: Final = "backbone.network."


def named_trained(module: nn.Module) -> dict[str, nn.Parameter]:
    """What is trained, by the paths that a spec has for it, each parameter once."""
    found = {}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            found[_path(module, name)] = parameter
    return found


def parameter_groups(
    module: nn.Module, training: spec.Training, weight_decay: float
) -> list[dict[str, Any]]:
    """Groups for an optimizer: weights of one `factor` of the learning rate and one decay.

    Vectors (biases, the weights of norms) and scalars are not decayed.

    Raises:
        BadSpec: a glob of spec.training.rates matches nothing.
    """
    factors = learning_rate_factors(module, training)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for path, parameter in named_trained(module).items():
        decay = weight_decay if parameter.ndim > 1 else 0.0
        groups.setdefault((factors[path], decay), []).append(parameter)
    return [
        {"params": parameters, "factor": factor}
        | ({"weight_decay": decay} if weight_decay or decay else {})
        for (factor, decay), parameters in groups.items()
    ]


def learning_rate_factors(module: nn.Module, training: spec.Training) -> dict[str, float]:
    """What the learning rate is multiplied by for each trained weight.

    Raises:
        BadSpec: a glob of spec.training.rates matches nothing.
    """
    paths = list(named_trained(module))
    factors = dict.fromkeys(paths, 1.0)
    if training.layer_decay < 1:
        for prefix, embedder in _embedders(module):
            for path, below in layers_below_top(embedder).items():
                factors[prefix + path] = training.layer_decay**below
        factors = {path: factors[path] for path in paths}
    for place, rate in enumerate(training.rates):
        for glob in rate.modules:
            matched = [p for p in paths if any(fnmatchcase(m, glob) for m in (*above(p), p))]
            if not matched:
                modules = list(dict.fromkeys(m for p in paths for m in above(p)))
                where = f"{FIELD}[{place}].modules"
                raise BadSpec(no_match(where, glob, modules, "trained module"))
            for path in matched:
                factors[path] *= rate.factor
    return factors


def layers_below_top(embedder: Embedder) -> dict[str, int]:
    """How many layers stand between each of its weights and the embedding, by path.

    0 is what is behind the backbone's layers, 1 is the last layer, and what stands before the
    first, such as word embeddings, is one more than that one's number. The layers are the blocks of
    a transformer, or the stages of a convolutional network: see _layer_paths.
    """
    network = embedder.backbone.network
    layers = _layer_paths(network)
    below: dict[str, int] = {}
    passed = 0
    for name, _ in network.named_parameters():
        own = next((i for i, layer in enumerate(layers) if name.startswith(layer + ".")), None)
        passed = passed if own is None else own + 1
        outside = 0 if passed == len(layers) else len(layers) + 1
        below[name] = outside if own is None else len(layers) - own
    heads = (name for name, _ in embedder.named_parameters() if not name.startswith(_NETWORK))
    return below | {f"{HEAD}.{name}": 0 for name in heads}


def _layer_paths(network: nn.Module) -> list[str]:
    """The network's layers from its input to its output.

    They are the children of the topmost module of which three or more are composite modules of one
    class: a transformer's list of blocks, a ResNet with its four stages, MobileNet's features. Next
    best is a module with two such children, then the longest list of modules.
    """
    pair: list[str] = []
    longest: list[str] = []
    for path, module in sorted(network.named_modules(), key=lambda one: one[0].count(".")):
        children = [
            (f"{path}.{name}".lstrip("."), child)
            for name, child in module.named_children()
            if any(True for _ in child.parameters())
        ]
        kinds = Counter(type(child) for _, child in children if any(child.children()))
        alike = max(kinds.values(), default=0)
        paths = [name for name, _ in children]
        if alike >= 3:
            return paths
        if alike == 2:
            pair = pair or paths
        if isinstance(module, nn.Sequential | nn.ModuleList):
            longest = max(longest, paths, key=len)
    return pair or longest


def _embedders(module: nn.Module) -> Iterator[tuple[str, Embedder]]:
    """Each encoder with what its paths begin with."""
    for name, child in module.named_modules():
        if isinstance(child, Embedder):
            yield f"{name}." if name else "", child


def _path(module: nn.Module, name: str) -> str:
    for prefix, _ in _embedders(module):
        if name.startswith(prefix):
            inner = name.removeprefix(prefix)
            if inner.startswith(_NETWORK):
                return prefix + inner.removeprefix(_NETWORK)
            return f"{prefix}{HEAD}.{inner}"
    return f"{TEMPERATURE}.{name}"


def loss_side(module: nn.Module, trained: Sequence[nn.Parameter]) -> set[int]:
    """Ids of the trained parameters that belong to no encoder, such as the temperature."""
    of_encoders = {id(p) for _, embedder in _embedders(module) for p in embedder.parameters()}
    return {id(p) for p in trained if id(p) not in of_encoders}
