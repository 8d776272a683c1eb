"""`ckptop ps`: who is listed, in which order, and what is said of the ill."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from store_fixture import RunPlan, build_run, build_store, dead_process

from ckptop.cli import ps as command
from ckptop.cli.main import run
from ckptop.cli.states import GLYPHS, is_ascii_only
from ckptop.store.files import read_json
from ckptop.store.layout import RunPaths
from ckptop.store.manifest import encode
from ckptop.store.records import Exit, Status
from ckptop.tui.model import LIVE_STATES, STATE_ORDER
from ckptop.tui.theme import GLYPHS as DASHBOARD_GLYPHS


def table(capsys: pytest.CaptureFixture[str], *args: str) -> list[str]:
    capsys.readouterr()
    assert run(["ps", *args]) == 0
    return capsys.readouterr().out.splitlines()


def listed(capsys: pytest.CaptureFixture[str], *args: str) -> list[dict[str, Any]]:
    capsys.readouterr()
    assert run(["ps", *args, "--json"]) == 0
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)["runs"]
    return found


def rewrite(paths: RunPaths, **changes: Any) -> None:
    status = read_json(paths.status, Status)
    paths.status.write_bytes(encode(msgspec.structs.replace(status, **changes)))


def test_live_ones_come_first_then_the_ill_then_the_rest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build_store(tmp_path)

    lines = table(capsys, str(tmp_path))

    names = [line.split()[0] for line in lines[1:]]
    assert names == ["cnn-lr3e-4", "digits-cnn", "diabetes", "sweep-03", "sweep-02", "digits-mlp"]
    assert lines[2].split()[1:3] == ["●", "running"]
    assert "62/100  1,488/2,400" in lines[2]


def test_states_are_ordered_and_drawn_as_in_the_dashboard() -> None:
    assert [state for state in GLYPHS if state in LIVE_STATES] == [s for s in STATE_ORDER if s in LIVE_STATES]
    assert tuple(GLYPHS)[-2:] == STATE_ORDER[-2:]
    assert {state: DASHBOARD_GLYPHS[state] for state in GLYPHS} == GLYPHS


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"process": dead_process()}, "its process is gone"),
        ({"process": msgspec.structs.replace(dead_process(), boot_id="another")}, "its machine was restarted"),
        ({"process": dead_process(), "exit": Exit(signal=9)}, "killed by SIGKILL"),
        ({"process": dead_process(), "exit": Exit(code=137)}, "exit code 137"),
        ({"phase": "failed", "exit": Exit(code=16, error="TrainingFailed: loss is NaN")}, "loss is NaN"),
        ({"phase": "failed", "exit": None}, "it did not say why"),
        ({"process": dead_process(), "exit": Exit(signal=99)}, "killed by signal 99"),
    ],
    ids=["gone", "reboot", "signal", "code", "error", "silent", "no-such-signal"],
)
def test_the_ill_say_what_ended_them(
    changes: dict[str, Any], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rewrite(build_run(tmp_path, RunPlan(name="mine", epochs=2)), **changes)

    lines = table(capsys, str(tmp_path))

    assert lines[1].endswith(words)
    assert listed(capsys, str(tmp_path))[0]["why"].endswith(words)


def test_what_ended_well_is_counted_where_it_is_much(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "SHOWN", 1)
    build_store(tmp_path)

    short, whole = table(capsys, str(tmp_path)), table(capsys, str(tmp_path), "--all")

    assert short[-1] == "1 more stopped or finished; --all lists them."
    assert len(whole) == 7
    assert len(listed(capsys, str(tmp_path))) == 6


def test_several_stores_have_a_column(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for store in ("a", "b"):
        build_run(tmp_path / store, RunPlan(name=f"of-{store}", epochs=1))

    lines = table(capsys, str(tmp_path / "a"), str(tmp_path / "b"))

    assert [line.split()[:2] for line in lines[1:]] == [
        ["of-a", str(tmp_path / "a")],
        ["of-b", str(tmp_path / "b")],
    ]


def test_json_says_the_state_and_the_process(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build_run(tmp_path, RunPlan(name="mine", epochs=3))

    told = listed(capsys, str(tmp_path))[0]

    assert (told["run"], told["state"], told["live"], told["epoch"], told["step"]) == ("mine", "running", True, 3, 72)
    assert told["process"]["pid"] > 0
    assert told["heartbeat_age_seconds"] >= 0
    assert told["eta_seconds"] == pytest.approx((2400 - 72) * 0.045)


def test_no_run_says_what_makes_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert table(capsys, str(tmp_path)) == ["No runs. `ckptop train digits` makes one; `ckptop demo` shows two."]
    assert run(["ps", str(tmp_path / "none")]) == 11


def test_damaged_records_are_listed_and_harm_no_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build_run(tmp_path, RunPlan(name="good", epochs=1))
    build_run(tmp_path, RunPlan(name="torn", epochs=1)).status.write_bytes(b"{")
    build_run(tmp_path, RunPlan(name="new", epochs=1)).status.unlink()

    lines = table(capsys, str(tmp_path))

    assert [line.split()[:3:2] for line in lines[1:]] == [
        ["good", "running"],
        ["torn", "unreadable"],
        ["new", "unknown"],
    ]
    assert "status.json is truncated" in lines[2]


def test_escape_codes_of_a_store_reach_no_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A host's name and an error come from files."""
    paths = build_run(tmp_path, RunPlan(name="mine", epochs=1))
    evil = msgspec.structs.replace(dead_process(), host="\x1b]52;c;aGk=\x07box\u202e\x1b[2J")
    rewrite(paths, phase="failed", process=evil, exit=Exit(code=1, error="\x1b[31mred\nsecond line\x9b1m"))
    capsys.readouterr()

    run(["ps", str(tmp_path)])
    text = capsys.readouterr().out
    run(["ps", str(tmp_path), "--json"])
    as_json = capsys.readouterr().out

    assert not {"\x1b", "\x9b", "\x07", "\u202e"} & set(text + as_json)
    assert "red second line" in text
    assert len(text.splitlines()) == 2


def test_a_terminal_without_the_glyphs_gets_plain_ones(tmp_path: Path) -> None:
    build_run(tmp_path, RunPlan(name="mine", phase="finished", epochs=1))
    build_run(tmp_path, RunPlan(name="new", epochs=1)).status.unlink()

    done = subprocess.run(
        [sys.executable, "-m", "ckptop.cli", "ps", str(tmp_path)],
        capture_output=True, check=True, env={"PYTHONIOENCODING": "ascii", "PATH": "/usr/bin"},
    )  # fmt: skip

    assert b"+ finished" in done.stdout
    assert b"? unknown" in done.stdout
    assert not is_ascii_only()


def test_neither_textual_nor_torch_nor_numpy_is_loaded(tmp_path: Path) -> None:
    build_store(tmp_path)
    code = (
        "import sys\nfrom ckptop.cli.main import run\n"
        f"assert run(['ps', {str(tmp_path)!r}]) == 0\n"
        "print([name for name in ('textual', 'torch', 'numpy', 'psutil') if name in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.endswith("[]\n")
