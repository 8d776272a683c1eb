"""Who uses the machine, in lines: its processes with the run each belongs to, and the runs that fill the disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ckptop.host.processes import ProcessSample
from ckptop.host.units import format_age, format_bytes, format_count, format_duration, shorten_middle
from ckptop.tui.model import Hardware, RunRow, Snapshot
from ckptop.tui.text import Line, Span, bar, pad, pad_left

PROCESS_SORTS = ("GPU memory", "CPU", "memory", "pid")

PID_WIDTH, USER_WIDTH, CPU_WIDTH, BYTES_WIDTH, GPU_WIDTH, AGE_WIDTH = 8, 10, 8, 11, 13, 8
LEAST_NAME, MOST_NAME = 10, 34
UNSEEN = "not visible here"
MOST_RUNS = 20
"""Lines of runs that fill the disk; the smaller ones are told in sum."""
BAR_WIDTH = 16
COUNT_WIDTH = 16


def process_lines(
    hardware: Hardware, runs: Sequence[RunRow], order: tuple[int, bool], width: int, now: float
) -> list[Line]:
    """A heading and a line a process.

    Args:
        hardware: This machine.
        runs: To name the processes after.
        order: The column of `PROCESS_SORTS`, and whether it is turned around.
        width: Cells.
        now: Seconds since the epoch.
    """
    held: dict[int, int] = {}
    for gpu in hardware.gpus:
        for process in gpu.processes:
            held[process.pid] = held.get(process.pid, 0) + (process.memory_bytes or 0)
    name = max(
        LEAST_NAME, min(MOST_NAME, width - 3 - PID_WIDTH - USER_WIDTH - CPU_WIDTH - BYTES_WIDTH - GPU_WIDTH - AGE_WIDTH)
    )
    heading = f"{'pid':>{PID_WIDTH}}  {pad('process', name)}{'user':<{USER_WIDTH}}{'CPU':>{CPU_WIDTH}}"
    heading += f"{'memory':>{BYTES_WIDTH}}{'GPU memory':>{GPU_WIDTH}}{'since':>{AGE_WIDTH}}"
    sort, is_reversed = order
    lines = [Line(), Line((Span(heading, "muted"),))]
    seen = {sample.pid for sample in hardware.processes}
    unseen = [pid for pid in sorted(held) if pid not in seen]
    if not hardware.processes and not unseen:
        return [*lines, Line((Span(f"{'':{PID_WIDTH}}  No run trains here, and no GPU is held.", "muted"),))]
    named = {run.pid: run.label for run in runs if run.pid is not None and run.is_live}
    orders: tuple[Callable[[ProcessSample], float], ...] = (
        lambda process: -held.get(process.pid, 0),
        lambda process: -process.cpu_percent,
        lambda process: -process.memory_bytes,
        lambda process: process.pid,
    )
    for sample in sorted(hardware.processes, key=orders[sort], reverse=is_reversed):
        run = named.get(sample.pid)
        on_gpu = format_bytes(held[sample.pid]) if sample.pid in held else "—"
        shown = pad(shorten_middle(run or sample.name, name - 1), name)
        lines.append(Line((
            Span(f"{sample.pid:>{PID_WIDTH}}  ", "muted"),
            Span(shown, "foreground" if run else "muted", bool(run)),
            Span(pad(shorten_middle(sample.user, USER_WIDTH - 1), USER_WIDTH), "muted"),
            Span(pad_left(f"{sample.cpu_percent:.0f} %", CPU_WIDTH)),
            Span(pad_left(format_bytes(sample.memory_bytes), BYTES_WIDTH)),
            Span(pad_left(on_gpu, GPU_WIDTH)),
            Span(pad_left(format_age(now - sample.started, live=False), AGE_WIDTH), "muted"),
        )))  # fmt: skip
    for pid in unseen:  # as the driver knows it: of another user's container, say
        spans = [Span(f"{pid:>{PID_WIDTH}}  ", "muted"), Span(pad(UNSEEN, name + USER_WIDTH), "muted")]
        lines.append(Line((*spans, Span(pad_left(format_bytes(held[pid]), CPU_WIDTH + BYTES_WIDTH + GPU_WIDTH)))))
    return lines


def disk_lines(snapshot: Snapshot, width: int) -> list[Line]:
    """The runs that hold most, each with its share; under the selected one, its tiers."""
    runs = sorted((run for run in snapshot.runs if run.size_bytes), key=lambda run: -run.size_bytes)
    if not runs:
        return []
    total = sum(run.size_bytes for run in runs)
    hardware = snapshot.hardware
    soon = ""
    if hardware is not None and hardware.full_in_seconds is not None:
        rate = format_bytes(hardware.fill_bytes_per_second)
        soon = f" · the disk is full in {format_duration(hardware.full_in_seconds)} at {rate}/s"
    head = (
        f" checkpoints of {format_count(len(runs))} {'runs' if len(runs) > 1 else 'run'} · {format_bytes(total)}{soon}"
    )
    lines = [Line(), Line((Span(head, "muted"),))]
    detail = snapshot.detail
    for run in runs[:MOST_RUNS]:
        lines.append(_disk_line(run.label, run.checkpoints, run.size_bytes, total, width))
        if detail is not None and detail.row.name == run.name:
            tiers = detail.table.tiers
            lines += [_disk_line(f"  {tier}", count, size, total, width, "muted") for tier, count, size in tiers]
    rest = runs[MOST_RUNS:]
    if rest:
        size = format_bytes(sum(run.size_bytes for run in rest))
        lines.append(Line((Span(f" and {len(rest):,} more, {size}", "muted"),)))
    return lines


def _disk_line(name: str, count: int, size_bytes: int, total: int, width: int, tone: str = "foreground") -> Line:
    cells = max(LEAST_NAME, min(MOST_NAME, width - 3 - COUNT_WIDTH - BYTES_WIDTH - BAR_WIDTH))
    files = f"{count:,} {'files' if count != 1 else 'file'}"
    return Line((
        Span(" " + pad(shorten_middle(name, cells), cells), tone),
        Span(pad_left(files, COUNT_WIDTH), "muted"),
        Span(pad_left(format_bytes(size_bytes), BYTES_WIDTH) + "  ", tone),
        *bar(size_bytes / max(1, total), BAR_WIDTH, "accent" if tone == "foreground" else "muted"),
    ))  # fmt: skip
