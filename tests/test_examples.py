"""The three examples as processes: killed, resumed by their recorded command, stopped, resumed to the end."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from ckptop.cli.main import COMMANDS, run
from ckptop.store import tensors
from ckptop.store.views import RunView, read_run

EXAMPLES = Path(__file__).parent.parent / "examples"
NAMES = {"plain_pytorch": "plain", "lightning_module": "lightning", "huggingface_trainer": "llama"}
"""Each example's run."""
EXACT_AT_ANY_STEP = {"plain_pytorch", "huggingface_trainer"}
"""Lightning's loaders begin their epoch anew in the middle of one."""


def wait_for(condition: Callable[[], object], what: str, seconds: float = 120.0) -> None:
    """Poll until `condition` holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.01)


def start(example: str, cwd: Path) -> subprocess.Popen[bytes]:
    cwd.mkdir(exist_ok=True)
    with (cwd / "output.txt").open("wb") as output:
        return subprocess.Popen(
            [sys.executable, str(EXAMPLES / f"{example}.py")], cwd=cwd, stdout=output, stderr=output
        )


def logged(view: RunView) -> list[dict[str, Any]]:
    """The lines that count, without their times."""
    lines: list[dict[str, Any]] = []
    for text in view.paths.metrics.read_text().splitlines():
        line = json.loads(text)
        if "attempt" in line:
            lines = [one for one in lines if one["step"] <= line["from_step"]]
        else:
            lines.append({key: value for key, value in line.items() if key != "time"})
    return lines


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where a user stands: the store is ./runs. Whatever still trains there is killed when the test is over."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("CKPTOP_STORE", str(tmp_path / "cut" / "runs"))
    yield tmp_path
    for status in tmp_path.glob("*/runs/*/status.json"):
        view = read_run(status.parent)
        if view.state in ("starting", "running") and view.status is not None:
            os.kill(view.status.process.pid, signal.SIGKILL)


@pytest.mark.parametrize(
    "example",
    ["plain_pytorch", *(pytest.param(name, marks=pytest.mark.slow) for name in NAMES if name != "plain_pytorch")],
)
def test_an_example_is_killed_stopped_and_resumed_and_ends_as_if_nothing_had_happened(
    example: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = NAMES[example]
    straight = start(example, place / "straight")

    def view() -> RunView:
        return read_run(place / "cut" / "runs" / name)

    killed = start(example, place / "cut")
    wait_for(lambda: view().latest or killed.poll() is not None, "a checkpoint")
    killed.kill()
    assert killed.wait() == -signal.SIGKILL, (place / "cut" / "output.txt").read_text()[-2000:]
    assert run(["ls", "--json"]) == 0
    assert [(row["run"], row["state"]) for row in json.loads(capsys.readouterr().out)["runs"]] == [(name, "crashed")]

    crashed = view().latest
    assert crashed is not None
    assert run(["resume", name]) == 0
    assert f"Resumed {name} from step {crashed.step:,}" in capsys.readouterr().out
    if example in EXACT_AT_ANY_STEP:
        assert run(["stop", name]) == 0
        assert "stopped at step" in capsys.readouterr().out
        stopped = view()
        assert stopped.latest is not None
        assert stopped.status is not None
        assert (stopped.state, stopped.latest.step) == ("stopped", stopped.status.step)
        assert run(["resume", name]) == 0
    wait_for(lambda: view().state not in ("starting", "running"), "the end")

    assert straight.wait(timeout=300) == 0, (place / "straight" / "output.txt").read_text()[-2000:]
    whole = read_run(place / "straight" / "runs" / name)
    assert whole.state == "finished"
    ended = view()
    assert ended.state == "finished", ended.paths.log.read_text()[-2000:]
    assert ended.latest is not None
    assert whole.latest is not None
    assert ended.latest.step == whole.latest.step
    expected, found = (tensors.read_state(one.path)["model_state_dict"] for one in (whole.latest, ended.latest))
    assert all(torch.equal(expected[key], found[key]) for key in expected)
    lines = logged(ended)
    assert [line for line in lines if line in logged(whole)] == logged(whole), "the curves line up"


@pytest.mark.parametrize("example", ["lightning_module", "huggingface_trainer"])
def test_a_stop_of_an_example_finishes_the_step_and_saves_it(
    example: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a kill and a resume do to them is tested in one process by `test_hooks_{lightning,huggingface}.py`."""
    process = start(example, place / "cut")
    root = place / "cut" / "runs" / NAMES[example]
    wait_for(lambda: read_run(root).latest or process.poll() is not None, "a checkpoint")

    assert run(["stop", NAMES[example]]) == 0

    assert process.wait(timeout=120) == 3, (place / "cut" / "output.txt").read_text()[-2000:]
    view = read_run(root)
    assert view.latest is not None
    assert view.status is not None
    assert (view.state, view.latest.step) == ("stopped", view.status.step)


def test_what_the_dashboard_sets_reaches_the_script(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert start("plain_pytorch", place / "cut").wait(timeout=120) == 0

    assert run(["resume", "plain", "--set", "steps=620"]) == 0

    root = place / "cut" / "runs" / "plain"
    wait_for(lambda: read_run(root).state == "finished", "the end")
    view = read_run(root)
    assert view.status is not None
    assert view.status.step == 620


@pytest.mark.parametrize("example", NAMES)
def test_an_example_is_short_enough_to_be_read(example: str) -> None:
    lines = (EXAMPLES / f"{example}.py").read_text().splitlines()

    assert len([line for line in lines if line.strip()]) <= 60


def test_the_page_names_the_examples_and_commands_that_there_are() -> None:
    page = (EXAMPLES.parent / "docs" / "hooks.md").read_text()

    assert set(re.findall(r"\.\./examples/(\w+)\.py", page)) == set(NAMES)
    assert set(re.findall(r"(?:`|\$ )ckptop ([a-z]+)", page)) <= set(COMMANDS)
