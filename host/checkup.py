"""What of this machine matters to training and watching, each as one finding with what to do about it."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from ckptop.host.gpus import GpuReader
from ckptop.host.torch_build import TorchBuild, find_torch
from ckptop.host.units import format_bytes

Verdict = Literal["ok", "note", "problem"]

EXTRA = ("torch", "torchmetrics", "sklearn", "tensorboard")
"""What the extra `train` brings, as it is imported."""
SMALLEST = (60, 16)
"""Columns and rows below which the dashboard shows the list of runs only."""

_UNSYNCHRONISED = 5
_TIMEX_BYTES = 512
"""More than `struct timex` takes anywhere."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    subject: str
    verdict: Verdict
    found: str
    """What is there."""
    advice: str = ""
    """What to do; empty where nothing need be done."""


def check_machine() -> Iterator[Finding]:
    """Python, PyTorch, GPUs, the clock and the terminal of this process."""
    yield check_python()
    torch = find_torch()
    yield check_torch(torch)
    yield from check_gpus(torch)
    yield check_clock()
    yield check_terminal(os.environ)


def check_python() -> Finding:
    """The interpreter, and whether it can train."""
    found = f"{platform.python_version()}, {sys.executable}"
    missing = [name for name in EXTRA if importlib.util.find_spec(name) is None]
    if not missing:
        return Finding("Python", "ok", found)
    advice = f"watching works; training needs {', '.join(missing)}: pip install 'ckptop[train]'"
    return Finding("Python", "note", found, advice)


def check_torch(torch: TorchBuild | None) -> Finding:
    """The PyTorch that would be imported."""
    if torch is None:
        return Finding("PyTorch", "note", "not installed", "to train here: pip install 'ckptop[train]'")
    built_for = f"CUDA {torch.cuda}" if torch.cuda else f"ROCm {torch.hip}" if torch.hip else "CPU only"
    return Finding("PyTorch", "ok", f"{torch.version}, {built_for}")


def check_gpus(torch: TorchBuild | None) -> Iterator[Finding]:
    """The driver and each GPU, and whether this PyTorch can use them."""
    with GpuReader() as reader:
        gpus = reader.read()
        if not gpus:
            yield _no_gpu(reader.problem or "none", torch)
            return
        yield check_driver(*_driver_versions(), torch)
    for gpu in gpus:
        memory = "" if gpu.memory_total_bytes is None else f", {format_bytes(gpu.memory_total_bytes)}"
        found = f"{gpu.name}{memory}"
        if gpu.problem is None:
            yield Finding(f"GPU {gpu.index}", "ok", found)
        else:
            yield Finding(f"GPU {gpu.index}", "problem", f"{found}: {gpu.problem}", "see `dmesg`; reset it, or reboot")


def _no_gpu(problem: str, torch: TorchBuild | None) -> Finding:
    if "driver" in problem:  # there is one, and it does not work
        return Finding("GPU", "problem", problem, "mend the driver; until then training uses the CPU")
    advice = "training uses the CPU" + (", though this PyTorch could use a GPU" if torch and torch.cuda else "")
    return Finding("GPU", "note", problem, advice)


def check_driver(driver: str | None, cuda: int | None, torch: TorchBuild | None) -> Finding:
    """The driver beside what PyTorch was built for.

    Args:
        driver: Its version.
        cuda: The newest CUDA it runs, as NVML says it: 12080 is 12.8.
        torch: The PyTorch there is.
    """
    newest = f", CUDA up to {cuda // 1000}.{cuda % 1000 // 10}" if cuda else ""
    found = f"NVIDIA {driver or 'of unknown version'}{newest}"
    if torch is not None and torch.cuda is None and torch.hip is None:
        advice = "this PyTorch has no CUDA, so training uses the CPU; install the build of pytorch.org for it"
        return Finding("driver", "problem", found, advice)
    if torch is not None and torch.cuda and cuda and int(torch.cuda.partition(".")[0]) > cuda // 1000:
        advice = f"this PyTorch was built for CUDA {torch.cuda}: install a newer driver, or a PyTorch for an older CUDA"
        return Finding("driver", "problem", found, advice)
    return Finding("driver", "ok", found)


def _driver_versions() -> tuple[str | None, int | None]:
    import pynvml

    versions: list[str | int | None] = []
    for ask in (pynvml.nvmlSystemGetDriverVersion, pynvml.nvmlSystemGetCudaDriverVersion):
        try:
            versions.append(ask())
        except (pynvml.NVMLError, UnicodeDecodeError):
            versions.append(None)
    driver, cuda = versions
    return (driver if isinstance(driver, str) else None), (cuda if isinstance(cuda, int) else None)


def check_clock() -> Finding:
    """Whether something keeps this machine's clock right, as the kernel knows it."""
    state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    if state == _UNSYNCHRONISED:
        advice = "where several hosts share a store, ages read wrong once clocks drift: run chronyd or timesyncd"
        return Finding("clock", "note", "nothing keeps it in time", advice)
    return Finding(
        "clock", "ok", "kept in time" if state >= 0 else "the kernel does not say whether it is kept in time"
    )


def check_terminal(environ: Mapping[str, str]) -> Finding:
    """What the terminal of stdout can show; what it is capable of is known from its variables only."""
    if not sys.stdout.isatty():
        return Finding("terminal", "ok", "none: what is printed is plain")
    term, encoding = environ.get("TERM", ""), (sys.stdout.encoding or "ascii").lower()
    columns, rows = shutil.get_terminal_size()
    colours = _colours(term, environ)
    found = f"{term or 'TERM is not set'}, {columns}x{rows}, {colours}, {encoding}"
    if term in ("", "dumb"):
        return Finding("terminal", "problem", found, "the dashboard cannot draw here; set TERM, say to xterm-256color")
    if not encoding.startswith("utf"):
        return Finding("terminal", "note", found, "drawn in ASCII; a UTF-8 locale such as C.UTF-8 shows finer curves")
    if columns < SMALLEST[0] or rows < SMALLEST[1]:
        return Finding("terminal", "note", found, f"below {SMALLEST[0]}x{SMALLEST[1]} the dashboard lists runs only")
    if colours == "16 colours":
        return Finding("terminal", "note", found, "more colours: TERM=xterm-256color, in tmux `default-terminal` too")
    return Finding("terminal", "ok", found)


def _colours(term: str, environ: Mapping[str, str]) -> str:
    if environ.get("NO_COLOR"):
        return "no colours (NO_COLOR)"
    if environ.get("COLORTERM") in ("truecolor", "24bit") or "direct" in term:
        return "16M colours"
    return "256 colours" if "256color" in term or "kitty" in term else "16 colours"
