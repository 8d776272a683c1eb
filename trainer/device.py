"""Where a training computes and in which precision; the only module that knows CUDA's peculiarities."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass

import torch

from ckptop.store.errors import UsageError

_NO_AUTOCAST = contextlib.nullcontext()
_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, slots=True)
class Device:
    """A device, and the precision of what runs on it."""

    torch_device: torch.device
    precision: str

    @property
    def is_cuda(self) -> bool:
        """Whether work is queued on a GPU instead of being done at once."""
        return self.torch_device.type == "cuda"

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """The context of forward pass and loss."""
        dtype = _AUTOCAST.get(self.precision)
        return _NO_AUTOCAST if dtype is None else torch.autocast(self.torch_device.type, dtype)

    def scaler(self) -> torch.amp.GradScaler | None:
        """A gradient scaler for fp16, whose small gradients vanish otherwise; bf16 needs none."""
        return torch.amp.GradScaler(self.torch_device.type) if self.precision == "fp16" else None

    def move(self, batch: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        """The tensors on the device; a copy from pinned memory does not wait."""
        if not self.is_cuda:
            return batch
        return tuple(tensor.to(self.torch_device, non_blocking=True) for tensor in batch)


def open_device(name: str, precision: str, *, deterministic: bool) -> Device:
    """Choose and prepare the device.

    Args:
        name: auto, cpu, cuda or cuda:N.
        precision: fp32, bf16 or fp16.
        deterministic: On CUDA, use only kernels that give the same bits every time where there are any; torch
            warns of an operation that has none.

    Raises:
        UsageError: There is no such device, or it cannot do the precision.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"no device {name!r}; use auto, cpu, cuda or cuda:1") from None
    if device.type == "cuda":
        _prepare_cuda(device, precision, deterministic=deterministic)
    elif device.type != "cpu":
        raise UsageError(f"device {name!r} is not supported; use auto, cpu, cuda or cuda:1")
    return Device(device, precision)


def _prepare_cuda(device: torch.device, precision: str, *, deterministic: bool) -> None:
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if (device.index or 0) >= count:
        raise UsageError(f"no device {str(device)!r}; torch sees {count} CUDA devices here. --device cpu works")
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS starts
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.backends.cudnn.benchmark = False  # its choice of kernels depends on timing
    torch.cuda.set_device(device)
    if precision == "bf16" and not torch.cuda.is_bf16_supported():
        raise UsageError(f"{torch.cuda.get_device_name(device)} has no bf16; use --set precision=fp16 or fp32")


class StepValues:
    """Loss and gradient norm of one step on their way to the host.

    On CUDA the copy is queued behind the step and read while the next one runs, so that logging every step
    never empties the queue.
    """

    def __init__(self, loss: torch.Tensor, grad_norm: torch.Tensor) -> None:
        self._values: tuple[float, float] | None = None
        self._loss, self._grad_norm = loss, grad_norm
        if loss.is_cuda:
            both = torch.stack([loss.float(), grad_norm.float()])
            self._host = torch.empty(2, pin_memory=True)
            self._host.copy_(both, non_blocking=True)
            self._copied = torch.cuda.Event()  # type: ignore[no-untyped-call]  # torch has no types here
            self._copied.record()

    def found_inf(self) -> torch.Tensor:
        """1 where either is no number, else 0, on the device: what a fused optimizer asks before it moves."""
        return (self._loss.float() + self._grad_norm.float()).isfinite().logical_not().float()

    def read(self) -> tuple[float, float]:
        """Both as numbers; waits for the step where it is still running."""
        if self._values is None:
            if self._loss.is_cuda:
                self._copied.synchronize()
                loss, grad_norm = self._host.tolist()
            else:
                loss, grad_norm = self._loss.item(), self._grad_norm.item()
            self._values = loss, grad_norm
        return self._values
