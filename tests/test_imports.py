"""The import rule: who loads what, looked at in fresh interpreters."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

HEAVY = ("torch", "textual", "numpy", "plotext", "pynvml", "sklearn", "watchdog")


def loaded_by(code: str, cwd: Path) -> set[str]:
    """Which heavy packages are loaded after `code` ran in a fresh interpreter."""
    probe = f"{code}\nimport sys\nprint(*[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True, cwd=cwd)
    return set(done.stdout.split())


def test_a_user_s_own_store_module_never_collides_with_ours(tmp_path: Path) -> None:
    """The folders ship as ckptop.store and so on; `import store` finds nothing."""
    for name in ("store", "trainer", "tui", "cli", "host"):
        done = subprocess.run([sys.executable, "-c", f"import {name}"], capture_output=True, text=True, cwd=tmp_path)

        assert done.returncode != 0, f"`import {name}` found something"
        assert "ModuleNotFoundError" in done.stderr


@pytest.mark.parametrize(
    ("code", "allowed"),
    [
        ("import ckptop.store", set()),
        ("from ckptop.store import Run, Store", {"numpy"}),
        ("import ckptop.cli.main", set()),
        ("import ckptop.cli.listing", set()),
        ("import ckptop.cli.train", set()),
        ("import ckptop.cli.resume", set()),
        ("import ckptop.cli.demo", set()),
        ("import ckptop.store.feed", {"watchdog"}),
        ("import ckptop.tui.app", {"textual", "numpy", "plotext", "watchdog"}),
        # torch itself takes pynvml where it finds it.
        ("from ckptop.store import CheckpointManager", {"torch", "numpy", "pynvml"}),
    ],
    ids=lambda value: value.removeprefix("import ") if isinstance(value, str) else "",
)
def test_a_module_loads_no_more_than_it_needs(code: str, allowed: set[str], tmp_path: Path) -> None:
    loaded = loaded_by(code, tmp_path)

    assert loaded <= allowed


def test_listing_a_store_loads_nothing_heavy(tmp_path: Path) -> None:
    code = f"from ckptop.cli.main import run\nassert run(['ls', {str(tmp_path)!r}]) == 0"

    loaded = loaded_by(code, tmp_path)

    assert loaded.isdisjoint(HEAVY)


def test_listing_and_ps_load_of_the_standard_library_what_they_need(tmp_path: Path) -> None:
    """Each takes a millisecond and more; the whole of `ckptop ls` has 150."""
    dear = {"subprocess", "secrets", "json", "traceback", "asyncio", "logging", "ctypes", "difflib"}
    code = f"from ckptop.cli.main import run\nassert run(['ls', {str(tmp_path)!r}]) == run(['ps', {str(tmp_path)!r}])"

    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(*({dear!r} & set(sys.modules)))"],
        capture_output=True, text=True, check=True, cwd=tmp_path,
    )  # fmt: skip

    assert done.stdout.splitlines()[-1] == ""


def test_the_version_is_told_without_looking_up_the_package(tmp_path: Path) -> None:
    looks = "import sys\nprint('importlib.metadata' in sys.modules)"
    code = f"from ckptop.cli.main import run\nassert run(['--version']) == 0\n{looks}"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)

    assert done.stdout.splitlines()[-1] == "False"
    assert done.stdout.startswith(f"ckptop {version('ckptop')}\n")


def test_a_training_imports_neither_the_compiler_nor_what_it_does_not_measure_with(tmp_path: Path) -> None:
    """Together they take longer than all else before the first step."""
    dear = {"torch._dynamo", "sympy", "torchmetrics", "transformers"}
    options = "'diabetes', '--epochs', '1', '--set', 'optimizer=sgd'"
    code = f"from ckptop.cli.main import run\nassert run(['train', {options}]) == 0"

    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(*({dear!r} & set(sys.modules)))"],
        capture_output=True, text=True, check=True, cwd=tmp_path,
    )  # fmt: skip

    assert done.stdout.splitlines()[-1] == ""
