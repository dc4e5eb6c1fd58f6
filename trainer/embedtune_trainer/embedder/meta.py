"""Networks without weights: built on the meta device, where tensors have shapes and no numbers."""

from collections.abc import Callable
from typing import Any, Final

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

_EMPTY: Final = (torch.empty, torch.zeros, torch.ones)
_FILLING: Final = frozenset(
    (
        "uniform_",
        "normal_",
        "trunc_normal_",
        "erfinv_",
        "clamp_",
        "mul_",
        "add_",
        "fill_",
        "zero_",
        "kaiming_uniform_",
    )
)


def built_without_weights(build: Callable[[], nn.Module]) -> nn.Module:
    """What `build` makes, its weights on the meta device."""
    try:
        with torch.device("meta"), _Building(weights_only=False):
            return build()
    except NotImplementedError:  # it computes its sizes with tensors
        with _Building(weights_only=True):
            return build()


class _Building(TorchFunctionMode):
    """Leaves out what fills weights with numbers, since there are none.

    Args:
        weights_only: put only new, empty tensors, which weights begin as, on the meta device.
    """

    def __init__(self, *, weights_only: bool) -> None:
        super().__init__()
        self._weights_only = weights_only

    def __torch_function__(
        self,
        func: Any,  # noqa: ANN401  what torch gives
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        given = kwargs or {}
        if self._weights_only and func in _EMPTY:
            given = {**given, "device": "meta"}
        if getattr(func, "__name__", "") in _FILLING:
            weight = args[0] if args else given.get("tensor")  # torch.nn.init names it
            if isinstance(weight, torch.Tensor) and weight.is_meta:
                return weight
        return func(*args, **given)
