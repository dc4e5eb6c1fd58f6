"""SigLIP's temperature and bias: the model's where it has them, else the loss's own."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from embedtune_trainer.objectives.kind import Known
from embedtune_trainer.objectives.loss import BatchLoss
from embedtune_trainer.objectives.ranking import begin_temperature
from embedtune_trainer.objectives.siglip import SigLIPLoss

FIRST_TEMPERATURE: Final = 0.1
FIRST_BIAS: Final = -10.0
"""What Zhai et al. 2023 begin with, so that the many negatives do not weigh heavily at first."""


class SigLIPObjective(nn.Module):
    """SigLIP's loss over pairs, with what of temperature and bias the model does not have."""

    def __init__(self, options: SigLIPLoss, known: Known) -> None:
        super().__init__()
        self._options = options
        self._known = known
        own: dict[str, nn.Parameter] = {}
        if known.log_scale is None:
            own["log_scale"] = nn.Parameter(torch.tensor(FIRST_TEMPERATURE).log().neg())
        if known.bias is None:
            own["bias"] = nn.Parameter(torch.tensor(FIRST_BIAS))
        self.own = nn.ParameterDict(own)
        begin_temperature(options.temperature, self._log_scale, learn=options.learnable)
        bias = self._bias
        if options.bias is not None:
            with torch.no_grad():
                bias.fill_(options.bias)
        bias.requires_grad_(options.learnable)

    def forward(self, embedded: Sequence[Tensor], batch: NDArray[np.int64]) -> BatchLoss:
        """The loss of embeddings, (B, D) a column, of these rows."""
        left_BD, right_BD = embedded[:2]
        left_out = self._known.left_out(batch, left_BD.device)
        return self._options(left_BD, right_BD, self._log_scale, self._bias, left_out)

    @property
    def _log_scale(self) -> nn.Parameter:
        return self.own["log_scale"] if self._known.log_scale is None else self._known.log_scale

    @property
    def _bias(self) -> nn.Parameter:
        return self.own["bias"] if self._known.bias is None else self._known.bias
