"""What the dashboard writes to a real terminal about hostile files: an emulator replays its bytes, and we look."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from hostile_store import WORSE, litter, poison, poison_words
from store_fixture import RunPlan, build_store
from terminal import TerminalProgram

SHOWN = re.compile("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff]")
"""What no cell of a screen may hold."""

RAW = [
    b"\x1b]52", b"\x1b]0;", b"\x1b[1;1HPWNED", b"\x1b[2J", b"\x1bc", b"\x07", b"\x00", b"\x7f", b"\xff", b"\xfe",
    "\x9b".encode(), "\u202e".encode(), "\u2066".encode(), "\ufeff".encode(),
]  # fmt: skip
"""What no byte of ours ever is."""

POINTER = b"\x1b]22;default\x07"
"""Textual's own way to say what the mouse pointer looks like."""

LOOKS = [
    ("2", "━ 2 loss", "\r", "Esc Back", "\x1b"),
    ("3", "━ 3 Checkpoints", "\r", "Environment", "\x1b"),
    ("6", "━ 6 Log of mine", "w", "━ 6 Log of mine", "6"),
    ("8", "━ 8 Alerts", "j", "━ 8 Alerts", "8"),
    ("5", "━ 5 Registry", "j", "━ 5 Registry", "5"),
    ("t", "━ Trash", "j", "━ Trash", "\x1b"),
    ("D", "━ Delete old checkpoints", "\t", "No, keep all", "\x1b"),
    ("p", "━ Promote", "\t", "━ Promote", "\x1b"),
    ("r", "━ Resume", "\t", "━ Resume", "\x1b"),
    ("T", "━ Train", "\t", "━ Train", "\x1b"),
    ("?", "━ Keys", "j", "━ Keys", "\x1b"),
    (":", "Checkpoints: ", "\x1b[B", "Checkpoints: ", "\x1b"),
]
"""A key and the words it brings, a key that is pressed there and words that stand there alone, and the way back."""


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store whose own name is hostile too."""
    plans = [
        RunPlan(name="mine", phase="stopped", epochs=9, checkpoints=5),
        RunPlan(name="fine", phase="stopped", epochs=9, age_seconds=9_000),
        RunPlan(name="torn", phase="stopped", epochs=9, age_seconds=9_999),
    ]
    store = build_store(tmp_path / "st\x1b]0;PWNED\x07\u202eore", plans)
    poison(store, evil=WORSE)
    poison_words(store, evil=WORSE)
    (store / "torn" / "run.json").write_bytes(b'{"id": "\xff\x1b[2J' + WORSE.encode())
    litter(store)
    return store


@pytest.mark.parametrize(("columns", "rows"), [(120, 40), (80, 24)])
def test_nothing_hostile_reaches_the_terminal(store: Path, tmp_path: Path, columns: int, rows: int) -> None:
    env = {name: str(tmp_path / name) for name in ("XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME")}
    argv = [sys.executable, "-m", "ckptop.cli", str(store)]
    with TerminalProgram(argv, cwd=tmp_path, env=env, columns=columns, rows=rows) as terminal:
        terminal.wait_until(lambda text: "mine" in text and "fine" in text and "torn" in text, "the runs")
        terminal.wait_until(lambda text: any("⠁" <= cell <= "⣿" for cell in text), "a drawn curve")
        for key, words, inside, left, back in LOOKS:
            for pressed, expected in ((key, words), (inside, left)):
                terminal.press(pressed)
                shown = terminal.wait_for(expected)

                assert [line for line in shown.split("\n") if SHOWN.search(line)] == []
                assert "PWNED" not in terminal.title
            terminal.press(back)
            terminal.wait_until(lambda text, left=left: left not in text, f"the way back from {left}")  # type: ignore[misc]  # mypy cannot infer the lambda
        shown = terminal.wait_until(lambda text: "? Help" in text.split("\n")[-1], "the footer in its place")
        assert shown.startswith(" ckptop ")

        terminal.press("q")
        assert terminal.wait_end() == 0
    written = bytes(terminal.written).replace(POINTER, b"")
    assert [raw for raw in RAW if raw in written] == []
