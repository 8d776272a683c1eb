"""What stands in the lines of each pane, read without a terminal."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import pytest
from dashboard import NO_GPU, ONE_GPU
from msgspec.structs import replace
from textual.geometry import Size

from ckptop.host.units import cell_width
from ckptop.store.checkpoint_info import CheckpointInfo
from ckptop.tui.hardware_lines import full_lines, one_line
from ckptop.tui.model import CheckpointRow, CheckpointTableModel, RunDetail, RunRow, Snapshot
from ckptop.tui.sorting import sort_runs
from ckptop.tui.text import Line, plain
from ckptop.tui.widgets.checkpoint_table import CheckpointTable
from ckptop.tui.widgets.facts import Facts
from ckptop.tui.widgets.header import Header
from ckptop.tui.widgets.pane_rule import figure, rule_line
from ckptop.tui.widgets.runs_list import RunsList

NOW = 1_763_700_000.0

RUNS = (
    RunRow("digits-cnn", "digits-cnn", "running", step=1488, total_steps=2400, progress=0.62, eta_seconds=41,
           best=0.981, trend=(0.1, 0.5, 0.9, 0.98), created=5.0, pid=4711),
    RunRow("cnn-lr3e-4", "cnn-lr3e-4", "running", parent="digits-cnn", progress=0.18, eta_seconds=120, best=0.954,
           created=6.0),
    RunRow("diabetes", "diabetes", "paused", progress=0.44, best=41.2, created=4.0),
    RunRow("sweep-03", "sweep-03", "crashed", step=744, best=0.669, created=3.0),
)  # fmt: skip


def checkpoint(epoch: int, *, tier: str = "training", mark: str = "", problem: str | None = None) -> CheckpointRow:
    directory = Path(f"/store/run/checkpoints/{tier}")
    name = f"checkpoint_epoch_{epoch:04d}_step_{epoch * 24:08d}.pt"
    info = CheckpointInfo(directory, name, "training", None, None, (1, epoch), 13_002_342, NOW - 60 * epoch)
    return CheckpointRow(
        info=info, key=info.key, tier=tier, mark=mark, epoch=epoch, step=epoch * 24, values=(0.9812, 0.0887),
        size_bytes=13_002_342, time=NOW - 60 * epoch, problem=problem,
    )  # fmt: skip


def snapshot(*rows: CheckpointRow, runs: tuple[RunRow, ...] = RUNS, trash: int = 0) -> Snapshot:
    table = CheckpointTableModel(
        rows=rows, columns=("accuracy", "loss"), decimals=(4, 4), best_column=0, size_bytes=140 * 1024**2,
        trash_count=trash,
    )  # fmt: skip
    detail = RunDetail(row=runs[0], root=Path("/store/digits-cnn"), table=table) if runs else None
    return Snapshot(now=NOW, store="./runs", runs=runs, detail=detail, hardware=NO_GPU, loaded=True)


def lines_of(
    widget: RunsList | CheckpointTable | Header | Facts, shown: Snapshot, width: int, height: int
) -> list[str]:
    widget.set_reactive(type(widget).snapshot, shown)
    if isinstance(widget, RunsList | CheckpointTable):
        widget.watch_snapshot()
    return [plain(line) for line in widget.compose_lines(Size(width, height))]


# The rule above a pane.


def test_a_rule_drops_whole_figures_and_never_half_of_one() -> None:
    figures = [figure("12 files"), figure("140 MiB"), figure("3 in trash")]

    assert plain(rule_line(60, "Checkpoints", figures, digit="3")).endswith(" 12 files · 140 MiB · 3 in trash ─")
    assert plain(rule_line(40, "Checkpoints", figures, digit="3")).endswith(" 12 files · 140 MiB ─")
    assert "12" not in plain(rule_line(22, "Checkpoints", figures, digit="3"))


@pytest.mark.parametrize("width", range(1, 90, 4))
def test_a_rule_fills_its_width(width: int) -> None:
    line = rule_line(width, "Checkpoints of digits-cnn", [figure("12 files")], digit="3")

    assert cell_width(plain(line)) == width or width < 8


def test_the_rule_of_the_pane_in_focus_is_heavy() -> None:
    assert plain(rule_line(20, "Runs", digit="1", focused=True)).startswith("━ 1 Runs ━")
    assert plain(rule_line(20, "Runs", digit="1")).startswith("─ 1 Runs ─")


# Header.


def test_the_header_tells_who_runs_before_who_is_ill() -> None:
    (line,) = lines_of(Header(), snapshot(), 120, 1)

    assert line.index("2 running") < line.index("1 paused") < line.index("1 crashed")
    assert "38.2 GiB free" in line
    assert line.endswith(time.strftime("%H:%M ", time.localtime(NOW)))
    assert cell_width(line) == 120


@pytest.mark.parametrize("width", range(20, 140, 6))
def test_the_header_never_cuts_a_state(width: int) -> None:
    (line,) = lines_of(Header(), snapshot(), width, 1)

    assert cell_width(line) <= width or width < 30
    assert not line.rstrip().endswith(("crash", "crashe", "runnin"))


def test_a_read_only_store_says_so_in_the_header() -> None:
    (line,) = lines_of(Header(), replace(snapshot(), writable=False), 120, 1)

    assert "read-only" in line


def test_a_store_that_cannot_be_watched_says_so_in_the_header() -> None:
    (line,) = lines_of(Header(), replace(snapshot(), unwatched="the store is looked at every 1 s, not watched"), 120, 1)

    assert "./runs  polled" in line
    assert "polled" not in lines_of(Header(), snapshot(), 120, 1)[0]


# Runs.


def test_a_run_list_of_46_cells_has_the_columns_of_the_picture() -> None:
    lines = lines_of(RunsList(), snapshot(), 46, 12)

    assert lines[1].split() == ["run", "done", "ETA", "best", "trend"]
    assert lines[2].startswith("▌● digits-cnn")
    assert "62 %" in lines[2]
    assert "41 s" in lines[2]
    assert "└ cnn-lr3e-4" in lines[3]
    assert "paused" in lines[4]
    assert "crashed" in lines[5]
    assert all(cell_width(line) <= 46 for line in lines)


def test_a_wide_run_list_has_bars_and_steps() -> None:
    lines = lines_of(RunsList(), snapshot(), 80, 8)

    assert "━━━━━━" in lines[2]
    assert "1,488 / 2,400" in lines[2]
    assert all(cell_width(line) <= 80 for line in lines)


def test_twenty_cells_show_glyph_and_name() -> None:
    lines = lines_of(RunsList(), snapshot(), 20, 6)

    assert lines[1].startswith("▌● digits-cnn")
    assert all(cell_width(line) <= 20 for line in lines)


@pytest.mark.parametrize("width", [46, 80])
def test_numbers_stand_under_their_headings(width: int) -> None:
    heading, row = lines_of(RunsList(), snapshot(), width, 12)[1:3]

    assert heading.index("best") + 4 == row.index("0.981") + 5


def test_an_empty_store_says_what_to_do() -> None:
    assert "No runs in ./runs." in lines_of(RunsList(), snapshot(runs=()), 46, 12)[1]


def test_forks_follow_their_parents_and_the_newest_comes_first() -> None:
    names = [run.name for run in sort_runs(RUNS, 0, reverse=False)]

    assert names == ["digits-cnn", "cnn-lr3e-4", "diabetes", "sweep-03"]


def test_runs_that_claim_to_stem_from_each_other_are_listed_once() -> None:
    circle = (RunRow("a", "a", "stopped", parent="b"), RunRow("b", "b", "stopped", parent="a"))

    assert sorted(run.name for run in sort_runs(circle, 0, reverse=False)) == ["a", "b"]


# Checkpoints.


def test_a_checkpoint_row_reads_as_in_the_picture() -> None:
    lines = lines_of(CheckpointTable(), snapshot(checkpoint(62, mark="latest"), checkpoint(58, mark="best")), 73, 14)

    assert lines[1].split() == ["tier", "mark", "epoch", "step", "accuracy", "loss", "size", "age"]
    assert lines[2].split() == ["▌", "training", "latest", "62", "1,488", "0.9812", "0.0887", "12.4", "MiB", "1", "h"]
    assert "★ best" in lines[3]
    assert "2 files · 140 MiB" in lines[0]
    assert all(cell_width(line) <= 73 for line in lines)


@pytest.mark.parametrize("width", [60, 73, 80, 149])
def test_table_columns_line_up(width: int) -> None:
    heading, row = lines_of(CheckpointTable(), snapshot(checkpoint(62)), width, 14)[1:3]

    assert heading.rindex("epoch") + 5 == row.index(" 62 ") + 3
    assert len(heading.rstrip()) == len(row.rstrip())


def test_a_narrow_table_drops_whole_metrics_from_the_right() -> None:
    heading = lines_of(CheckpointTable(), snapshot(checkpoint(62)), 66, 14)[1]

    assert "accuracy" in heading
    assert "loss" not in heading


def test_ten_thousand_rows_compose_one_page() -> None:
    table = CheckpointTable()
    composed = 0
    original = table.row

    def counting(item: CheckpointRow, width: int, *, at_cursor: bool) -> Line:
        nonlocal composed
        composed += 1
        return original(item, width, at_cursor=at_cursor)

    table.row = counting  # type: ignore[method-assign]  # counts what is composed
    shown = snapshot(*(checkpoint(epoch) for epoch in range(10_000, 0, -1)))

    lines = lines_of(table, shown, 80, 24)

    assert len(lines) == 24
    assert composed == 22


def test_no_checkpoint_yet_says_when_the_first_comes() -> None:
    assert "No checkpoint yet; the first comes after epoch 1." in lines_of(CheckpointTable(), snapshot(), 73, 14)[1]


# Facts and hardware.


def test_an_error_has_three_lines_and_is_cut_on_the_right() -> None:
    shown = snapshot()
    assert shown.detail is not None
    shown = replace(shown, detail=replace(shown.detail, facts=(("error", "x" * 199), ("epoch", "62 of 100"))))

    lines = lines_of(Facts(), shown, 46, 9)

    assert lines[0].startswith("─ digits-cnn ")
    assert lines[0].endswith("● running ─")
    assert [line.split()[-1] for line in lines[1:4]] == ["x" * 32, "x" * 32, "x" * 31 + "…"]
    assert all(cell_width(line) <= 46 for line in lines)
    assert lines[4] == " epoch      62 of 100"


def test_a_gpu_shows_its_figures_and_whose_memory_it_is() -> None:
    lines = [plain(line) for line in full_lines(ONE_GPU, RUNS, 46)]

    assert lines[0].split() == ["GPU", "0", "H100", "98", "%", "71", "°C", "612", "W"]
    assert "61.0 / 80.0 GiB" in lines[1]
    assert lines[3].split() == ["digits-cnn", "38.2", "GiB"]
    assert lines[-1].strip() == "full in 5 h at 1.9 MiB/s"
    assert all(cell_width(line) <= 46 for line in lines)


def test_a_process_of_no_run_is_named_by_its_pid() -> None:
    lines = [plain(line) for line in full_lines(ONE_GPU, (), 46)]

    assert lines[3].split()[:2] == ["pid", "4711"]


def test_without_a_gpu_the_host_is_shown() -> None:
    lines = [plain(line) for line in full_lines(NO_GPU, RUNS, 46)]

    assert lines[0] == " no NVIDIA GPU · host memory"
    assert "41 % of 16" in "\n".join(lines)
    assert "6.1 / 23.4 GiB" in "\n".join(lines)


def test_a_lost_gpu_says_so() -> None:
    lost = replace(ONE_GPU, gpus=(dataclasses.replace(ONE_GPU.gpus[0], problem="lost"),))

    assert plain(full_lines(lost, RUNS, 46)[0]).split() == ["GPU", "0", "!", "lost"]


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_the_hardware_line_drops_whole_figures(width: int) -> None:
    text = plain(Line(one_line(ONE_GPU, width)))

    assert cell_width(text) <= width
    assert text.endswith(("GiB", "%", "°C"))


def test_all_hardware_in_one_line_as_in_the_picture() -> None:
    text = plain(Line(one_line(ONE_GPU, 80)))

    assert text == " GPU 0 ━━━━━━── 61.0/80.0 GiB  98 %  71 °C   CPU 41 %   RAM 6.1/23.4 GiB"
