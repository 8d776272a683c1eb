"""How a state on a GPU is copied, told by stand-ins for streams and page-locked memory where there is no GPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from ckptop.store import host_copy
from ckptop.store.host_copy import HostCopy


class Stream:
    """A stream that writes down what happens to it."""

    def __init__(self, said: list[str], name: str) -> None:
        self.said, self.name = said, name

    def wait_stream(self, other: Stream) -> None:
        self.said.append(f"{self.name} waits for {other.name}")

    def synchronize(self) -> None:
        self.said.append(f"host waits for {self.name}")


class Storage:
    """A tensor's memory that says it is on a GPU."""

    device = torch.device("cuda", 0)

    def __init__(self, real: torch.UntypedStorage) -> None:
        self.real = real

    def data_ptr(self) -> int:
        return self.real.data_ptr()

    def nbytes(self) -> int:
        return self.real.nbytes()


class Buffer:
    """Host memory that writes down what is copied into it, and how."""

    def __init__(self, said: list[str], size_bytes: int) -> None:
        self.said, self.real = said, torch.zeros(size_bytes, dtype=torch.uint8).untyped_storage()

    def nbytes(self) -> int:
        return self.real.nbytes()

    def copy_(self, source: Storage, *, non_blocking: bool) -> None:
        self.said.append("copy beside the host" if non_blocking else "copy")
        self.real.copy_(source.real)


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What happens, in order, on a machine whose GPU is made up."""
    found: list[str] = []

    @contextmanager
    def on(stream: Stream) -> Iterator[None]:
        found.append(f"on {stream.name}")
        yield
        found.append(f"off {stream.name}")

    def touched(size_bytes: int, *, pinned: bool) -> Buffer:
        found.append("pinned" if pinned else "pageable")
        return Buffer(found, size_bytes)

    copied_storage = HostCopy._copied_storage

    def on_a_gpu(copies: HostCopy, storage: torch.UntypedStorage, copied: bool) -> Any:
        return copied_storage(copies, Storage(storage), copied).real  # type: ignore[arg-type, attr-defined]

    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "Stream", lambda: Stream(found, "side"))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: Stream(found, "loop"))
    monkeypatch.setattr(torch.cuda, "stream", on)
    monkeypatch.setattr(host_copy, "_touched", touched)
    monkeypatch.setattr(HostCopy, "_copied_storage", on_a_gpu)
    return found


COPY = ["side waits for loop", "on side", "copy beside the host", "off side", "host waits for side"]


def test_a_state_on_a_gpu_is_copied_on_a_stream_of_its_own_after_what_the_loop_queued(said: list[str]) -> None:
    copies, weights = HostCopy(), torch.arange(4.0)

    copied = copies.take({"weights": weights, "part": weights[1:3]})

    assert said == [*COPY[:2], "pinned", *COPY[2:]]
    weights.fill_(7.0)
    assert copied["weights"].tolist() == [0.0, 1.0, 2.0, 3.0]
    assert copied["part"].tolist() == [1.0, 2.0]


def test_pinned_buffers_are_made_once(said: list[str]) -> None:
    copies, state = HostCopy(), {"weights": torch.arange(4.0)}
    copies.prepare(state)
    assert "pinned" in said
    assert "copy beside the host" not in said
    said.clear()

    copies.take(state)
    copies.take(state)

    assert said == COPY * 2


@pytest.mark.parametrize("pinned", [True, False])
def test_only_what_a_gpu_copies_from_is_pinned(monkeypatch: pytest.MonkeyPatch, *, pinned: bool) -> None:
    asked: list[bool] = []
    zeros = torch.zeros

    def recorded(*size: int, pin_memory: bool, **named: Any) -> torch.Tensor:
        asked.append(pin_memory)
        return zeros(*size, **named)

    monkeypatch.setattr(torch, "zeros", recorded)

    host_copy._touched(100, pinned=pinned)

    assert asked == [pinned]
