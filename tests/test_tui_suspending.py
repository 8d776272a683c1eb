"""Ctrl-Z in a real terminal: the shell has it, and `fg` brings all of the screen back."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import psutil
from store_fixture import RunPlan, build_store
from terminal import TerminalProgram


def test_after_a_suspension_the_whole_screen_comes_back(tmp_path: Path) -> None:
    store = build_store(tmp_path / "runs", [RunPlan(name="mine", phase="stopped", epochs=9)])
    env = {name: str(tmp_path / name) for name in ("XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME")}
    argv = [sys.executable, "-m", "ckptop.cli", str(store)]
    with TerminalProgram(argv, cwd=tmp_path, env=env, columns=80, rows=24) as terminal:
        terminal.wait_until(lambda text: any("⠁" <= cell <= "⣿" for cell in text), "a drawn curve")
        before = terminal.wait_for("no NVIDIA GPU" if not Path("/dev/nvidia0").exists() else "GPU 0")

        terminal.press("\x1a")
        process = psutil.Process(terminal.process.pid)
        terminal.wait_until(lambda _: process.status() == psutil.STATUS_STOPPED, "the program to stop")
        terminal.wipe()
        os.kill(process.pid, signal.SIGCONT)

        terminal.wait_until(
            lambda text: all(line[:40] in text for line in before.split("\n")[1:8]) and "? Help" in text, "all of it"
        )
        terminal.press("q")
        assert terminal.wait_end() == 0
