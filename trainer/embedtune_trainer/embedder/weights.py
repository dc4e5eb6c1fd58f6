"""A state dict from a file into a library's network, every tensor accounted for."""

import pickle
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from embedtune_trainer.errors import UnsupportedModel

WRAPPERS: Final = ("state_dict_ema", "state_dict", "model_ema", "model")
"""Under what training programs keep the weights in their files."""
COUNTER: Final = "num_batches_tracked"
"""Batch normalisation's count of batches, which old files lack and nothing here depends on."""


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file, or of what torch.save wrote; no code in it is run.

    Raises:
        UnsupportedModel: it is neither, or holds other things.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, SafetensorError, RuntimeError, EOFError, OSError) as error:
        raise UnsupportedModel(
            f"{path.name}: is no state dict that can be loaded without running code in it"
            f" ({str(error).splitlines()[0]}); save one with"
            " safetensors.torch.save_file(model.state_dict(), ...)"
        ) from error
    for wrapper in WRAPPERS:
        if isinstance(state, Mapping) and isinstance(state.get(wrapper), Mapping):
            state = state[wrapper]
            break
    if not isinstance(state, Mapping) or not all(isinstance(t, Tensor) for t in state.values()):
        raise UnsupportedModel(f"{path.name}: is not a state dict, names and tensors only")
    if state and all(key.startswith("module.") for key in state):
        state = {key.removeprefix("module."): tensor for key, tensor in state.items()}
    return state if isinstance(state, dict) else dict(state)


def in_order(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """The tensors under the wanted names, told by their order alone.

    Some ports keep a library's order but not its names. Each tensor's shape and the last part of
    its name must be the wanted one's, so that no bias becomes a mean.

    Returns:
        None if they are not the same in order.
    """
    given = [(key, tensor) for key, tensor in state.items() if not key.endswith(COUNTER)]
    names = [(key, tensor) for key, tensor in wanted.items() if not key.endswith(COUNTER)]
    if len(given) != len(names):
        return None
    same = all(
        one.shape == other.shape and key.rpartition(".")[2] == name.rpartition(".")[2]
        for (key, one), (name, other) in zip(given, names, strict=True)
    )
    return {n: t for (n, _), (_, t) in zip(names, given, strict=True)} if same else None


def load_strictly(
    network: nn.Module, state: Mapping[str, Tensor], gone: Sequence[str], source: str
) -> None:
    """Load a state dict; what belongs to removed modules may be there or not, and of any shape.

    Args:
        network: without the removed modules.
        state: names as in the whole network.
        gone: paths of the removed modules.
        source: what messages call it.

    Raises:
        UnsupportedModel: what is missing, superfluous or misshapen.
    """
    kept = {k: t for k, t in state.items() if not any(k.startswith(f"{path}.") for path in gone)}
    wanted: Any = network.state_dict()
    for key in wanted.keys() - kept.keys():
        if key.endswith(COUNTER):
            kept[key] = wanted[key]
    wrong = {
        "missing": sorted(wanted.keys() - kept.keys()),
        "superfluous": sorted(kept.keys() - wanted.keys()),
        "misshapen": sorted(k for k in wanted.keys() & kept if wanted[k].shape != kept[k].shape),
    }
    if any(wrong.values()):
        said = "; ".join(f"{what}: {_list(keys)}" for what, keys in wrong.items() if keys)
        raise UnsupportedModel(f"{source}: is not a state dict of {_name(network)}: {said}")
    versioned: Any = OrderedDict(kept)  # some networks convert what an older version of them wrote
    versioned._metadata = getattr(state, "_metadata", None) or wanted._metadata
    network.load_state_dict(versioned, strict=True)


def _name(network: nn.Module) -> str:
    return type(network).__name__


def _list(keys: Sequence[str]) -> str:
    return ", ".join(keys[:5]) + (f" and {len(keys) - 5} more" if len(keys) > 5 else "")
