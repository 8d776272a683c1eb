"""Builds `nvml_stub.c`, a driver library with made-up GPUs, for tests of whatever looks at GPUs."""

from __future__ import annotations

import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_suffix(".c")


def build_nvml_stub(directory: Path) -> Path:
    """Build the stub in `directory` and return it, to be put on LD_LIBRARY_PATH before a Python starts.

    Raises:
        FileNotFoundError: There is no gcc; a test skips then.
        subprocess.CalledProcessError: The stub does not compile.
    """
    library = directory / "libnvidia-ml.so.1"
    options = ["-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", "-Wl,-soname,libnvidia-ml.so.1"]
    subprocess.run(["gcc", *options, "-o", str(library), str(SOURCE)], check=True)
    return directory
