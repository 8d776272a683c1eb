"""Requests to a trainer: exact bytes, only from those who may ask, each answered once and removed."""

from __future__ import annotations

import os
import pwd
import threading
from collections.abc import Collection
from pathlib import Path

import pytest

from ckptop.store.control import MAX_REQUEST_BYTES, Pending, answer, ids_of, pending, send_request, wait_for_answer
from ckptop.store.errors import DiskError
from ckptop.store.events import append_event, read_events
from ckptop.store.fs import FileSystem
from ckptop.store.layout import RunPaths
from ckptop.store.records import ControlRequest

GOLDEN = Path(__file__).parent / "golden" / "control_request.json"
NAME = "1763683200250000000-0a1b2c3d"


@pytest.fixture
def paths(tmp_path: Path) -> RunPaths:
    return RunPaths(tmp_path)


@pytest.fixture
def nobody(paths: RunPaths) -> int:
    """A user id that neither owns the run nor belongs to its group; tests must be root to write as them."""
    if os.geteuid() != 0:
        pytest.skip("only root can write a file as somebody else")
    return pwd.getpwnam("nobody").pw_uid


def put(paths: RunPaths, content: bytes, name: str = f"{NAME}.json") -> Path:
    paths.control.mkdir(exist_ok=True)
    path = paths.control / name
    path.write_bytes(content)
    return path


def reason(paths: RunPaths, older: Collection[str] = ()) -> str:
    found = pending(paths, older=older)
    assert not found.requests
    (refused,) = found.refused
    assert refused.id == NAME
    return refused.reason


def test_a_request_is_exactly_the_documented_bytes(paths: RunPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ckptop.store.control.time.time_ns", lambda: 1763683200250000000)
    monkeypatch.setattr("ckptop.store.control.secrets.token_hex", lambda _: "0a1b2c3d")

    send_request(paths, "set", {"lr": 1e-4}, user="ada")

    (path,) = paths.control.iterdir()
    assert path.name == f"{NAME}.json"
    assert path.read_bytes() == GOLDEN.read_bytes()


def test_requests_arrive_in_the_order_sent(paths: RunPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([999, 10_000, 2_000_000])
    monkeypatch.setattr("ckptop.store.control.time.time_ns", lambda: next(times))
    sent = [send_request(paths, action) for action in ("save", "pause", "stop")]

    found = pending(paths)

    assert found == Pending(tuple(sent))


def test_the_sender_is_the_user_of_the_process(paths: RunPaths) -> None:
    assert send_request(paths, "stop").user == pwd.getpwuid(os.geteuid()).pw_name


def test_nothing_is_seen_of_a_request_before_it_is_whole(paths: RunPaths) -> None:
    seen: list[Pending] = []

    class Peeking(FileSystem):
        def rename(self, source: Path, target: Path) -> None:
            seen.append(pending(paths))
            super().rename(source, target)

    send_request(paths, "stop", fs=Peeking())

    assert seen == [Pending()]
    assert len(pending(paths).requests) == 1


def test_a_run_that_cannot_be_written_cannot_be_asked(paths: RunPaths) -> None:
    paths.control.write_bytes(b"in the way")

    with pytest.raises(DiskError, match="cannot be asked"):
        send_request(paths, "stop")


def test_an_answer_is_an_event_and_the_request_is_gone(paths: RunPaths) -> None:
    request = send_request(paths, "set", {"lr": 0.5}, user="ada")

    answer(paths, request, True, "saved", attempt=2, step=30)

    (event,) = read_events(paths.events)
    assert (event.event, event.attempt, event.step) == ("control", 2, 30)
    asked = {"action": "set", "args": {"lr": 0.5}, "user": "ada"}
    assert event.details == {"id": request.id, "ok": True, "message": "saved", **asked}
    assert pending(paths) == Pending()


def test_the_answer_is_told_before_the_request_is_removed(paths: RunPaths) -> None:
    """Dying between the two must not leave a sender without an answer."""

    class PowerCut(BaseException):
        pass

    class Dying(FileSystem):
        def unlink(self, path: Path) -> None:
            raise PowerCut

    request = send_request(paths, "save")

    with pytest.raises(PowerCut):
        answer(paths, request, True, "saved", fs=Dying())

    assert wait_for_answer(paths, request.id, 0.0) is not None


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "malformed"),
        (b"{", "malformed"),
        (b"\xff", "malformed"),
        (b'{"id":1}', "malformed"),
        (b"[" * 5000, "malformed"),
        (b'{"id":"1-00000000","time":5,"user":"a","action":"stop"}', "its id is not its file name"),
        (b" " * (MAX_REQUEST_BYTES + 1), "larger than 64 KiB"),
    ],
    ids=["empty", "torn", "not-utf8", "wrong-type", "nested", "another-id", "too-large"],
)
def test_what_is_no_request_is_refused_with_the_reason(paths: RunPaths, content: bytes, why: str) -> None:
    put(paths, content)

    assert why in reason(paths)


def test_a_request_of_before_this_attempt_is_refused(paths: RunPaths) -> None:
    put(paths, GOLDEN.read_bytes())

    assert reason(paths, older=ids_of(paths)) == "it is older than this attempt"
    assert len(pending(paths).requests) == 1


def test_what_is_not_a_regular_file_is_refused_without_waiting(paths: RunPaths) -> None:
    paths.control.mkdir()
    path = paths.control / f"{NAME}.json"
    elsewhere = paths.root / "elsewhere.json"
    elsewhere.write_bytes(GOLDEN.read_bytes())

    path.symlink_to(elsewhere)
    link = reason(paths)
    path.unlink()
    os.mkfifo(path)
    fifo = reason(paths)
    path.unlink()
    path.mkdir()
    directory = reason(paths)

    assert {link, fifo, directory} == {"it is not a regular file"}


def test_a_refused_file_of_any_kind_is_answered_and_removed(paths: RunPaths) -> None:
    paths.control.mkdir()
    (paths.control / f"{NAME}.json").mkdir()
    (refused,) = pending(paths).refused

    answer(paths, refused, False, f"refused: {refused.reason}")

    (event,) = read_events(paths.events)
    assert event.details == {"id": NAME, "ok": False, "message": "refused: it is not a regular file"}
    assert pending(paths) == Pending()


def test_a_strangers_request_is_refused(paths: RunPaths, nobody: int) -> None:
    """The file's own group is no proof: a setgid directory gives it to anybody's file."""
    os.chown(put(paths, GOLDEN.read_bytes()), nobody, paths.root.stat().st_gid)

    assert "neither owns the run nor belongs to its group" in reason(paths)


def test_a_member_of_the_runs_group_may_ask(paths: RunPaths, nobody: int) -> None:
    os.chown(put(paths, GOLDEN.read_bytes()), nobody, -1)
    os.chown(paths.root, -1, pwd.getpwuid(nobody).pw_gid)

    assert len(pending(paths).requests) == 1


def test_an_unknown_user_may_not_ask(paths: RunPaths, nobody: int) -> None:
    os.chown(put(paths, GOLDEN.read_bytes()), 3_999_999, -1)

    assert "user 3999999" in reason(paths)


def test_other_files_in_the_directory_are_left_alone(paths: RunPaths) -> None:
    for name in (f".{NAME}.json.1.ab.tmp", "README", f"{NAME}.json~", "1-0A1B2C3D.json"):
        put(paths, b"", name)

    assert pending(paths) == Pending()


def test_a_run_without_the_directory_has_no_requests(paths: RunPaths) -> None:
    assert pending(paths) == Pending()


def test_the_sender_hears_its_own_answer(paths: RunPaths) -> None:
    other, request = send_request(paths, "save"), send_request(paths, "stop")
    append_event(paths, "alert", id=request.id)
    answer(paths, other, True, "saved")
    later = threading.Timer(0.05, answer, (paths, request, False, "busy"))
    later.start()

    event = wait_for_answer(paths, request.id, 20.0)
    later.join()

    assert event is not None
    assert event.details["message"] == "busy"


def test_waiting_for_an_answer_ends(paths: RunPaths) -> None:
    assert wait_for_answer(paths, NAME, 0.02) is None


def test_a_request_is_read_back_as_sent(paths: RunPaths) -> None:
    send_request(paths, "set", {"lr": float("nan"), "deep": {"a": [1]}})

    (found,) = pending(paths).requests

    assert isinstance(found, ControlRequest)
    assert found.args == {"lr": "NaN", "deep": {"a": [1]}}
