"""What is said of a machine: each state of it, and what to do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ckptop.host import checkup, quota
from ckptop.host.checkup import check_clock, check_driver, check_python, check_terminal, check_torch
from ckptop.host.inotify import WatchLimits, try_watch, watch_limits
from ckptop.host.quota import Quota, user_quota
from ckptop.host.torch_build import TorchBuild, find_torch, read_build

CUDA, CPU = TorchBuild("2.13.0", "12.8", None), TorchBuild("2.13.0+cpu", None, None)


def test_torch_is_found_without_being_imported() -> None:
    code = (
        "import sys\nfrom ckptop.host.torch_build import find_torch\nfound = find_torch()\n"
        "print(found.version, 'torch' in sys.modules)"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    import torch

    assert done.stdout == f"{torch.__version__} False\n"
    found = find_torch()
    assert found is not None
    assert found.cuda == torch.version.cuda


@pytest.mark.parametrize(
    ("text", "build"),
    [
        ("cuda: Optional[str] = '12.8'\nhip: Optional[str] = None\n", ("12.8", None)),
        ("cuda = '11.8'\n", ("11.8", None)),
        ("cuda: Optional[str] = None\nhip: Optional[str] = '6.2.41133'\n", (None, "6.2.41133")),
        ("nonsense \x00", (None, None)),
        (None, (None, None)),
    ],
)
def test_what_torch_was_built_for_is_read(
    text: str | None, build: tuple[str | None, str | None], tmp_path: Path
) -> None:
    if text is not None:
        (tmp_path / "version.py").write_text(text)

    found = read_build(tmp_path, "2.13.0")

    assert (found.cuda, found.hip) == build


def test_python_says_what_training_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    assert check_python().verdict == "ok"

    monkeypatch.setattr(checkup, "EXTRA", ("torch", "no_such_package"))

    assert check_python().verdict == "note"
    assert "training needs no_such_package: pip install" in check_python().advice


def test_torch_is_named_with_what_it_was_built_for() -> None:
    assert check_torch(CUDA).found == "2.13.0, CUDA 12.8"
    assert check_torch(CPU).found == "2.13.0+cpu, CPU only"
    assert check_torch(TorchBuild("2.13.0", None, "6.2")).found == "2.13.0, ROCm 6.2"
    assert (check_torch(None).verdict, check_torch(None).found) == ("note", "not installed")


@pytest.mark.parametrize(
    ("cuda", "torch", "verdict", "advice"),
    [
        (12080, CUDA, "ok", ""),
        (13000, CUDA, "ok", ""),
        (11080, CUDA, "problem", "install a newer driver"),
        (12080, CPU, "problem", "this PyTorch has no CUDA"),
        (12080, None, "ok", ""),
        (None, CUDA, "ok", ""),
    ],
)
def test_the_driver_is_held_against_torch(
    cuda: int | None, torch: TorchBuild | None, verdict: str, advice: str
) -> None:
    found = check_driver("550.54", cuda, torch)

    assert found.verdict == verdict
    assert advice in found.advice
    assert found.found.startswith("NVIDIA 550.54")


@pytest.mark.parametrize(
    ("term", "environ", "verdict", "words"),
    [
        ("xterm-256color", {}, "ok", "256 colours"),
        ("xterm-256color", {"COLORTERM": "truecolor"}, "ok", "16M colours"),
        ("xterm-256color", {"NO_COLOR": "1"}, "ok", "no colours"),
        ("screen", {}, "note", "16 colours"),
        ("dumb", {}, "problem", "dumb"),
        ("", {}, "problem", "TERM is not set"),
    ],
)
def test_a_terminal_is_known_by_its_variables(
    term: str, environ: dict[str, str], verdict: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("LINES", "40")

    found = check_terminal({"TERM": term, **environ})

    assert found.verdict == verdict
    assert words in found.found
    assert "120x40" in found.found


def test_a_small_terminal_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("LINES", "10")

    assert "lists runs only" in check_terminal({"TERM": "xterm-256color"}).advice


def test_a_pipe_is_no_terminal_and_no_fault() -> None:
    assert (check_terminal({}).verdict, check_terminal({}).found) == ("ok", "none: what is printed is plain")


def test_the_clock_says_something() -> None:
    assert check_clock().verdict in ("ok", "note")


def test_a_new_file_is_really_heard_of(tmp_path: Path) -> None:
    assert try_watch(tmp_path) is None
    assert try_watch(tmp_path / "none") == "No such file or directory"


def test_watch_limits_are_read(tmp_path: Path) -> None:
    assert watch_limits(tmp_path) is None
    (tmp_path / "max_user_watches").write_text("8192\n")
    (tmp_path / "max_user_instances").write_text("128\n")

    assert watch_limits(tmp_path) == WatchLimits(8192, 128)


def test_a_quota_is_told_in_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = quota._DiskQuota(hard_blocks=2048, soft_blocks=1024, used_bytes=500_000)
    monkeypatch.setattr(quota, "_ask", lambda path: answer)

    found = user_quota(tmp_path)

    assert found == Quota(used_bytes=500_000, limit_bytes=2048 * 1024)
    assert found is not None
    assert found.left_bytes == 2048 * 1024 - 500_000


def test_no_limit_is_no_quota(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert user_quota(tmp_path / "none") is None

    monkeypatch.setattr(quota, "_ask", lambda path: quota._DiskQuota(used_bytes=5))

    assert user_quota(tmp_path) is None
