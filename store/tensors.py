"""Tensors into files and back, random state included: the one module of the store that imports torch.

`torch.save` streams the zip through a file of ours that hashes what passes, so a checkpoint's
xxh3-128 costs no second read. Reading is `weights_only=True`, always.
"""

from __future__ import annotations

import datetime
import os
import pickle
import platform
import random
import socket
import struct
import warnings
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import torch
import xxhash

from ckptop.host.terminal import clean
from ckptop.store.errors import Damaged, NotFound, UsageError
from ckptop.store.files import new_file
from ckptop.store.fs import LOCAL, FileSystem
from ckptop.store.manifest import as_float
from ckptop.store.room import require_room
from ckptop.store.staging import removed_on_error

FORMAT_VERSION = 1
"""`version` in every checkpoint file."""

State = dict[str, Any]

_UNREADABLE = (
    RuntimeError, EOFError, ValueError, LookupError, TypeError, AttributeError, AssertionError, ArithmeticError,
    MemoryError, struct.error, zipfile.BadZipFile,
)  # fmt: skip
"""How torch answers bytes that `torch.save` did not write: it takes what is no zip for a pickle of old, which is a
program, and runs it as far as it gets."""


@dataclass(frozen=True, slots=True)
class Written:
    """A file written and fsynced, not yet committed."""

    path: Path
    size_bytes: int
    xxh3_128: str


class _HashingFile:
    """What `torch.save` writes to: counts and hashes everything on its way to the descriptor."""

    def __init__(self, fs: FileSystem, fd: int) -> None:
        self._fs, self._fd = fs, fd
        self.digest = xxhash.xxh3_128()
        self.size_bytes = 0
        self.error: OSError | None = None

    def write(self, data: bytes | memoryview) -> int:
        try:
            self._fs.write_all(self._fd, data)
        except OSError as error:
            self.error = error  # torch turns it into a RuntimeError without its errno
            raise
        self.digest.update(data)
        self.size_bytes += len(data)
        return len(data)

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
    with removed_on_error(path, fs), new_file(path, fs) as fd:
        require_room(fs, fd, path, tensor_bytes(state))
        file = _HashingFile(fs, fd)
        try:
            torch.save(state, cast("IO[bytes]", file))
        except RuntimeError:
            if file.error is not None:
                raise file.error from None
            raise
        except (pickle.PicklingError, AttributeError) as error:
            raise UsageError(f"the state cannot be saved: {error}") from None
    return Written(path, file.size_bytes, str(file.digest.hexdigest()))


def _write_compressed(path: Path, state: State, fs: FileSystem) -> Written:
    plain = path.with_name(f"{path.name}.plain.tmp")
    write_state(plain, state, fs)
    with removed_on_error(plain, fs), removed_on_error(path, fs), new_file(path, fs) as fd:
        file = _HashingFile(fs, fd)
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
    except _UNREADABLE as error:
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


def build_state(
    checkpoint_type: str,
    model: torch.nn.Module,
    *,
    epoch: int,
    global_step: int,
    metrics: Mapping[str, Any] | None,
    config: Mapping[str, Any] | None,
    git_commit: str | None,
    optimizer: torch.optim.Optimizer | None = None,
    scheduler: Any = None,
    scaler: Any = None,
    metadata: Mapping[str, Any] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> State:
    """The content of a checkpoint file; a part that was not given has no key.

    Raises:
        UsageError: `extra` repeats one of the file's own keys.
    """
    state: State = {
        "version": FORMAT_VERSION,
        "checkpoint_type": checkpoint_type,
        "timestamp": datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
        "git_commit": git_commit,
        "model_state_dict": unwrap(model).state_dict(),
        "epoch": epoch,
        "global_step": global_step,
        "metrics": {name: as_float(value) for name, value in (metrics or {}).items()},
        "config": plain(config or {}),
        "metadata": environment(model) | plain(metadata or {}),
    }
    parts = _parts(optimizer, scheduler, scaler)
    state.update({key: part.state_dict() for key, part in parts.items() if part is not None})
    for key, value in (extra or {}).items():
        if key in state:
            raise UsageError(f"extra may not hold {key!r}: the checkpoint has that key already")
        state[key] = value
    return state


def holds_same(path: Path, parts: Mapping[str, Any]) -> bool:
    """Whether a checkpoint file holds these parts of a state, bit for bit; False too where that cannot be told."""
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        return all(key in saved and _is_same(part, saved[key]) for key, part in parts.items())
    except (OSError, pickle.UnpicklingError, *_UNREADABLE):
        return False  # damaged, deflated, deleted meanwhile, or of a kind of tensor that has no bytes to compare


def _is_same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return (
            isinstance(other, torch.Tensor)
            and (one.dtype, one.shape) == (other.dtype, other.shape)
            and torch.equal(*(tensor.detach().cpu().reshape(-1).view(torch.uint8) for tensor in (one, other)))
        )
    if isinstance(one, Mapping):
        return (
            isinstance(other, Mapping) and one.keys() == other.keys() and all(_is_same(one[k], other[k]) for k in one)
        )
    if isinstance(one, list | tuple):
        return (
            isinstance(other, list | tuple)
            and len(one) == len(other)
            and all(_is_same(*pair) for pair in zip(one, other, strict=True))
        )
    return bool(repr(one) == repr(other))  # NaN is itself


def apply_state(
    state: State,
    path: Path,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer | None = None,
    scheduler: Any = None,
    scaler: Any = None,
) -> None:
    """Put a loaded checkpoint into live objects; warns for a part the file does not have.

    Raises:
        RuntimeError: Names or shapes differ; the message names the first ones. `model` is unchanged.
    """
    check_same_shapes(state.get("model_state_dict", {}), unwrap(model).state_dict(), path)
    unwrap(model).load_state_dict(state["model_state_dict"])
    for key, part in _parts(optimizer, scheduler, scaler).items():
        if part is None:
            continue
        if key in state:
            part.load_state_dict(state[key])
        else:
            warnings.warn(f"{path.name} holds no {key}; it starts fresh", UserWarning, stacklevel=3)


def _parts(optimizer: Any, scheduler: Any, scaler: Any) -> dict[str, Any]:
    return {
        "optimizer_state_dict": optimizer,
        "scheduler_state_dict": scheduler,
        "scaler_state_dict": scaler,
    }


def check_same_shapes(saved: Mapping[str, Any], wanted: Mapping[str, Any], path: Path) -> None:
    """Compare parameter names and shapes.

    Raises:
        RuntimeError: They differ; the first three differences are named.
    """
    differences = [f"{name} is missing in the checkpoint" for name in wanted if name not in saved]
    differences += [f"{name} is not in the model" for name in saved if name not in wanted]
    differences += [
        f"{name} is {tuple(saved[name].shape)} in the checkpoint, {tuple(tensor.shape)} in the model"
        for name, tensor in wanted.items()
        if name in saved and getattr(saved[name], "shape", None) != getattr(tensor, "shape", None)
    ]
    if differences:
        more = f" and {len(differences) - 3} more" if len(differences) > 3 else ""
        raise RuntimeError(f"{path.name} is of another model: {'; '.join(differences[:3])}{more}")


def capture_random_state() -> dict[str, Any]:
    """The state of every random generator, and the thread count, which changes sums in their last bit.

    Tensors and plain data, so that `weights_only=True` loads it. To be captured after everything of a step is done.
    """
    version, words, gauss = random.getstate()
    kind, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    return {
        "python": {"version": version, "words": torch.tensor(words, dtype=torch.int64), "gauss": gauss},
        "numpy": {
            "kind": str(kind),
            "keys": torch.from_numpy(np.asarray(keys).astype(np.int64)),
            "position": int(position),
            "has_gauss": int(has_gauss),
            "cached": float(cached),
        },
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if _uses_cuda() else [],
        "threads": torch.get_num_threads(),
    }


def restore_random_state(state: Mapping[str, Any]) -> None:
    """Put the generators back, CUDA's where it is in use; the thread count is left as it is.

    To be restored after everything is built: models, optimizers and iterators may all draw numbers while they are made.
    """
    python, numpy = state["python"], state["numpy"]
    random.setstate((python["version"], tuple(python["words"].tolist()), python["gauss"]))
    keys = numpy["keys"].cpu().numpy().astype(np.uint32)
    np.random.set_state((numpy["kind"], keys, numpy["position"], numpy["has_gauss"], numpy["cached"]))
    torch.set_rng_state(state["torch"].cpu())
    if _uses_cuda():
        saved = state["cuda"]
        devices = [torch.cuda.current_device()] if len(saved) == 1 else range(torch.cuda.device_count())
        for device, one in zip(devices, saved, strict=False):  # a machine with fewer devices takes the first ones
            torch.cuda.set_rng_state(one.cpu(), device)


def restore_threads(count: int) -> None:
    """Set the number of threads that one operation uses."""
    torch.set_num_threads(count)


def _uses_cuda() -> bool:
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]  # torch has no types here


def unwrap(model: torch.nn.Module) -> torch.nn.Module:
    """The model inside `torch.compile` and DistributedDataParallel, whose names carry no prefix."""
    while True:
        if isinstance(model, torch.nn.parallel.DistributedDataParallel | torch.nn.DataParallel):
            inner = model.module
        else:
            inner = getattr(model, "_orig_mod", None)
        if not isinstance(inner, torch.nn.Module):
            return model
        model = inner


def environment(model: torch.nn.Module | None = None) -> dict[str, Any]:
    """What the numbers depend on besides code and data."""
    parameter = next(iter(model.parameters()), None) if model is not None else None
    return {
        "pytorch_version": str(torch.__version__),
        "python_version": platform.python_version(),
        "hostname": socket.gethostname(),
        "device": str(parameter.device) if parameter is not None else "cpu",
        "cuda_version": torch.version.cuda,
        "threads": torch.get_num_threads(),
    }


def plain(value: Any) -> Any:
    """`value` with everything that is not JSON made into it: configurations hold paths and NumPy scalars."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):  # of subclasses, such as NumPy's and enumerations, the value: torch would pickle them
        return int(value) if -(2**63) <= value < 2**64 else str(int(value))
    if isinstance(value, float):
        return float(value)
    if isinstance(value, str):
        return "".join(value).encode(errors="replace").decode()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, os.PathLike):
        return plain(os.fspath(value))
    item = getattr(value, "item", None)
    with suppress(TypeError, ValueError, RuntimeError):  # arrays and tensors of several values
        return plain(item()) if callable(item) else str(value)
    return str(value)
