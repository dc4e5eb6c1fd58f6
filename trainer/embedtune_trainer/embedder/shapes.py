"""Cheap stand-ins for what keeps a tensor's shape, for runs on the meta device.

There, torch finds the shape of a normalisation or an activation by going through its definition in
Python, which takes milliseconds each and most of the time that looking at a network takes.
"""

from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

KEEPING: Final = frozenset(
    (
        functional.batch_norm,
        functional.layer_norm,
        functional.group_norm,
        functional.gelu,
        functional.softmax,
        torch.softmax,
        Tensor.softmax,
    )
)
"""Functions whose first argument's shape is that of their result; none changes it in place."""


class ShapesOnly(TorchFunctionMode):
    """Within it, what keeps the shape of a meta tensor only says on what its result depends."""

    def __torch_function__(
        self,
        func: Any,  # noqa: ANN401  what torch gives
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        given = kwargs or {}
        if func in KEEPING and args and args[0].is_meta and given.get("dtype") is None:
            tensors = [x for x in (*args, *given.values()) if isinstance(x, Tensor)]
            return _Dependent.apply(*tensors)
        return func(*args, **given)


class _Dependent(torch.autograd.Function):
    """A tensor like the first that depends on all of them; there is nothing to derive."""

    @staticmethod
    def forward(_: Any, *tensors: Tensor) -> Tensor:  # noqa: ANN401  torch's context
        return torch.empty_like(tensors[0])
