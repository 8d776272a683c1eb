"""Tensors into files and back: what a state holds is `state_dicts`, this is how it gets to the disk.

`torch.save` streams the zip through a file of ours that hashes what passes, so a checkpoint's xxh3-128 costs no second
read; a large one goes past the page cache and gets its checksums from us. Reading is `weights_only=True`, always.
"""

from __future__ import annotations

import pickle
import struct
import zipfile
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, cast

import torch
import xxhash

from ckptop.host.terminal import clean
from ckptop.store.direct_file import BLOCK_BYTES, DirectFile
from ckptop.store.errors import Damaged, NotFound, UsageError
from ckptop.store.files import new_file
from ckptop.store.fs import LOCAL, FileSystem
from ckptop.store.room import require_room
from ckptop.store.staging import removed_on_error
from ckptop.store.state_dicts import State
from ckptop.store.zip_checksums import UnknownStream, ZipChecksums

UNREADABLE = (
    RuntimeError, EOFError, ValueError, LookupError, TypeError, AttributeError, AssertionError, ArithmeticError,
    MemoryError, struct.error, zipfile.BadZipFile,
)  # fmt: skip
"""How torch answers bytes that `torch.save` did not write: it takes what is no zip for a pickle of old, which is a
program, and runs it as far as it gets."""


DIRECT_FROM_BYTES = 16 * 1024 * 1024
"""A state of so many bytes is written past the page cache, each large tensor from a block of its own."""
_PART_BYTES = 4 * 1024 * 1024
"""Hashed and written at once."""
_WORTH_A_THREAD_BYTES = 1024 * 1024

Write = Callable[[memoryview], object]


@dataclass(frozen=True, slots=True)
class Written:
    """A file written and fsynced, not yet committed."""

    path: Path
    size_bytes: int
    xxh3_128: str


class _HashingFile:
    """What `torch.save` writes to: counts and hashes everything on its way to the disk.

    With a `disk`, which is one thread, a large part is hashed while it is written; neither holds the GIL.
    """

    def __init__(self, write: Write, disk: Executor | None = None, checksums: ZipChecksums | None = None) -> None:
        self._write, self._disk, self._checksums = write, disk, checksums
        self.digest = xxhash.xxh3_128()
        self.size_bytes = 0
        self.error: Exception | None = None

    def write(self, data: bytes | memoryview) -> int:
        try:
            self._pass_on(memoryview(data))
        except (OSError, UnknownStream) as error:
            self.error = error  # torch turns it into a RuntimeError that does not say what it was
            raise
        return len(data)

    def _pass_on(self, data: memoryview) -> None:
        piece = memoryview(data if self._checksums is None else self._checksums.corrected(data))
        for start in range(0, piece.nbytes, _PART_BYTES):
            part = piece[start : start + _PART_BYTES]
            written = None
            if self._disk is not None and part.nbytes >= _WORTH_A_THREAD_BYTES:
                written = self._disk.submit(self._write, part)
            self.digest.update(part)
            if self._checksums is not None:
                self._checksums.update(part)
            self.size_bytes += part.nbytes
            if written is None:
                self._write(part)
            else:
                written.result()  # torch takes the memory back as soon as this call ends

    def flush(self) -> None:
        """Nothing waits here."""


def tensor_bytes(state: object) -> int:
    """Bytes of the memory behind all tensors in a nested state, shared memory once: what its file holds at least."""
    storages: dict[int, int] = {}
    waiting = [state]
    while waiting:
        value = waiting.pop()
        if isinstance(value, torch.Tensor):
            storage = value.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
        elif isinstance(value, Mapping):
            waiting.extend(value.values())
        elif isinstance(value, list | tuple):
            waiting.extend(value)
    return sum(storages.values())


def write_state(path: Path, state: State, fs: FileSystem = LOCAL, *, compress: bool = False) -> Written:
    """Write `state` to the new file `path`, hashed and fsynced.

    Args:
        path: A staging name; it must not exist.
        state: What to save; tensors on any device.
        fs: The seam.
        compress: Deflate the records inside the zip. Smaller by a tenth for fp32 weights, and much slower.

    Raises:
        DiskError: The disk or a quota cannot hold it; nothing was written.
        OSError: The disk refused; the torn file was removed where that was possible.
        UsageError: `state` holds something `torch.load(weights_only=True)` would refuse; nothing is left.
    """
    if compress:
        return _write_compressed(path, state, fs)
    if tensor_bytes(state) >= DIRECT_FROM_BYTES and (settings := _direct_settings()) is not None:
        with suppress(UnknownStream), settings:
            return _write_directly(path, state, fs)
    with removed_on_error(path, fs), new_file(path, fs) as fd:
        require_room(fs, fd, path, tensor_bytes(state))
        file = _HashingFile(partial(fs.write_all, fd))
        _save(state, file)
    return Written(path, file.size_bytes, str(file.digest.hexdigest()))


def _direct_settings() -> AbstractContextManager[object] | None:
    """That this thread's `torch.save` leaves checksums out, and begins tensors on a block; None if it cannot."""
    from torch.utils.serialization import config

    wanted = {"save.compute_crc32": False, "save.storage_alignment": BLOCK_BYTES}
    if not all(hasattr(config.save, name.removeprefix("save.")) for name in wanted):
        return None
    settings: AbstractContextManager[object] = config.patch(wanted)  # type: ignore[attr-defined]  # put there at run time
    return settings


def _write_directly(path: Path, state: State, fs: FileSystem) -> Written:
    """Past the page cache, and with checksums of ours.

    Raises:
        UnknownStream: This torch writes another zip; nothing is left.
    """
    with removed_on_error(path, fs), new_file(path, fs) as fd, ThreadPoolExecutor(1, "ckptop-disk") as disk:
        require_room(fs, fd, path, tensor_bytes(state))
        direct, checksums = DirectFile(fs, fd), ZipChecksums()
        file = _HashingFile(direct.write, disk, checksums)
        _save(state, file)
        checksums.finish()
        direct.finish()
    return Written(path, file.size_bytes, str(file.digest.hexdigest()))


def _save(state: State, file: _HashingFile) -> None:
    try:
        torch.save(state, cast("IO[bytes]", file))
    except RuntimeError:
        if file.error is not None:
            raise file.error from None
        raise
    except (pickle.PicklingError, AttributeError) as error:
        raise UsageError(f"the state cannot be saved: {error}") from None


def _write_compressed(path: Path, state: State, fs: FileSystem) -> Written:
    plain = path.with_name(f"{path.name}.plain.tmp")
    write_state(plain, state, fs)
    with removed_on_error(plain, fs), removed_on_error(path, fs), new_file(path, fs) as fd:
        file = _HashingFile(partial(fs.write_all, fd))
        with zipfile.ZipFile(plain) as source, zipfile.ZipFile(cast("IO[bytes]", _Sink(file)), "w") as target:
            for info in source.infolist():
                target.writestr(info.filename, source.read(info), zipfile.ZIP_DEFLATED)
    fs.unlink(plain)
    return Written(path, file.size_bytes, str(file.digest.hexdigest()))


class _Sink:
    """An unseekable stream, so that `zipfile` writes once, front to back."""

    def __init__(self, file: _HashingFile) -> None:
        self.write, self.flush = file.write, file.flush


def refuse_unsafe(path: Path) -> None:
    """Refuse a file that `torch.load(weights_only=True)` would refuse, before it is committed.

    Raises:
        UsageError: It names objects that are not plain data; the message names them.
    """
    unsafe = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    if unsafe:
        names = ", ".join(sorted(unsafe)[:5])
        raise UsageError(
            f"a checkpoint holds tensors and plain data only; {names} would need a pickle: convert it first"
        )


def read_state(path: Path, device: str | torch.device | None = None) -> State:
    """Load a checkpoint file without running code out of it.

    Raises:
        NotFound: There is no such file.
        Damaged: It is not a checkpoint, or holds objects other than plain data.
    """
    try:
        state = torch.load(path, map_location=device or "cpu", weights_only=True)
    except FileNotFoundError:
        raise NotFound(f"{path} does not exist") from None
    except pickle.UnpicklingError as error:
        raise Damaged(
            f"{path} was not loaded: it is not plain tensors and data ({_reason(error)}). Load another; a file "
            "that holds objects has to be saved again as a state_dict"
        ) from None
    except UNREADABLE as error:
        raise Damaged(
            f"{path} is not a readable checkpoint ({_reason(error)}); it was not loaded. "
            "Load another, such as an older one"
        ) from None
    if not isinstance(state, dict):
        raise Damaged(f"{path} holds a {type(state).__name__}, not a checkpoint")
    return state


def _reason(error: Exception) -> str:
    """What torch says is wrong, without its advice to load the file all the same."""
    text = str(error)
    lines = (text.partition("WeightsUnpickler error: ")[2] or text).splitlines()
    telling = (line.strip() for line in lines if line.strip() and "weights_only" not in line)
    said = clean(next(telling, "nothing more is known").partition(". ")[0].removesuffix("."))
    return said if isinstance(error, RuntimeError | pickle.UnpicklingError) else f"{type(error).__name__}: {said}"
