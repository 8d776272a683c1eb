"""The hardware pane in full size: processes with their runs, the disk a run and a tier, another machine."""

from __future__ import annotations

import json
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from dashboard import NO_GPU, ONE_GPU, Dashboard, open_dashboard
from msgspec.structs import replace
from store_fixture import RunPlan, build_store

from ckptop.host.gpus import GpuProcess
from ckptop.host.processes import ProcessReader, ProcessSample
from ckptop.host.units import cell_width
from ckptop.store.files import read_json
from ckptop.store.layout import RunPaths
from ckptop.store.manifest import encode
from ckptop.store.records import Status
from ckptop.tui.elsewhere import ElsewhereReader
from ckptop.tui.model import Hardware
from ckptop.tui.sampling import HardwareSampler
from ckptop.tui.screens.trash import TrashScreen
from ckptop.tui.text import plain
from ckptop.tui.usage_lines import process_lines
from ckptop.tui.widgets.hardware import HardwarePane

GIB = 1024**3
MINE = os.getpid()


def sample(pid: int, name: str, cpu: float, gib: float) -> ProcessSample:
    return ProcessSample(pid, name, "ada", cpu, int(gib * GIB), 1_763_700_000.0)


@pytest.fixture
def busy() -> Hardware:
    gpu = ONE_GPU.gpus[0]
    held = (GpuProcess(pid=4711, memory_bytes=38 * GIB), GpuProcess(pid=MINE, memory_bytes=22 * GIB))
    gpus = (msgspec.convert(msgspec.to_builtins(gpu) | {"processes": msgspec.to_builtins(held)}, type(gpu)),)
    return replace(ONE_GPU, gpus=gpus, processes=(sample(MINE, "python3", 310, 4), sample(4711, "jupyter", 2, 9)))


@pytest.fixture
async def dashboard(tmp_path: Path, busy: Hardware) -> AsyncIterator[Dashboard]:
    store = build_store(tmp_path / "runs", [RunPlan(name="mine"), RunPlan(name="small", phase="stopped", epochs=2)])
    async with open_dashboard(store, hardware=busy) as opened:
        yield opened


def lines(dashboard: Dashboard) -> list[str]:
    return dashboard.text("#hardware").splitlines()


def place(dashboard: Dashboard, words: str) -> int:
    return next(number for number, line in enumerate(lines(dashboard)) if words in line)


async def test_enter_shows_processes_with_their_runs_and_enter_again_returns(dashboard: Dashboard) -> None:
    await dashboard.press("4", "enter")
    await dashboard.until(lambda: "process" in dashboard.text("#hardware"), "the processes")
    assert dashboard.screen.shown_panes == {"hardware"}

    row = next(line.split() for line in lines(dashboard) if line.split()[:1] == [str(MINE)])
    assert row[1:] == ["mine", "ada", "310", "%", "4.0", "GiB", "22.0", "GiB", *row[-2:]]
    assert place(dashboard, "jupyter") < place(dashboard, f" {MINE}  mine")  # by memory of the GPU
    await dashboard.press("enter")
    assert "runs" in dashboard.screen.shown_panes


async def test_who_holds_memory_of_a_gpu_and_cannot_be_seen_is_told_by_its_pid(tmp_path: Path) -> None:
    async with open_dashboard(build_store(tmp_path / "runs", [RunPlan(name="mine")]), hardware=ONE_GPU) as dashboard:
        await dashboard.press("4", "enter")
        await dashboard.until(lambda: "not visible here" in dashboard.text("#hardware"), "the unseen process")

        row = next(line for line in lines(dashboard) if "not visible here" in line)
        assert row.split()[0] == "4711"
        assert row.endswith("38.2 GiB")


@pytest.mark.parametrize("width", [80, 120])
def test_the_columns_of_processes_fit(busy: Hardware, width: int) -> None:
    _, heading, *rows = process_lines(busy, (), (0, False), width, time.time())

    assert heading.spans[0].text.endswith("since")
    assert cell_width(heading.spans[0].text) <= width
    assert {cell_width(plain(row)) for row in rows} == {cell_width(heading.spans[0].text)}


async def test_t_shows_the_trash_of_the_whole_store(dashboard: Dashboard) -> None:
    await dashboard.press("4")
    assert "t Trash" in dashboard.text("#footer")

    await dashboard.press("t")
    await dashboard.until(lambda: isinstance(dashboard.app.screen, TrashScreen), "the trash")
    assert "Trash of all runs" in dashboard.screen_text()


async def test_s_sorts_the_processes(dashboard: Dashboard) -> None:
    await dashboard.press("4", "enter", "s")
    assert "by CPU" in dashboard.text("#hardware")
    assert place(dashboard, "jupyter") > place(dashboard, f" {MINE}  mine")

    await dashboard.press("S")
    assert "by CPU, reversed" in lines(dashboard)[0]
    assert place(dashboard, "jupyter") < place(dashboard, f" {MINE}  mine")

    await dashboard.press("s")
    assert "by memory" in dashboard.text("#hardware")
    assert "reversed" not in dashboard.text("#hardware")
    assert place(dashboard, "jupyter") < place(dashboard, f" {MINE}  mine")


async def test_the_disk_is_told_by_run_and_by_tier(dashboard: Dashboard) -> None:
    await dashboard.press("4", "z")
    text = dashboard.text("#hardware")

    assert "checkpoints of 2 runs · 24.0 KiB" in text
    assert place(dashboard, "   training ") < place(dashboard, "   milestone ") < place(dashboard, " small ")


@pytest.mark.parametrize(
    ("down", "up"),
    [("j", "k"), ("down", "up"), ("pagedown", "pageup"), ("ctrl+d", "ctrl+u"), ("G", "g"), ("end", "home")],
)
async def test_what_does_not_fit_is_scrolled(dashboard: Dashboard, down: str, up: str) -> None:
    await dashboard.press("4", "enter")
    await dashboard.pilot.resize_terminal(80, 16)
    await dashboard.until(lambda: "H100" in dashboard.text("#hardware"), "the small pane")

    await dashboard.press(down)
    assert "H100" not in dashboard.text("#hardware")
    await dashboard.press(up)
    assert "H100" in dashboard.text("#hardware")


async def test_each_gpu_has_a_history_of_its_memory(dashboard: Dashboard) -> None:
    pane = dashboard.screen.query_one(HardwarePane)
    assert pane.snapshot is not None
    assert pane.snapshot.hardware is not None

    assert "⠤" in lines(dashboard)[3] or "⠒" in lines(dashboard)[3] or "⡠" in lines(dashboard)[3]
    assert "last 10 min" in lines(dashboard)[3]


def test_the_sampler_tells_of_trainers_and_leaves_out_who_is_gone(tmp_path: Path) -> None:
    found = HardwareSampler(tmp_path).sample(0.0, live=True, pids=[MINE, 2**22 + 5, -3])

    (me,) = found.processes
    assert me.pid == MINE
    assert me.memory_bytes > 1024**2
    assert me.started <= time.time()


def test_a_process_that_ends_between_two_reads_is_left_out() -> None:
    reader = ProcessReader()
    pid = os.fork()
    if pid == 0:
        os._exit(0)  # the child
    os.waitpid(pid, 0)

    assert reader.read([pid]) == ()


# A run on another machine.


def write_system(store: Path, moment: float, *extra: str) -> Path:
    log = RunPaths(store / "mine").system
    rows = [
        {"step": step, "time": moment - 20 * (9 - step), "cpu_percent": 50.0, "memory_used_bytes": 4 * GIB,
         "memory_total_bytes": 8 * GIB, "gpu1/memory_used_bytes": step * GIB, "gpu1/memory_total_bytes": 10 * GIB,
         "gpu1/utilization_percent": 97.0, "gpu1/temperature_celsius": 66.0, "gpu1/power_watts": 300.5}
        for step in range(10)
    ]  # fmt: skip
    log.write_text("".join(json.dumps(row) + "\n" for row in rows) + "".join(line + "\n" for line in extra))
    return log


def move_to(store: Path, host: str) -> None:
    path = RunPaths(store / "mine").status
    status = read_json(path, Status)
    path.write_bytes(encode(replace(status, process=replace(status.process, host=host))))


async def test_a_run_elsewhere_shows_its_machine_and_how_old_that_is(tmp_path: Path) -> None:
    store = build_store(tmp_path / "runs", [RunPlan(name="mine")])
    move_to(store, "gpu-box")
    write_system(store, time.time() - 125)
    async with open_dashboard(store) as dashboard:
        await dashboard.until(lambda: "gpu-box" in lines(dashboard)[0], "the other machine")

        assert lines(dashboard)[0].startswith("─ 4 Hardware ─")
        assert "2 min ago" in lines(dashboard)[0]
        assert "GPU 1" in lines(dashboard)[1]
        assert "97 %  66 °C  300 W" in lines(dashboard)[1]
        assert "9.0 / 10.0 GiB" in lines(dashboard)[2]
        assert "50 %" in dashboard.text("#hardware")


def test_lines_that_are_no_samples_are_passed_over(tmp_path: Path) -> None:
    store = build_store(tmp_path / "runs", [RunPlan(name="mine")])
    log = write_system(
        store, 1_763_700_000.0, "not json", "[1]", '{"time":"NaN"}', '{"time":1e999}', '{"cpu_percent":[{}],"x":{}}'
    )

    found = ElsewhereReader().read(log, "gpu\x1b[31m-box")

    assert found is not None
    assert found.host.isprintable()
    assert found.time == 1_763_700_000.0
    assert found.hardware.gpu_history[0].memory[-1] == 0.9
    assert found.hardware != NO_GPU


def test_a_log_is_read_again_only_where_it_has_grown(tmp_path: Path) -> None:
    store = build_store(tmp_path / "runs", [RunPlan(name="mine")])
    log, reader = write_system(store, 1_763_700_000.0), ElsewhereReader()

    first = reader.read(log, "gpu-box")
    assert reader.read(log, "gpu-box") is first

    write_system(store, 1_763_700_060.0)
    again = reader.read(log, "gpu-box")
    assert again is not None
    assert again.time == 1_763_700_060.0
    assert reader.read(log.with_name("none.jsonl"), "gpu-box") is None
