"""The gradient's norm, clipping and clearing, with less around them than torch's own.

`clip_grad_norm_` and `Optimizer.zero_grad` walk, group and wrap whatever they may be given; the work on one model's
gradients is the rest, to the same bits. At steps of a millisecond that is more than all that the trainer adds to one
(`benchmarks/trainer.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch


@torch.no_grad()
def clip_gradients(parameters: Sequence[torch.nn.Parameter], clip_norm: float | None) -> torch.Tensor:
    """The L2 norm of the whole gradient before it is clipped to `clip_norm`; None leaves it as it is.

    The same as `torch.nn.utils.clip_grad_norm_`, which is asked where gradients differ in device or dtype.

    Returns:
        () on the parameters' device, in their gradients' dtype; 0 where there is no gradient.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if not _are_alike(gradients):
        if clip_norm is None:
            return torch.nn.utils.get_total_norm(gradients)
        return torch.nn.utils.clip_grad_norm_(parameters, clip_norm)
    norm: torch.Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    if clip_norm is not None:
        # 1e-6 as in torch; always multiplied, for on CUDA a comparison would wait for the device.
        torch._foreach_mul_(gradients, (clip_norm / (norm + 1e-6)).clamp_(max=1.0))
    return norm


def clear_gradients(parameters: Sequence[torch.nn.Parameter]) -> None:
    """What `zero_grad(set_to_none=True)` does."""
    for parameter in parameters:
        parameter.grad = None


def _are_alike(gradients: Sequence[torch.Tensor]) -> bool:
    """Whether one call can take them all."""
    if not gradients:
        return False
    device, dtype = gradients[0].device, gradients[0].dtype
    return all(g.device == device and g.dtype is dtype for g in gradients)
