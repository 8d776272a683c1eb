"""`ckptop why`: what ended a run, where its curves broke, what is saved, and the command to go on with."""

from __future__ import annotations

import json
import math
import os
import shlex
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from store_fixture import RunPlan, build_run, dead_process

from ckptop.cli.main import run
from ckptop.store.files import read_json
from ckptop.store.layout import RunPaths
from ckptop.store.manifest import encode
from ckptop.store.records import Exit, RunRecord, Status
from ckptop.store.views import read_run

CRASHED = RunPlan(name="mine", alive=False, epochs=12)

TRACEBACK = """Traceback (most recent call last):
  File "train.py", line 7, in <module>
    main()
  File "train.py", line 3, in main
    raise ValueError("bad batch")
ValueError: bad batch
"""


def rewrite(paths: RunPaths, **changes: Any) -> None:
    status = read_json(paths.status, Status)
    paths.status.write_bytes(encode(msgspec.structs.replace(status, **changes)))


def told(capsys: pytest.CaptureFixture[str], store: Path, name: str = "mine") -> dict[str, Any]:
    capsys.readouterr()
    assert run(["why", name, "--store", str(store), "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def page(capsys: pytest.CaptureFixture[str], store: Path, name: str = "mine") -> str:
    capsys.readouterr()
    assert run(["why", name, "--store", str(store)]) == 0
    return capsys.readouterr().out


def test_a_killed_run_says_what_is_saved_and_how_to_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = build_run(tmp_path, CRASHED)
    rewrite(paths, step=300, exit=Exit(signal=9))
    paths.log.write_text("Epoch 11/100\nEpoch 12/100\n")

    text, facts = page(capsys, tmp_path), told(capsys, tmp_path)

    assert text.startswith("mine: ✗ crashed\n  ended     killed by SIGKILL\n")
    assert "last lines of its log\n  Epoch 11/100\n  Epoch 12/100\n" in text
    assert "step 288, 4.0 KiB; verified" in text
    assert "lost    12 steps, about 1 s" in text
    assert f"  $ ckptop resume mine --store {tmp_path}\n" in text
    assert (facts["state"], facts["ended"], facts["last_step"], facts["lost_steps"]) == (
        "crashed", "killed by SIGKILL", 300, 12,
    )  # fmt: skip
    assert facts["lost_seconds"] == pytest.approx(12 * 0.045)
    assert (facts["verified"], facts["checkpoint_step"]) == (True, 288)


def test_epoch_and_share_go_with_the_last_step_and_not_with_an_older_heartbeat(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rewrite(build_run(tmp_path, CRASHED), step=200, epoch=9, total_epochs=100, total_steps=2400)

    assert told(capsys, tmp_path)["last_step"] == 288
    assert "epoch 12 of 100, step 288 of 2,400, 12 %" in page(capsys, tmp_path)


def test_the_command_can_be_pasted_whatever_the_store_is_called(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "my runs; $HOME"
    build_run(store, CRASHED)

    command = told(capsys, store)["command"]

    assert shlex.split(command) == ["ckptop", "resume", "mine", "--store", str(store)]
    monkeypatch.setenv("CKPTOP_STORE", str(store))
    assert told(capsys, store)["command"] == "ckptop resume mine"


def test_a_failed_run_shows_its_error_and_the_end_of_its_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = build_run(tmp_path, RunPlan(name="mine", phase="failed", epochs=3, error="ValueError: bad batch"))
    paths.log.write_text(f"{TRACEBACK}Epoch 1/3\nEpoch 2/3\n{TRACEBACK}")

    text, facts = page(capsys, tmp_path), told(capsys, tmp_path)

    assert "ended     ValueError: bad batch\n            exit code 3, " in text
    assert 'traceback\n  Traceback (most recent call last):\n    File "train.py", line 7' in text
    assert facts["log"][-2:] == ["Epoch 1/3", "Epoch 2/3"]
    assert facts["traceback"] == TRACEBACK.splitlines()


@pytest.mark.parametrize("end", ["", "\n"])
def test_of_a_log_of_gigabytes_without_a_newline_the_error_at_its_end_is_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], end: str
) -> None:
    paths = build_run(tmp_path, CRASHED)
    paths.log.write_text("Epoch 1/100\n")
    os.truncate(paths.log, 10 * 2**30)
    with paths.log.open("a") as file:
        file.write(f"\nEpoch 12/100\nRuntimeError: no room{end}")

    assert "last lines of its log\n  Epoch 12/100\n  RuntimeError: no room\n" in page(capsys, tmp_path)
    assert told(capsys, tmp_path)["log"] == ["Epoch 12/100", "RuntimeError: no room"]
    os.truncate(paths.log, 10 * 2**30)
    with paths.log.open("a") as file:
        file.write(f"RuntimeError: no room{end}")
    assert told(capsys, tmp_path)["log"] == ["RuntimeError: no room"]


def test_a_traceback_of_an_earlier_attempt_is_not_this_ones(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = build_run(tmp_path, CRASHED)
    paths.log.write_text(TRACEBACK + "".join(f"Epoch {number}\n" for number in range(20)))

    facts = told(capsys, tmp_path)

    assert facts["traceback"] == []
    assert facts["log"] == [f"Epoch {number}" for number in range(10, 20)]


def test_a_traceback_that_was_recorded_needs_no_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = build_run(tmp_path, RunPlan(name="mine", phase="failed", epochs=3, error="ValueError: bad batch"))
    event = {"time": 1.0, "event": "failed", "attempt": 1, "traceback": TRACEBACK.splitlines()}
    paths.events.write_text(json.dumps(event) + "\n")
    assert told(capsys, tmp_path)["traceback"] == TRACEBACK.splitlines()

    paths.events.write_text(json.dumps({**event, "attempt": 7}) + "\n")

    assert told(capsys, tmp_path)["traceback"] == []


def test_a_damaged_checkpoint_is_passed_over_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = build_run(tmp_path, CRASHED)
    latest = read_run(paths.root).latest
    assert latest is not None
    content = bytearray(latest.path.read_bytes())
    content[100] ^= 1
    latest.path.write_bytes(content)

    text, facts = page(capsys, tmp_path), told(capsys, tmp_path)

    assert "step 264, 4.0 KiB; verified\n  skipped" in text
    assert "bytes differ from its manifest" in facts["skipped"][0]
    assert facts["lost_steps"] == 24


def test_a_run_that_diverged_is_resumed_with_half_the_rate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = build_run(tmp_path, RunPlan(name="mine", phase="failed", epochs=3, error="NotFinite: train/loss is NaN"))
    with paths.metrics.open("a") as log:
        log.write('{"step":73,"time":1.0,"train/loss":"NaN"}\n')

    text, facts = page(capsys, tmp_path), told(capsys, tmp_path)

    assert "train/loss is NaN since step 73" in text
    assert "ckptop resume mine --set lr=0.0005 --store" in facts["command"]
    assert "halve the rate" in facts["note"]
    assert [one["kind"] for one in facts["breaks"]] == ["not-finite"]
    assert facts["breaks"][0]["value"] == "NaN"


def test_alerts_of_this_attempt_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = build_run(tmp_path, CRASHED)
    with paths.events.open("a") as events:
        for number in range(5):
            line = {"time": time.time(), "event": "alert", "attempt": number // 4, "message": f"alert {number}"}
            events.write(json.dumps(line) + "\n")
        events.write(json.dumps({"time": time.time(), "event": "alert", "attempt": 1, "message": "last"}) + "\n")

    facts = told(capsys, tmp_path)

    assert [alert["message"] for alert in facts["alerts"]] == ["alert 4", "last"]


def test_a_running_run_says_what_it_does_now(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = build_run(tmp_path, RunPlan(name="mine", epochs=4))
    rewrite(paths, last_step_time=time.time())

    text, facts = page(capsys, tmp_path), told(capsys, tmp_path)

    assert text.startswith("mine: ● running\n")
    assert "ended" not in text
    assert "last step  0 s ago" in text
    assert f"$ ckptop logs mine -f --store {tmp_path}" in text
    assert (facts["verified"], facts["checkpoint_step"]) == (False, 96)


@pytest.mark.parametrize(
    ("changes", "command"),
    [({"phase": "paused"}, "ckptop ctl mine continue"), ({"last_step_time": 1.0}, "ckptop stop mine")],
    ids=["paused", "stalled"],
)
def test_a_run_that_waits_is_told_what_to_do(
    changes: dict[str, Any], command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rewrite(build_run(tmp_path, RunPlan(name="mine", epochs=4)), **changes)

    assert told(capsys, tmp_path)["command"].startswith(command)


def test_who_stopped_a_run_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = build_run(tmp_path, RunPlan(name="mine", phase="stopped", epochs=4))
    with paths.events.open("a") as events:
        events.write('{"time":1.0,"event":"stopped","attempt":1,"reason":"ada asked for it"}\n')

    assert told(capsys, tmp_path)["ended"] == "asked to stop: ada asked for it"


def test_a_stop_of_an_earlier_attempt_is_not_this_ones(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = build_run(tmp_path, RunPlan(name="mine", phase="stopped", epochs=4))
    with paths.events.open("a") as events:
        events.write('{"time":1.0,"event":"stopped","attempt":1,"reason":"SIGTERM"}\n')
    rewrite(paths, attempt=2)
    assert told(capsys, tmp_path)["ended"] == "asked to stop"

    rewrite(paths, exit=Exit(signal=9, error="killed by ada with `ckptop stop --now`"))

    assert told(capsys, tmp_path)["ended"] == "killed by ada with `ckptop stop --now`"
    assert run(["ps", str(tmp_path)]) == 0
    assert "killed by ada" in capsys.readouterr().out


def test_a_finished_run_needs_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build_run(tmp_path, RunPlan(name="mine", phase="finished", epochs=4))

    facts = told(capsys, tmp_path)

    assert facts["command"] is None
    assert "--epochs N trains on" in facts["note"]


def test_a_run_without_anything_is_still_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build_run(tmp_path, RunPlan(name="mine", epochs=4, alive=False, checkpoints=0, log=False)).events.unlink()

    text = page(capsys, tmp_path)

    assert "none: a resume begins again" in text
    assert "lost    96 steps" in text


def test_a_run_that_others_may_write_is_not_recommended(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = build_run(tmp_path, CRASHED)
    paths.record.chmod(0o666)

    assert "can be written by others" in told(capsys, tmp_path)["note"]


def test_a_script_without_a_command_is_started_by_hand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = build_run(tmp_path, CRASHED)
    record = read_json(paths.record, RunRecord)
    paths.record.write_bytes(encode(msgspec.structs.replace(record, command=None)))

    facts = told(capsys, tmp_path)

    assert facts["command"] is None
    assert "recorded no command" in facts["note"]


@pytest.mark.parametrize("name", ["run.json", "status.json", "metrics.jsonl", "events.jsonl", "train.log"])
@pytest.mark.parametrize(
    "content",
    [b"\x00\xff\x1b[2J" * 50, b"[" * 5000, b'{"step":1e400}\n', None],
    ids=["bytes", "deep", "numbers", "fifo"],
)
def test_whatever_a_file_holds_there_is_a_page_that_steers_no_terminal(
    name: str, content: bytes | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = build_run(tmp_path, CRASHED)
    path = paths.root / name
    path.unlink(missing_ok=True)
    if content is None:
        os.mkfifo(path)
    else:
        path.write_bytes(content)

    text = page(capsys, tmp_path)

    assert text.startswith("mine: ")
    assert not {"\x1b", "\x00"} & set(text)
    assert isinstance(told(capsys, tmp_path)["lost_steps"], int)


def test_escape_codes_of_every_file_are_cleaned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evil = "\x1b]52;c;aGk=\x07\x1b[31mred\u202e\x9b2J"
    process = msgspec.structs.replace(dead_process(), host=evil, user=evil)
    paths = build_run(tmp_path, RunPlan(name="mine", phase="failed", epochs=3))
    rewrite(paths, process=process, exit=Exit(code=1, error=evil))
    paths.log.write_text(f"{evil}\n{TRACEBACK}{evil}\n")
    with paths.metrics.open("a") as log:
        log.write(json.dumps({"step": 80, "time": 1.0, f"loss{evil}": "NaN"}) + "\n")
    with paths.events.open("a") as events:
        events.write(json.dumps({"time": math.pi, "event": "alert", "message": evil}) + "\n")

    text = page(capsys, tmp_path)

    assert not {"\x1b", "\x07", "\u202e", "\x9b"} & set(text)
    assert text.count("red") >= 6


def test_of_metrics_of_gigabytes_the_end_and_pieces_are_read_and_that_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = build_run(tmp_path, CRASHED)
    os.truncate(paths.metrics, 10 * 2**30)  # a hole of no lines at all
    with paths.metrics.open("a") as file:
        file.writelines(f'\n{{"step":{step},"time":{step},"train/loss":"NaN"}}' for step in range(10**6, 10**6 + 9))
        file.write("\n")

    text, facts = page(capsys, tmp_path), told(capsys, tmp_path)

    assert "train/loss is NaN since step 1,000,000" in text
    assert "looked at 32.0 MiB of 10.0 GiB" in text
    assert (facts["log_bytes"] > 10 * 2**30, facts["looked_at_bytes"] < 100 * 2**20) == (True, True)
    assert facts["last_step"] == 10**6 + 8
