"""What is an alert, of which kind, in what words, and what it says to type."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from store_fixture import RunPlan, build_run

from ckptop.store.alerts import KINDS, kind_of, make_alert
from ckptop.store.notices import Notice
from ckptop.store.views import RunHead, read_head


@pytest.fixture
def head(tmp_path: Path) -> RunHead:
    return read_head(build_run(tmp_path / "my runs", RunPlan(name="mine", epochs=1)).root)


def notice(what: str, step: int | None = 7, **details: Any) -> Notice:
    return Notice(0.0, "mine", what, step, None, details)


@pytest.mark.parametrize(
    ("told", "kind"),
    [
        (notice("failed", error="TrainingFailed: the loss is nan at step 7 (epoch 1, batch 7 of 9)"), "nan"),
        (notice("failed", error="FloatingPointError: loss is Infinity"), "nan"),
        (notice("failed", error="RuntimeError: the finance table of Nancy is gone"), "failed"),
        (notice("failed", error=["no", "text"]), "failed"),
        (notice("finished"), "end"),
        (notice("stopped", reason="SIGTERM"), "end"),
        (notice("stopped", goes_on=True), None),
        (notice("milestone", metric="val/loss", value=0.5), "best"),
        (notice("alert", kind="degraded", message="x"), "degraded"),
        (notice("alert", kind="invented later", message="x"), "warning"),
        (notice("alert", kind=["nan"], message="x"), "warning"),
        (notice("alert", message="moved to .quarantine/"), "warning"),
        (notice("state", state="crashed", why="its process is gone"), "crash"),
        (notice("state", state="unknown"), "crash"),
        (notice("state", state="stalled"), "stall"),
        (notice("state", state="failed", why="the loss is nan"), "nan"),
        (notice("state", state="stopped"), "end"),
        (notice("state", state="running"), None),
        (notice("state", state="paused"), None),
        (notice("saved", checkpoint="x"), None),
        (notice("started"), None),
        (notice("epoch"), None),
    ],
)
def test_what_happens_is_an_alert_of_one_kind_or_none(told: Notice, kind: str | None) -> None:
    assert kind_of(told) == kind
    assert kind is None or kind in KINDS


@pytest.mark.parametrize(
    ("told", "message", "command"),
    [
        (notice("failed", error="X: nan"), "failed at step 7: X: nan", "ckptop resume mine --set lr=0.0005"),
        (notice("failed", error="X: y"), "failed at step 7: X: y", "ckptop why mine"),
        (notice("alert", kind="nan", goes_on=True, message="back"), "back", "ckptop logs mine -f"),
        (notice("state", state="crashed", why="killed by SIGKILL"), "crashed at step 7: killed by SIGKILL",
         "ckptop resume mine"),
        (notice("state", state="unknown"), "not heard of at step 7: its host is silent", "ckptop why mine"),
        (notice("state", state="stopped"), "stopped at step 7", "ckptop resume mine"),
        (notice("stopped", None, reason="SIGTERM"), "stopped: SIGTERM", "ckptop resume mine"),
        (notice("finished", metrics={"val/loss": 0.5, "test/loss": "NaN"}),
         "finished at step 7: test/loss NaN, val/loss 0.500", "ckptop ls mine"),
        (notice("milestone", metric="val/loss", value=0.25), "better val/loss: 0.250 at step 7",
         "ckptop show mine:best=val/loss"),
        (notice("alert", message="odd"), "odd", "ckptop why mine"),
    ],
)  # fmt: skip
def test_an_alert_says_the_cause_and_what_to_type(head: RunHead, told: Notice, message: str, command: str) -> None:
    alert = make_alert(str(kind_of(told)), told, head)

    assert alert.message == message
    assert alert.next == f"{command} --store '{head.root.parent}'"
    assert alert.text == f"mine: {message}\n$ {alert.next}"


@pytest.mark.parametrize(
    ("kind", "commands"),
    [
        ("stall", ["ckptop stop mine --now --timeout 60", "ckptop resume mine"]),
        ("degraded", ["ckptop stop mine", "ckptop resume mine --from best"]),
        ("disk", ["ckptop prune mine --keep-last 1", "ckptop trash mine --empty"]),
    ],
)
def test_what_takes_two_commands_is_said_as_one_line(head: RunHead, kind: str, commands: list[str]) -> None:
    alert = make_alert(kind, notice("alert", kind=kind, message="x"), head)

    assert alert.next == " && ".join(f"{command} --store '{head.root.parent}'" for command in commands)


def test_what_a_file_says_cannot_act_on_whoever_reads_it(head: RunHead) -> None:
    alert = make_alert("failed", notice("failed", error="\x1b]52;c;aGk=\x07red\n\x00line\u202e" + "x" * 5000), head)

    assert alert.message.startswith("failed at step 7: red line")
    assert len(alert.message) <= 1000
    assert alert.text.count("\n") == 1
    assert "\x00" not in alert.text


def test_a_rate_that_is_none_is_not_halved(head: RunHead) -> None:
    assert head.record is not None
    for rate in ("fast", True, float("inf"), None):
        record = msgspec.structs.replace(head.record, config={"lr": rate})
        odd = RunHead(head.name, head.root, record, head.status, head.state, None)

        assert "--set" not in make_alert("nan", notice("failed", error="nan"), odd).next


def test_a_run_that_cannot_be_read_is_told_of_too(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()

    alert = make_alert("nan", notice("failed", error="nan"), read_head(tmp_path / "mine"))

    assert alert.next == f"ckptop resume mine --store {tmp_path}"
    assert alert.host


def test_the_number_of_those_not_sent_is_told(head: RunHead) -> None:
    from dataclasses import replace

    alert = replace(make_alert("best", notice("milestone", metric="m", value=1.0), head), missed=4)

    assert "better m: 1.00 at step 7 (4 more of this kind were not sent)\n" in alert.text
    assert alert.fields()["missed"] == 4
