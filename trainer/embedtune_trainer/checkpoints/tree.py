"""A nested state as JSON beside named tensors, and back, the same to the last bit and stride.

A state is made of dictionaries (keys: text or whole numbers), lists, tuples, tensors, numpy arrays
and JSON's scalars. Nothing in it is ever executed, unlike a pickle.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

Node = Any
"""JSON: scalars and lists stand for themselves, everything else is an object with one key that
says what it is."""


def flatten(state: object) -> tuple[Node, dict[str, Tensor]]:
    """Take a state apart; its tensors are copied, so that the training can go on at once.

    Returns:
        The JSON that holds it together, and the tensors, contiguous and on the CPU, by names
        that tell where in the state they stand.

    Raises:
        TypeError: something in it is of no known kind; the message says where.
    """
    tensors: dict[str, Tensor] = {}
    return _down(state, "", tensors), tensors


def unflatten(node: Node, tensors: Mapping[str, Tensor]) -> Any:  # noqa: ANN401  any state
    """Put a state together again.

    Raises:
        KeyError, ValueError: the JSON is not one of flatten's, or a tensor is missing.
    """
    if isinstance(node, list):
        return [unflatten(child, tensors) for child in node]
    if not isinstance(node, dict):
        return node
    if "tensor" in node:
        return _with_stride(tensors[node["tensor"]], node.get("stride"))
    ((kind, value),) = node.items()
    match kind:
        case "dict":
            found: Any = {key: unflatten(child, tensors) for key, child in value}
        case "tuple":
            found = tuple(unflatten(child, tensors) for child in value)
        case "array":
            found = tensors[value].numpy()
        case "float":
            found = float(value)
        case _:
            raise ValueError(f"{kind!r} is no kind of node")
    return found


def _down(value: object, path: str, tensors: dict[str, Tensor]) -> Node:
    if isinstance(value, Tensor):
        return _tensor(value, path, tensors)
    if isinstance(value, np.ndarray):
        tensors[path] = torch.from_numpy(value.copy())
        return {"array": path}
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"float": repr(value)}
    if isinstance(value, Mapping):
        return {
            "dict": [[_key(k, path), _down(v, _at(path, k), tensors)] for k, v in value.items()]
        }
    if isinstance(value, list | tuple):
        children = [_down(v, _at(path, i), tensors) for i, v in enumerate(value)]
        return children if isinstance(value, list) else {"tuple": children}
    raise TypeError(f"{path}: a {type(value).__name__} cannot be part of a checkpoint")


def _tensor(value: Tensor, path: str, tensors: dict[str, Tensor]) -> Node:
    kept = torch.empty(value.shape, dtype=value.dtype)
    kept.copy_(value.detach())
    tensors[path] = kept
    if value.stride() == kept.stride() or not _dense(value):
        return {"tensor": path}
    return {"tensor": path, "stride": list(value.stride())}


def _dense(value: Tensor) -> bool:
    """Whether its elements fill a piece of memory without gaps, in whatever order."""
    reach = sum((n - 1) * s for n, s in zip(value.shape, value.stride(), strict=True))
    return value.numel() > 0 and reach == value.numel() - 1


def _with_stride(value: Tensor, stride: list[int] | None) -> Tensor:
    """In its own memory layout: fused optimizers want their state laid out as the weight is."""
    if stride is None:
        return value
    return torch.empty_strided(value.shape, stride, dtype=value.dtype).copy_(value)


def _key(key: object, path: str) -> str | int:
    if isinstance(key, str | int):
        return key
    raise TypeError(f"{path}: the key {key!r} is neither text nor a whole number")


def _at(path: str, key: object) -> str:
    """The path of a child; slashes in a key are escaped as in a JSON pointer."""
    name = str(key).replace("~", "~0").replace("/", "~1")
    return f"{path}/{name}" if path else name
