"""The ground floor is light: what is dear to import is imported where it is used."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "module",
    ["checkup", "gpus", "inotify", "machine", "mounts", "process", "quota", "terminal", "torch_build", "units"],
)
def test_importing_a_module_of_the_ground_floor_loads_nothing_heavy(module: str) -> None:
    script = (
        f"import sys, ckptop.host.{module}\n"
        "heavy = {'psutil', 'pynvml', 'numpy', 'torch', 'textual', 'msgspec', 'asyncio'} & set(sys.modules)\n"
        "floors = {name.split('.')[1] for name in sys.modules if name.startswith('ckptop.')} - {'host'}\n"
        "sys.exit(f'{heavy} {floors}' if heavy or floors else 0)"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")
