"""What can stand behind the pooling: linear layers, and scaling to length 1."""

import torch
from torch import Tensor, nn
from torch.nn import functional


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


class Normalize(nn.Module):
    """Scales each embedding to Euclidean length 1; a zero vector stays zero."""

    def forward(self, x_BD: Tensor) -> Tensor:
        """(B, D) to (B, D)."""
        return functional.normalize(x_BD, dim=-1)


def new_projection(in_features: int, out_features: int, seed: int) -> Dense:
    """A linear layer that begins as a (semi-)orthogonal map without bias.

    Such a map keeps the backbone's geometry as far as the dimensions allow, so that training
    starts from what the backbone knows (Saxe et al. 2014).
    """
    layer = Dense(in_features, out_features)
    generator = torch.Generator().manual_seed(seed)
    nn.init.orthogonal_(layer.linear.weight, generator=generator)
    nn.init.zeros_(layer.linear.bias)
    return layer
