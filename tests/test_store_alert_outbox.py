"""Alerts on their way out: to whom, how often, and that a dead end costs nobody anything."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from alert_ends import SECRET, Endpoint, endpoint, noted, noting_command, refusing_endpoint, silent_endpoint
from plain_loops import wait_for

from ckptop.store import alert_channels, alert_outbox
from ckptop.store.alert_outbox import Outbox
from ckptop.store.alert_settings import alert_settings
from ckptop.store.alerts import Alert


def alert(kind: str = "crash", run: str = "mine", message: str = "gone") -> Alert:
    return Alert(12.5, kind, run, "/runs", "box", message, f"ckptop resume {run}", step=7)


class Said(list[str]):
    def __call__(self, line: str) -> None:
        self.append(line)


@contextmanager
def outbox(said: Callable[[str], object] = print, **environ: str) -> Iterator[Outbox]:
    settings = alert_settings({f"CKPTOP_ALERT_{name}": value for name, value in environ.items()})
    assert settings is not None
    box = Outbox(settings, said)
    yield box
    assert box.close(60)


@pytest.fixture
def hook() -> Iterator[Endpoint]:
    with endpoint() as found:
        yield found


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alert_outbox, "RETRY_SECONDS", 0.05)
    monkeypatch.setattr(alert_channels, "WEBHOOK_SECONDS", 0.3)


def test_a_webhook_is_posted_json_that_chats_understand(hook: Endpoint) -> None:
    with outbox(WEBHOOK=hook.address, WEBHOOK_HEADER=f"Authorization: Bearer {SECRET}") as box:
        box.put(alert(message="loss is nan @everyone"))

    (told,) = hook.alerts
    text = "mine: loss is nan @everyone\n$ ckptop resume mine"
    assert told == {
        "time": 12.5, "kind": "crash", "run": "mine", "store": "/runs", "host": "box", "step": 7,
        "message": "loss is nan @everyone", "next": "ckptop resume mine", "missed": 0,
        "text": text, "content": text, "allowed_mentions": {"parse": []},
    }  # fmt: skip
    assert hook.headers[0]["Authorization"] == f"Bearer {SECRET}"
    assert hook.headers[0]["Content-Type"] == "application/json"


def test_a_webhook_may_want_plain_text(hook: Endpoint) -> None:
    with outbox(WEBHOOK=hook.address, WEBHOOK_FORMAT="text") as box:
        box.put(alert(message="größer"))

    assert hook.bodies[0].decode() == "mine: größer\n$ ckptop resume mine"


def test_a_chat_s_limit_is_kept(hook: Endpoint) -> None:
    with outbox(WEBHOOK=hook.address) as box:
        box.put(alert(message="x" * 5000))

    assert len(hook.alerts[0]["content"]) < 2000


def test_a_command_gets_the_alert_on_stdin_and_in_its_environment(tmp_path: Path) -> None:
    script = "import os, sys, json; json.dump([json.load(sys.stdin), dict(os.environ)], open(sys.argv[1], 'w'))"
    with outbox(COMMAND=shlex.join([sys.executable, "-c", script, str(tmp_path / "out")])) as box:
        box.put(alert(message="it's $HOME; `x`"))

    fields, environ = json.loads((tmp_path / "out").read_text())
    assert (fields["kind"], fields["message"]) == ("crash", "it's $HOME; `x`")
    told = {name: environ[f"CKPTOP_ALERT_{name}"] for name in ("KIND", "RUN", "MESSAGE", "NEXT", "STEP", "MISSED")}
    assert told == {
        "KIND": "crash", "RUN": "mine", "MESSAGE": "it's $HOME; `x`", "NEXT": "ckptop resume mine", "STEP": "7",
        "MISSED": "0",
    }  # fmt: skip
    assert environ["CKPTOP_ALERT_TEXT"] == fields["text"]


def test_only_the_kinds_chosen_are_told(hook: Endpoint) -> None:
    with outbox(WEBHOOK=hook.address, ON="nan,end") as box:
        for kind in ("crash", "nan", "best", "end"):
            box.put(alert(kind))

    assert hook.kinds() == ["nan", "end"]


def test_of_a_kind_and_run_one_is_told_in_a_while_and_the_next_says_how_many_were_not(
    hook: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("ckptop.store.alert_outbox.time.monotonic", lambda: now)
    with outbox(WEBHOOK=hook.address, INTERVAL="60") as box:
        for _ in range(5):
            box.put(alert("best"))
            wait_for(lambda: hook.bodies, "the first to be told")
        box.put(alert("best", run="other"))
        box.put(alert("crash"))
        now += 60
        box.put(alert("best"))

    assert [(told["run"], told["kind"], told["missed"]) for told in hook.alerts] == [
        ("mine", "best", 0), ("other", "best", 0), ("mine", "crash", 0), ("mine", "best", 4),
    ]  # fmt: skip


def test_a_full_queue_drops_the_oldest_counts_them_and_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alert_outbox, "QUEUE_LENGTH", 3)
    delivered: list[Alert] = []
    busy, may_go_on = threading.Event(), threading.Event()

    def slow(_command: object, told: Alert) -> None:
        busy.set()
        assert may_go_on.wait(60)
        delivered.append(told)

    monkeypatch.setattr(alert_outbox, "run_command", slow)
    with outbox(COMMAND="true", INTERVAL="0") as box:
        box.put(alert(message="first"))
        assert busy.wait(60)
        for number in range(10):
            box.put(alert(message=str(number)))
        may_go_on.set()

    assert [(told.message, told.missed) for told in delivered] == [("first", 0), ("7", 7), ("8", 0), ("9", 0)]


@pytest.mark.parametrize("way", ["refuses", "is silent"])
def test_a_dead_endpoint_is_given_up_after_a_time_out_and_said_once_by_its_host_alone(way: str) -> None:
    said = Said()
    with silent_endpoint() as silent:
        address = silent if way == "is silent" else refusing_endpoint()
        with outbox(said, WEBHOOK=address, WEBHOOK_HEADER=f"X-Token: {SECRET}", INTERVAL="0") as box:
            began = time.monotonic()
            for number in range(3):
                box.put(alert(message=str(number)))
            assert time.monotonic() - began < 0.2

    why = "did not answer within 0.3 s" if way == "is silent" else "could not be reached: Connection refused"
    assert said == [f"an alert was not delivered: 127.0.0.1 {why}"]


def test_what_was_not_delivered_is_told_with_the_next_that_is(hook: Endpoint) -> None:
    said = Said()
    hook.answer = 404
    with outbox(said, WEBHOOK=hook.address, INTERVAL="0") as box:
        box.put(alert())
        box.put(alert())
        wait_for(lambda: len(hook.bodies) == 2 and box._missed, "two refusals")
        wait_for(lambda: box._missed["mine", "crash"] == 2, "both to be counted")
        hook.answer = 204
        box.put(alert())

    assert hook.alerts[-1]["missed"] == 2
    assert said == ["an alert was not delivered: 127.0.0.1 answered 404"]


def test_an_endpoint_that_was_away_for_a_moment_is_tried_again(hook: Endpoint) -> None:
    said = Said()
    hook.first_answers = [503]
    with outbox(said, WEBHOOK=hook.address) as box:
        box.put(alert())
        wait_for(lambda: len(hook.bodies) == 2, "the second")

    assert said == []


def test_a_redirect_is_not_followed_so_that_the_header_reaches_one_host_only(hook: Endpoint) -> None:
    said = Said()
    with endpoint() as other:
        hook.answer, hook.location = 302, other.address
        with outbox(said, WEBHOOK=hook.address, WEBHOOK_HEADER=f"X-Token: {SECRET}") as box:
            box.put(alert())

        assert other.bodies == []
    assert said == ["an alert was not delivered: 127.0.0.1 answered 302"]


def test_a_command_that_hangs_is_killed_with_what_it_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alert_channels, "COMMAND_SECONDS", 2.0)
    said, pids = Said(), tmp_path / "pids"
    script = f"echo $$ >> {pids}; sleep 1000 & echo $! >> {pids}; wait"
    with outbox(said, COMMAND=f"sh -c '{script}'") as box:
        box.put(alert())

    assert said == ["an alert was not delivered: sh did not end within 2 s and was killed"]
    for pid in pids.read_text().split():
        wait_for(lambda pid=pid: is_dead(int(pid)), "the command and its child to be gone")  # type: ignore[misc]  # a default binds the loop's variable


def is_dead(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_a_command_that_fails_or_does_not_read_costs_nothing_else(tmp_path: Path, hook: Endpoint) -> None:
    said = Said()
    with outbox(said, COMMAND="false", WEBHOOK=hook.address, INTERVAL="0") as box:
        box.put(alert(message="x" * 900))
        box.put(alert("nan"))

    assert said == ["an alert was not delivered: false ended with exit code 1"]
    assert hook.kinds() == ["crash", "nan"]
    assert [told["missed"] for told in hook.alerts] == [0, 0]


def test_the_end_waits_for_what_is_queued_and_no_longer_than_it_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alert_channels, "WEBHOOK_SECONDS", 20.0)
    said = Said()
    settings = alert_settings({"CKPTOP_ALERT_COMMAND": noting_command(tmp_path / "out")})
    assert settings is not None
    box = Outbox(settings, said)
    box.put(alert())
    assert box.close(60)
    assert [told["kind"] for told in noted(tmp_path / "out")] == ["crash"]

    with silent_endpoint() as address:
        dead = alert_settings({"CKPTOP_ALERT_WEBHOOK": address})
        assert dead is not None
        box = Outbox(dead, said)
        box.put(alert())
        began = time.monotonic()
        assert not box.close(0.2)
        assert time.monotonic() - began < 5

    assert said == ["the last alerts were not delivered within 0.2 s of the end"]
    wait_for(lambda: not box._thread.is_alive(), "the socket to be closed from the other side")


def test_whatever_goes_wrong_on_the_thread_alerts_go_on(hook: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    said, broken = Said(), threading.Event()

    def look() -> None:
        broken.set()
        raise RuntimeError(SECRET)

    def explode(*_: Any) -> None:
        raise RuntimeError(SECRET)

    monkeypatch.setattr(alert_outbox, "TICK_SECONDS", 0.01)
    monkeypatch.setattr(alert_outbox, "run_command", explode)
    settings = alert_settings({"CKPTOP_ALERT_WEBHOOK": hook.address, "CKPTOP_ALERT_COMMAND": "true"})
    assert settings is not None
    box = Outbox(settings, said, look)
    assert broken.wait(60)
    box.put(alert())
    assert box.close(60)

    assert hook.kinds() == ["crash"]
    assert sorted(said) == [
        "an alert was not delivered: RuntimeError",
        "an alert was not delivered: looking at the run failed (RuntimeError)",
    ]


def test_urllib_is_not_loaded_before_something_is_posted() -> None:
    code = (
        "import sys\nimport ckptop.store.alert_outbox, ckptop.store.alerting, ckptop.cli.watch, ckptop.cli.train\n"
        "print([name for name in ('urllib.request', 'http.client', 'ssl', 'textual', 'torch') if name in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"
