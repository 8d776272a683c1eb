"""metrics.jsonl, writing: exact bytes, one write a line, and a training that goes on whatever the disk says."""

from __future__ import annotations

import errno
import json
import math
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckptop.store.errors import DiskError, UsageError
from ckptop.store.fs import FileSystem
from ckptop.store.metric_writer import MetricWriter

GOLDEN = Path(__file__).parent / "golden" / "metric_lines.jsonl"


class ScriptedFs(FileSystem):
    """Writes as told: a number is how many bytes the next write takes, an error what it raises; then all is well."""

    def __init__(self, *answers: int | OSError) -> None:
        self.answers = list(answers)
        self.calls: list[str] = []

    def write(self, fd: int, data: bytes | memoryview) -> int:
        self.calls.append("write")
        answer = self.answers.pop(0) if self.answers else len(data)
        if isinstance(answer, OSError):
            raise answer
        return super().write(fd, data[:answer])

    def fsync(self, fd: int) -> None:
        self.calls.append("fsync")
        if self.answers and isinstance(self.answers[0], OSError):
            raise self.answers.pop(0)  # type: ignore[misc]  # just seen to be an OSError
        super().fsync(fd)


def no_space() -> OSError:
    return OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "metrics.jsonl"


def steps(path: Path) -> list[Any]:
    return [json.loads(line).get("step") for line in path.read_text().splitlines()]


def test_lines_are_exactly_the_documented_bytes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = MetricWriter(path)

    writer.log(120, {"train/loss": 0.482, "lr": 0.001}, epoch=1, time=1763683200.25)
    values = {"train/loss": math.nan, "up": math.inf, "down": -math.inf, "seen": 7680, "done": True}
    writer.log(121, values, time=1763683200.5)
    monkeypatch.setattr("ckptop.store.metric_writer.clock.time", lambda: 1763683300.0)
    writer.attempt(2, 120)
    writer.log(121, {"train/loss": 1e-7, "größe": -0.0}, epoch=1, time=1763683300.5)
    writer.close()

    assert path.read_bytes() == GOLDEN.read_bytes()


def test_each_line_is_one_write(path: Path) -> None:
    fs = ScriptedFs()
    writer = MetricWriter(path, fs=fs)

    writer.log(1, {"loss": 0.5})
    writer.log(2, {"loss": 0.5})
    writer.close()

    assert fs.calls == ["write", "write"]


def test_a_killed_process_loses_nothing(path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "from ckptop.store.metric_writer import MetricWriter\n"
        "writer = MetricWriter(Path(sys.argv[1]))\n"
        "for step in range(100): writer.log(step, {'loss': 0.5})\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )

    ended = subprocess.run([sys.executable, "-c", code, str(path)], check=False)

    assert ended.returncode == -signal.SIGKILL
    assert steps(path) == list(range(100))


def test_whatever_float_takes_can_be_logged(path: Path) -> None:
    class Tensor:
        def __float__(self) -> float:
            return 0.25

    writer = MetricWriter(path)
    values = {"a": Tensor(), "b": np.float32(0.5), "c": np.float64("nan"), "d": np.int64(3), "e": 2**70, "f": "0.5"}

    writer.log(np.int64(7), values, epoch=np.int32(2), time=1.0)  # type: ignore[arg-type]  # NumPy's int is an index
    writer.close()

    written = json.loads(path.read_text())
    assert written == {
        "step": 7, "epoch": 2, "time": 1.0, "a": 0.25, "b": 0.5, "c": "NaN", "d": 3.0, "e": 2.0**70, "f": 0.5,
    }  # fmt: skip


@pytest.mark.parametrize(
    "name", ["step", "epoch", "time", "attempt", "from_step", "", "a\nb", "\x9b", "\udcff", 3, "x" * 201]
)
def test_a_name_that_cannot_be_written_is_refused_at_the_call(path: Path, name: Any) -> None:
    writer = MetricWriter(path)

    for _ in range(2):
        with pytest.raises(UsageError):
            writer.log(1, {"loss": 0.5, name: 1.0})
    writer.close()

    assert path.read_bytes() == b""


@pytest.mark.parametrize("value", [None, "high", [1, 2], 10**400, np.zeros(2)], ids=lambda v: type(v).__name__)
def test_a_value_that_is_no_number_is_refused_at_the_call(path: Path, value: Any) -> None:
    writer = MetricWriter(path)

    with pytest.raises(UsageError, match="metric 'loss' is not one number"):
        writer.log(1, {"loss": value})
    writer.close()

    assert path.read_bytes() == b""


@pytest.mark.parametrize("step", [1.5, "1", None])
def test_a_step_is_a_whole_number(path: Path, step: Any) -> None:
    writer = MetricWriter(path)

    with pytest.raises(UsageError, match="whole number"):
        writer.log(step, {"loss": 1.0})
    writer.close()


def test_a_torn_last_line_is_ended_first(path: Path) -> None:
    path.write_bytes(b'{"step":1}\n{"step":2,"lo')

    writer = MetricWriter(path)
    writer.log(3, {})
    writer.log(4, {})
    writer.close()

    lines = path.read_bytes().splitlines()
    assert lines[1] == b'{"step":2,"lo'
    assert [json.loads(line)["step"] for line in lines[2:]] == [3, 4]


def test_a_short_write_is_completed(path: Path) -> None:
    writer = MetricWriter(path, fs=ScriptedFs(5, 1))

    assert writer.log(1, {"loss": 0.5})
    assert writer.log(2, {"loss": 0.5})
    writer.close()

    assert steps(path) == [1, 2]


def test_a_full_disk_costs_lines_but_never_the_training(path: Path) -> None:
    """A line cut off half-way is ended by the next that fits, and costs only itself."""
    writer = MetricWriter(path, fs=ScriptedFs(8, no_space(), no_space()))

    kept = [writer.log(step, {"loss": 0.5}) for step in (1, 2)]
    problem = writer.problem
    kept.append(writer.log(3, {"loss": 0.5}))
    writer.close()

    assert kept == [False, False, True]
    assert writer.lost_lines == 2
    assert problem == "metrics.jsonl cannot be written: No space left on device; 2 lines lost"
    assert writer.problem is None
    torn, whole = path.read_bytes().splitlines()
    assert torn == b'{"step":'
    assert json.loads(whole)["step"] == 3


def test_a_real_full_device_is_survived() -> None:
    writer = MetricWriter(Path("/dev/full"))

    assert not writer.log(1, {"loss": 0.5})
    writer.close()


def test_an_attempt_line_is_durable_before_the_attempt_begins(path: Path) -> None:
    fs = ScriptedFs()
    writer = MetricWriter(path, fs=fs)

    writer.attempt(2, 300)
    writer.close()

    assert fs.calls == ["write", "fsync"]


@pytest.mark.parametrize(
    "answers", [(no_space(),), (10**6, OSError(errno.EIO, "Input/output error"))], ids=["write", "fsync"]
)
def test_an_attempt_does_not_begin_without_its_line(path: Path, answers: tuple[int | OSError, ...]) -> None:
    writer = MetricWriter(path, fs=ScriptedFs(*answers))

    with pytest.raises(DiskError, match="attempt 2 did not begin"):
        writer.attempt(2, 300)
    writer.close()


def test_a_refused_sync_is_told_and_survived(path: Path) -> None:
    writer = MetricWriter(path, fs=ScriptedFs(OSError(errno.EIO, "Input/output error")))

    assert not writer.sync()
    assert writer.problem == "metrics.jsonl cannot be made durable: Input/output error"
    assert writer.sync()
    writer.close()


def test_a_closed_writer_says_so(path: Path) -> None:
    writer = MetricWriter(path)
    writer.close()
    writer.close()

    for call in (lambda: writer.log(1, {}), writer.sync, lambda: writer.attempt(1, 0)):
        with pytest.raises(UsageError, match="is closed"):
            call()


def test_a_file_that_cannot_be_made_is_a_disk_error(tmp_path: Path) -> None:
    with pytest.raises(DiskError, match="cannot be written: No such file"):
        MetricWriter(tmp_path / "no" / "metrics.jsonl")


def test_threads_and_another_process_write_whole_lines(path: Path) -> None:
    other = os.fork()
    writer = MetricWriter(path)
    if other == 0:
        for step in range(500):
            writer.log(step, {"loss": 0.5})
        os._exit(0)

    def log() -> None:
        for step in range(500):
            writer.log(step, {"loss": 0.5})

    threads = [threading.Thread(target=log) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os.waitpid(other, 0)
    writer.close()

    assert sorted(steps(path)) == sorted(list(range(500)) * 4)
