"""Which PyTorch is installed and what it was built for, without importing it: that takes seconds and 200 MB."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path

_BUILT_FOR = re.compile(r"^(cuda|hip)\s*(?::[^=]*)?=\s*['\"]([0-9][0-9.]*)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class TorchBuild:
    """An installed PyTorch."""

    version: str
    cuda: str | None
    """The CUDA it was built for, `12.8`; None for a build without."""
    hip: str | None
    """The ROCm it was built for."""


def find_torch() -> TorchBuild | None:
    """The PyTorch that `import torch` would find; None without one."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    try:
        version = importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:  # a source tree, or a wheel that was unpacked by hand
        version = "of unknown version"
    return read_build(Path(spec.origin).parent, version)


def read_build(package: Path, version: str) -> TorchBuild:
    """What the package in that directory was built for, as its version.py says."""
    try:
        built = dict(_BUILT_FOR.findall((package / "version.py").read_text(errors="replace")))
    except OSError:
        built = {}
    return TorchBuild(version, built.get("cuda"), built.get("hip"))
