"""Low-rank adapters (Hu et al. 2021) by peft, and their weights merged into the backbone's."""

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear
from transformers.pytorch_utils import Conv1D

from embedtune_api.spec import Lora
from embedtune_trainer.embedder.freeze import no_match
from embedtune_trainer.errors import BadSpec

_Adapted: Any = LoraLayer  # which is always an nn.Module, but not by its type
FIELD: Final = "spec.model.lora.targets"
UNUSED: Final = ("pooler",)
"""Linear layers that embeddings don't pass through."""


def add_adapters(
    network: nn.Module, lora: Lora, frozen: Sequence[str], seed: int
) -> tuple[str, ...]:
    """Put adapters into the network, which begin as no change; nothing else of it is trained.

    Args:
        network: changed in place.
        lora: rank, alpha, dropout and targets.
        frozen: paths of modules that are to get none.
        seed: of the adapters' first weights.

    Returns:
        Paths of the modules that stay in evaluation mode: the frozen ones, and all whose running
        statistics would move.

    Raises:
        BadSpec: a glob matches no layer that can have one, or no layer is left.
    """
    able = {path: m for path, m in network.named_modules() if path and _can_have_one(m)}
    targets = [path for path, module in able.items() if _by_default(path, module)]
    if lora.targets:
        chosen: set[str] = set()
        for glob in lora.targets:
            matched = {p for p in able if any(fnmatchcase(a, glob) for a in _at_and_above(p))}
            if not matched:
                raise BadSpec(no_match(FIELD, glob, list(able), "linear or convolutional layer"))
            chosen |= matched
        targets = [path for path in able if path in chosen]
    targets = [p for p in targets if not {"", *_at_and_above(p)} & set(frozen)]
    if not targets:
        raise BadSpec(
            f"{FIELD}: no linear layer of the backbone is left to adapt; freeze less, or name"
            " convolutions in the targets"
        )
    torch.manual_seed(seed)
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]  # peft says int and divides
        lora_dropout=lora.dropout,
        target_modules="|".join(re.escape(path) for path in targets),  # a list matches endings
        bias="none",
    )
    network.requires_grad_(False)
    inject_adapter_in_model(config, network)
    for module in adapted(network).values():
        for name, parameter in module.named_parameters():
            parameter.requires_grad_("lora_" in name)
    moving = [p for p, m in network.named_modules() if isinstance(m, _BatchNorm)]
    return tuple(dict.fromkeys([*frozen, *moving]))


def adapted(network: nn.Module) -> dict[str, nn.Module]:
    """The layers with an adapter, by their paths."""
    layers: dict[str, nn.Module] = dict(network.named_modules())
    return {path: m for path, m in layers.items() if isinstance(m, _Adapted)}


@torch.no_grad()
def merged_state_dict(network: nn.Module) -> dict[str, Tensor]:
    """The network's tensors under the names they had without adapters, which are merged in."""
    layers = adapted(network)
    state: dict[str, Tensor] = {}
    for name, tensor in network.state_dict().items():
        path, _, rest = name.partition(".base_layer.")
        if rest and path in layers:
            merged = tensor + _delta(layers[path]) if rest == "weight" else tensor
            state[f"{path}.{rest}"] = merged.to(tensor.dtype)
        elif not any(part.startswith("lora_") for part in name.split(".")):
            state[name] = tensor
    return state


def save_merged(network: Any, folder: Path) -> None:  # noqa: ANN401  transformers leaves it untyped
    """Save a network of transformers as it saves itself, adapters merged."""
    network.save_pretrained(
        str(folder), state_dict=merged_state_dict(network), safe_serialization=True
    )


def _delta(layer: nn.Module) -> Tensor:
    module: Any = layer
    delta: Tensor = module.get_delta_weight("default")
    return delta


def _can_have_one(module: nn.Module) -> bool:
    """A linear layer or convolution whose adapter can be merged."""
    if isinstance(module, NonDynamicallyQuantizableLinear):
        return False  # part of a MultiheadAttention, which never calls it
    if isinstance(module, nn.Conv2d):
        return module.groups == 1
    return isinstance(module, nn.Linear | Conv1D)


def _by_default(path: str, module: nn.Module) -> bool:
    return isinstance(module, nn.Linear | Conv1D) and path.split(".", maxsplit=1)[0] not in UNUSED


def _at_and_above(path: str) -> list[str]:
    parts = path.split(".")
    return [".".join(parts[:depth]) for depth in range(1, len(parts) + 1)]
