"""What can stand behind the pooling: a projection's layers, and scaling to length 1."""

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from embedtune_api.spec import Projection

ACTIVATIONS: Final = {
    "relu": "ReLU",
    "gelu": "GELU",
    "silu": "SiLU",
    "tanh": "Tanh",
    "sigmoid": "Sigmoid",
    "none": "Identity",
}
"""The spec's names, and torch.nn's."""


class Dense(nn.Module):
    """A linear layer and an activation, as sentence-transformers' Dense."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        bias: bool = True,
        activation: str = "Identity",
    ) -> None:
        """`activation` is a class of torch.nn that needs no argument."""
        super().__init__()
        self.linear = nn.Linear(in_features, out_features, bias=bias)
        self.activation_name = activation
        self.activation: nn.Module = getattr(nn, activation)()

    def forward(self, x_BD: Tensor) -> Tensor:
        """(B, in_features) to (B, out_features)."""
        out: Tensor = self.activation(self.linear(x_BD))
        return out


class LayerNorm(nn.Module):
    """Layer normalisation, as sentence-transformers' module of that name."""

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dimension)

    def forward(self, x_BD: Tensor) -> Tensor:
        """(B, D) to (B, D)."""
        out: Tensor = self.norm(x_BD)
        return out


class Normalize(nn.Module):
    """Scales each embedding to Euclidean length 1; a zero vector stays zero."""

    def forward(self, x_BD: Tensor) -> Tensor:
        """(B, D) to (B, D)."""
        return functional.normalize(x_BD, dim=-1)


class Hidden(nn.Module):
    """A projection's hidden layer: linear, normalisation, activation, dropout."""

    def __init__(self, in_features: int, out_features: int, given: Projection) -> None:
        super().__init__()
        self.linear = nn.Linear(in_features, out_features)
        self.norm: nn.Module | None = None
        if given.norm != "none":
            kind = nn.BatchNorm1d if given.norm == "batch" else nn.LayerNorm
            self.norm = kind(out_features)
        self.activation_name = ACTIVATIONS[given.activation]
        self.activation: nn.Module = getattr(nn, self.activation_name)()
        self.dropout = nn.Dropout(given.dropout)

    def forward(self, x_BD: Tensor) -> Tensor:
        """(B, in_features) to (B, out_features)."""
        x_BD = self.linear(x_BD)
        if self.norm is not None:
            x_BD = self.norm(x_BD)
        out: Tensor = self.dropout(self.activation(x_BD))
        return out


Layer = Dense | LayerNorm | Normalize
"""What a saved model has behind its pooling."""


def new_projection(in_features: int, projection: Projection, seed: int) -> list[Hidden | Dense]:
    """New layers, the last of which is linear.

    Linear layers begin as (semi-)orthogonal maps without bias. Such a map keeps the backbone's
    geometry as far as the dimensions allow, so that training starts from what the backbone knows
    (Saxe et al. 2014).
    """
    generator = torch.Generator().manual_seed(seed)
    layers: list[Hidden | Dense] = []
    width = in_features
    for size in projection.hidden:
        layers.append(Hidden(width, size, projection))
        width = size
    layers.append(Dense(width, projection.dim))
    for layer in layers:
        nn.init.orthogonal_(layer.linear.weight, generator=generator)
        nn.init.zeros_(layer.linear.bias)
    return layers


def saved_layers(layers: Sequence[nn.Module]) -> list[Layer]:
    """The same map in evaluation mode, of layers that sentence-transformers has.

    Batch normalisation goes into the linear layer before it, dropout away, and an activation
    behind layer normalisation becomes that of a Dense which is the identity.
    """
    saved: list[Layer] = []
    for layer in layers:
        if isinstance(layer, Hidden):
            saved += _saved_hidden(layer)
        elif isinstance(layer, Dense | LayerNorm | Normalize):
            saved.append(layer)
        else:
            raise TypeError(f"a {type(layer).__name__} cannot be saved")
    return saved


@torch.no_grad()
def _saved_hidden(layer: Hidden) -> list[Layer]:
    linear, norm = layer.linear, layer.norm
    device, width = linear.weight.device, linear.out_features
    activation = "Identity" if isinstance(norm, nn.LayerNorm) else layer.activation_name
    dense = Dense(linear.in_features, width, activation=activation).to(device).eval()
    scale_D, shift_D = torch.ones(width, device=device), torch.zeros(width, device=device)
    if isinstance(norm, nn.BatchNorm1d):
        mean_D, variance_D = norm.running_mean, norm.running_var
        if mean_D is None or variance_D is None:
            raise TypeError("batch normalisation without running statistics")
        scale_D = norm.weight / (variance_D + norm.eps).sqrt()
        shift_D = norm.bias - mean_D * scale_D
    dense.linear.weight.copy_(linear.weight * scale_D[:, None])
    dense.linear.bias.copy_(linear.bias * scale_D + shift_D)
    if not isinstance(norm, nn.LayerNorm):
        return [dense]
    normed = LayerNorm(width).to(device).eval()
    normed.norm.load_state_dict(norm.state_dict())
    if layer.activation_name == "Identity":
        return [dense, normed]
    last = Dense(width, width, bias=False, activation=layer.activation_name).to(device).eval()
    nn.init.eye_(last.linear.weight)
    return [dense, normed, last]
