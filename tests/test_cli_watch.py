"""`ckptop watch`: its lines, its table, and how it ends."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from store_fixture import RunPlan, build_run, build_store

from ckptop.cli.main import run
from ckptop.store.events import append_event
from ckptop.store.layout import RunPaths
from ckptop.store.notice_text import text_of
from ckptop.store.notices import Notice


@pytest.fixture
def store(tmp_path: Path) -> Path:
    build_run(tmp_path / "runs", RunPlan(name="mine", epochs=2))
    return tmp_path / "runs"


class Watch:
    """`ckptop watch` in a process of its own."""

    def __init__(self, *args: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ckptop.cli", "watch", *args],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def error(self) -> str:
        assert self.process.stderr is not None
        return self.process.stderr.read()


@pytest.fixture
def watch(store: Path) -> Iterator[Watch]:
    watching = Watch(str(store))
    assert "mine  running at step 48" in watching.line()
    with watching.process:
        yield watching
        watching.process.kill()


def test_a_line_follows_an_event_at_once(watch: Watch, store: Path) -> None:
    append_event(RunPaths(store / "mine"), "saved", step=60, checkpoint="training/x.pt", size_bytes=2048)

    assert watch.line()[21:] == "mine  saved at step 60: training/x.pt, 2.0 KiB\n"


def test_runs_that_come_and_go_are_told(watch: Watch, store: Path, tmp_path: Path) -> None:
    build_run(tmp_path, RunPlan(name="other", epochs=1, age_seconds=9000)).root.rename(store / "other")
    assert "other  running at step 24" in watch.line()

    shutil.rmtree(store / "other")

    assert "other  is gone from the store" in watch.line()


def test_a_store_that_appears_later_is_watched(tmp_path: Path) -> None:
    watching = Watch(str(tmp_path / "later"), "--json")
    with watching.process:
        build_run(tmp_path / "made", RunPlan(name="new", epochs=1, age_seconds=1)).root.parent.rename(
            tmp_path / "later"
        )

        told = json.loads(watching.line())

        assert (told["run"], told["event"]) in {("new", "started"), ("new", "state")}
        watching.process.kill()


def test_a_closed_pipe_ends_it_with_0_though_nothing_happens(watch: Watch) -> None:
    assert watch.process.stdout is not None
    watch.process.stdout.close()

    assert watch.process.wait(timeout=60) == 0
    assert watch.error() == ""


def test_ctrl_c_ends_it_quietly(watch: Watch) -> None:
    watch.process.send_signal(signal.SIGINT)

    assert watch.process.wait(timeout=60) == 130
    assert watch.error().strip() == ""


def test_json_is_an_object_a_line_whose_own_fields_stand(store: Path) -> None:
    watching = Watch(str(store), "--json")
    with watching.process:
        state = json.loads(watching.line())
        append_event(RunPaths(store / "mine"), "deleted", run="\x1b[31mother", metrics={"val/loss": float("nan")})
        line = watching.line()
        watching.process.kill()

    assert (state["event"], state["state"], state["step"]) == ("state", "running", 48)
    assert "\x1b" not in line
    told = json.loads(line)
    assert (told["run"], told["event"], told["metrics"]) == ("mine", "deleted", {"val/loss": "NaN"})


def test_once_prints_the_table_of_ps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build_store(tmp_path)
    assert run(["ps", str(tmp_path)]) == 0
    table = capsys.readouterr().out

    assert run(["watch", str(tmp_path), "--once"]) == 0

    assert capsys.readouterr().out == table
    assert run(["watch", str(tmp_path), "--once", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["runs"]) == 6


def test_once_without_a_store_is_an_empty_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["watch", str(tmp_path / "none"), "--once"]) == 0

    assert capsys.readouterr().out.startswith("No runs.")


@pytest.mark.parametrize(
    ("notice", "text"),
    [
        (Notice(0, "r", "state", 5, 1, {"state": "crashed", "why": "gone"}), "crashed at step 5: gone"),
        (Notice(0, "r", "epoch", 1488, 2, {"total_epochs": 9, "metrics": {"lr": 1, "val/loss": float("nan")}}),
         "epoch 2 of 9, step 1,488: val/loss NaN, lr 1.00"),
        (Notice(0, "r", "epoch", 7, 0, {"metrics": {"val/loss": 0.5}}), "validated, step 7: val/loss 0.500"),
        (Notice(0, "r", "gone"), "is gone from the store"),
        (Notice(0, "r", "milestone", 7, None, {"checkpoint": "m.pt", "metric": "acc", "value": "NaN"}),
         "milestone at step 7: m.pt, acc NaN"),
        (Notice(0, "r", "saved", 7, None, {"checkpoint": ["x"], "seconds": 90, "size_bytes": "much"}),
         "saved at step 7: ['x'], in 2 min"),
        (Notice(0, "r", "alert", 7, None, {"message": "loss is NaN"}), "alert at step 7: loss is NaN"),
        (Notice(0, "r", "control", 7, None, {"user": "ada", "action": "save", "message": "done"}),
         "ada asked for save at step 7: done"),
        (Notice(0, "r", "started", 0, None, {"from_step": 30, "from_checkpoint": "training/x.pt"}),
         "started from step 30, training/x.pt"),
        (Notice(0, "r", "finished", 7, None, {"metrics": {"test/loss": 0.25}}), "finished at step 7: test/loss 0.250"),
        (Notice(0, "r", "finished", 7, None, {"metrics": [1]}), "finished at step 7"),
        (Notice(0, "r", "failed", 7, None, {"error": "ValueError: x"}), "failed at step 7: ValueError: x"),
        (Notice(0, "r", "pruned", 7, None, {"checkpoints": ["a", "b"], "freed_bytes": 5}),
         "pruned at step 7: 2 checkpoints, 5 B freed"),
        (Notice(0, "r", "promoted", 7, None, {"checkpoint": "milestone/a.pt", "model": "digits", "version": "1.0.0"}),
         "promoted at step 7: milestone/a.pt as digits 1.0.0"),
        (Notice(0, "r", "deleted", 7, None, {"checkpoints": ["a"]}), "deleted at step 7: 1 checkpoint"),
        (Notice(0, "r", "whatever"), "whatever"),
    ],
)  # fmt: skip
def test_a_notice_reads_well_whatever_it_holds(notice: Notice, text: str) -> None:
    assert text_of(notice) == text


def test_escape_codes_reach_no_terminal(watch: Watch, store: Path) -> None:
    append_event(RunPaths(store / "mine"), "\x1b[2Jevent", message="\x1b]52;c;aGk=\x07red\nline\u202e")

    assert watch.line()[21:] == "mine  event: red line\n"


def test_neither_textual_nor_torch_is_loaded(store: Path) -> None:
    code = (
        "import sys\nimport ckptop.cli.watch\nfrom ckptop.cli.main import run\n"
        f"assert run(['watch', {str(store)!r}, '--once']) == 0\n"
        "print([name for name in ('textual', 'torch', 'numpy') if name in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.endswith("[]\n")
