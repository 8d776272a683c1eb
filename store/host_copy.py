"""A copy of a state in host memory, taken at one optimizer step, in buffers that are used again.

A fresh buffer costs a page fault every 4 KiB, which takes longer than the copy; so buffers are made and touched once
(`prepare`, or the first copy) and kept. Tensors that share a storage share it in the copy: what is written from it is
what would have been written from the state.

The buffers are shared memory, because a forked process (a DataLoader worker) would otherwise turn every page of them
into a page fault and a copy at the next save; a process that did not make them makes its own.
"""

from __future__ import annotations

import copy
import mmap
import os
from collections import OrderedDict
from typing import Any

import torch

from ckptop.store.state_dicts import State

_MAPPED_FROM_BYTES = 64 * 1024
"""Of a buffer: below, a map of its own costs more than it is worth, and a fork little."""

_IMMUTABLE = (str, bytes, int, float, complex, bool, type(None), torch.dtype, torch.device, torch.Size)


class HostCopy:
    """The buffers of one state; a copy is valid until the next one is taken."""

    def __init__(self) -> None:
        self._buffers: list[torch.UntypedStorage] = []
        self._owner_pid = os.getpid()
        self._used = 0
        self._storages: dict[tuple[torch.device, int], torch.UntypedStorage] = {}

    @property
    def size_bytes(self) -> int:
        """Bytes of host memory that are kept."""
        return sum(buffer.nbytes() for buffer in self._buffers)

    def prepare(self, state: State) -> None:
        """Make and touch what a copy of `state` will need; nothing of it is read."""
        self._walk(state, copies=False)

    def take(self, state: State) -> State:
        """A copy of `state` that later steps cannot change: tensors on the CPU, containers of its own.

        Blocks for one copy of its bytes, on CUDA for the transfer of them from everything queued before.
        """
        taken: State = self._walk(state, copies=True)
        return taken

    def _walk(self, state: State, *, copies: bool) -> Any:
        self._used, self._storages = 0, {}
        if self._owner_pid != os.getpid():  # those of the parent may be on their way to the disk
            self._buffers, self._owner_pid = [], os.getpid()
        stream = torch.cuda.Stream() if torch.cuda.is_initialized() else None  # type: ignore[no-untyped-call]  # torch has no types here
        if stream is None:
            done = self._copied(state, copies)
        else:  # beside what the loop queues, but after what it has queued so far
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                done = self._copied(state, copies)
            stream.synchronize()
        del self._buffers[self._used :]  # the state has become smaller
        self._storages = {}
        return done

    def _copied(self, value: Any, copies: bool) -> Any:
        if isinstance(value, torch.Tensor):
            return self._copied_tensor(value, copies)
        if type(value) in (dict, OrderedDict):
            made = type(value)((key, self._copied(item, copies)) for key, item in value.items())
            if hasattr(value, "_metadata"):  # of a module's state_dict: versions that loading goes by
                made._metadata = copy.deepcopy(value._metadata)
            return made
        if isinstance(value, list | tuple) and type(value) in (list, tuple):
            return type(value)(self._copied(item, copies) for item in value)
        return value if isinstance(value, _IMMUTABLE) else copy.deepcopy(value)

    def _copied_tensor(self, tensor: torch.Tensor, copies: bool) -> torch.Tensor:
        if tensor.layout is not torch.strided or tensor.is_quantized or tensor.device.type == "meta":
            return tensor.detach().clone().cpu() if copies else tensor
        storage = self._copied_storage(tensor.untyped_storage(), copies)
        made = torch.empty(0, dtype=tensor.dtype)
        made.set_(storage, tensor.storage_offset(), tensor.size(), tensor.stride())
        return torch.nn.Parameter(made, tensor.requires_grad) if isinstance(tensor, torch.nn.Parameter) else made

    def _copied_storage(self, storage: torch.UntypedStorage, copies: bool) -> torch.UntypedStorage:
        key = (storage.device, storage.data_ptr())
        if key not in self._storages or storage.nbytes() == 0:
            buffer = self._buffer(storage.nbytes(), pinned=storage.device.type == "cuda")
            if copies:
                buffer.copy_(storage, non_blocking=True)
            self._storages[key] = buffer
        return self._storages[key]

    def _buffer(self, size_bytes: int, *, pinned: bool) -> torch.UntypedStorage:
        """The next buffer: the one that the copy before had in this place, if it fits."""
        place, self._used = self._used, self._used + 1
        if place == len(self._buffers) or self._buffers[place].nbytes() != size_bytes:
            self._buffers[place : place + 1] = [_touched(size_bytes, pinned=pinned)]
        return self._buffers[place]


def _touched(size_bytes: int, *, pinned: bool) -> torch.UntypedStorage:
    """New memory whose pages are there; large memory begins on a page, so that the disk can fetch it itself."""
    if pinned or size_bytes < _MAPPED_FROM_BYTES:
        return torch.zeros(size_bytes, dtype=torch.uint8, pin_memory=pinned).untyped_storage()
    return torch.frombuffer(mmap.mmap(-1, size_bytes), dtype=torch.uint8).zero_().untyped_storage()
