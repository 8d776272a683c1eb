"""The symmetric mean absolute percentage error as people quote it: 0 to 200 percent."""

from __future__ import annotations

import torch
from torchmetrics import SymmetricMeanAbsolutePercentageError


class Smape(SymmetricMeanAbsolutePercentageError):
    """The symmetric mean absolute percentage error in percent, 0 to 200."""

    def compute(self) -> torch.Tensor:
        """Percent over everything seen since the last reset."""
        return 100 * super().compute()


def smape_of_constant(constant: torch.Tensor, targets: torch.Tensor) -> float:
    """What always answering `constant` reaches, in percent."""
    smape = Smape()
    smape.update(constant.expand_as(targets), targets)
    return float(smape.compute())
