"""The machine in lines: GPUs with their memory, history and processes, then processor, memory and disk; or one line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ckptop.host.units import format_bytes, format_bytes_pair, format_duration, format_percent, shorten_middle
from ckptop.tui.model import GpuHistory, Hardware, RunRow
from ckptop.tui.text import Line, Span, bar, pad, pad_left, sparkline, spread, width_of

if TYPE_CHECKING:
    from ckptop.host.gpus import GpuSample

LABEL_WIDTH = 8
FIGURES_WIDTH = 17
"""Cells right of a bar."""

NEARLY_FULL = 0.8
"""Share of a disk from which it is shown as a warning."""
SOON_SECONDS = 24 * 3600.0
"""A disk that is full within this is a warning."""


def one_line(hardware: Hardware, width: int) -> tuple[Span, ...]:
    """The first GPU, processor and memory; whole pairs go where room is short."""
    groups: list[tuple[str, Sequence[Span]]] = []
    if hardware.gpus:
        gpu = hardware.gpus[0]
        share = _memory_share(gpu)
        meter = bar(share, 8) if share is not None else ()
        groups.append(("", [Span(f" GPU {gpu.index} ", "muted"), *meter, Span(" " + _gpu_memory(gpu, tight=True))]))
        groups.append(("  ", [Span(_gpu_figures(gpu, power=False))]))
        if len(hardware.gpus) > 1:
            groups.append(("  ", [Span(f"+{len(hardware.gpus) - 1} more", "muted")]))
    else:
        groups.append(("", [Span(f" {hardware.gpu_problem or 'no NVIDIA GPU'}", "muted")]))
    host = hardware.host
    groups.append(("   ", [Span("CPU ", "muted"), Span(f"{host.cpu_percent:.0f} %")]))
    memory_text = format_bytes_pair(host.memory_used_bytes, host.memory_total_bytes).replace(" / ", "/")
    groups.append(("   ", [Span("RAM ", "muted"), Span(memory_text)]))
    spans: list[Span] = []
    for gap, group in groups:
        if width_of(spans) + len(gap) + width_of(group) > width:
            break
        spans += [Span(gap), *group]
    return tuple(spans)


def full_lines(hardware: Hardware, runs: Sequence[RunRow], width: int) -> list[Line]:
    """Everything, a line each; empty lines separate GPUs from the host."""
    lines: list[Line] = []
    names: dict[int | None, str] = {run.pid: run.label for run in runs if run.pid is not None and run.is_live}
    for place, gpu in enumerate(hardware.gpus):
        history = hardware.gpu_history[place] if place < len(hardware.gpu_history) else GpuHistory(())
        lines += _gpu_lines(gpu, history, names, width)
        lines.append(Line())
    if not hardware.gpus:
        problem = hardware.gpu_problem or "no NVIDIA GPU"
        lines.append(Line((Span(f" {problem} · host memory", "muted"),)))
        lines.append(_history_line(hardware.memory_history, width))
        lines.append(Line())
    host = hardware.host
    cpu = f"{host.cpu_percent:.0f} %" + (f" of {host.cpu_count}" if host.cpu_count else "")
    lines.append(_meter("CPU", host.cpu_percent / 100, cpu, width))
    share = host.memory_used_bytes / max(1, host.memory_total_bytes)
    lines.append(_meter("RAM", share, format_bytes_pair(host.memory_used_bytes, host.memory_total_bytes), width))
    return lines + _disk_lines(hardware, width)


def _disk_lines(hardware: Hardware, width: int) -> list[Line]:
    disk = hardware.disk
    if disk is None:
        return []
    used = 1 - disk.free_bytes / max(1, disk.total_bytes)
    soon = hardware.full_in_seconds is not None and hardware.full_in_seconds < SOON_SECONDS
    tone = "warning" if used >= NEARLY_FULL or soon else "muted"
    text_tone = tone if tone == "warning" else "foreground"
    lines = [_meter("disk", used, f"{format_bytes(disk.free_bytes)} free", width, tone, text_tone)]
    if soon:
        rate = format_bytes(hardware.fill_bytes_per_second)
        text = f"full in {format_duration(hardware.full_in_seconds)} at {rate}/s"
        lines.append(Line((Span(" " * LABEL_WIDTH + text, "warning"),)))
    return lines


def _meter(label: str, share: float, text: str, width: int, tone: str = "muted", text_tone: str = "foreground") -> Line:
    cells = max(4, width - LABEL_WIDTH - FIGURES_WIDTH - 1)
    figures = Span(pad_left(text, FIGURES_WIDTH), text_tone)
    return Line((Span(pad(f" {label}", LABEL_WIDTH), "muted"), *bar(share, cells, tone), figures))


def _history_line(shares: Sequence[float], width: int) -> Line:
    cells = max(4, width - LABEL_WIDTH - FIGURES_WIDTH - 1)
    curve = sparkline(shares[-2 * cells :], 0.0, 1.0)
    note = pad_left("last 10 min", FIGURES_WIDTH + cells - len(curve))
    return Line((Span(" " * LABEL_WIDTH), Span(curve, "accent"), Span(note, "muted")))


def _gpu_lines(gpu: GpuSample, history: GpuHistory, names: dict[int | None, str], width: int) -> list[Line]:
    head = [Span(pad(f" GPU {gpu.index}", LABEL_WIDTH), "muted")]
    if gpu.problem is not None:
        return [Line((*head, Span(f"! {gpu.problem}", "error", bold=True)))]
    figures = _gpu_figures(gpu, power=True)
    room = width - LABEL_WIDTH - len(figures) - 3
    head.append(Span(shorten_middle(gpu.name.removeprefix("NVIDIA "), room), bold=True))
    lines = [Line(spread(head, [Span(figures + " ")], width))]
    if (share := _memory_share(gpu)) is not None:
        lines.append(_meter("memory", share, _gpu_memory(gpu), width, "accent"))
        lines.append(_history_line(history.memory, width))
    else:  # a card that does not tell its memory still tells how busy it is
        lines.append(_history_line(history.utilization, width))
    for process in gpu.processes:
        name = names.get(process.pid, f"pid {process.pid}")
        size = format_bytes(process.memory_bytes) if process.memory_bytes is not None else "—"
        indented = Span(" " * LABEL_WIDTH + shorten_middle(name, width - LABEL_WIDTH - 12))
        lines.append(Line(spread([indented], [Span(size + " ", "muted")], width)))
    return lines


def _memory_share(gpu: GpuSample) -> float | None:
    if gpu.memory_used_bytes is None or not gpu.memory_total_bytes:
        return None
    return gpu.memory_used_bytes / gpu.memory_total_bytes


def _gpu_memory(gpu: GpuSample, *, tight: bool = False) -> str:
    if gpu.memory_used_bytes is None or gpu.memory_total_bytes is None:
        return "—"
    text = format_bytes_pair(gpu.memory_used_bytes, gpu.memory_total_bytes)
    return text.replace(" / ", "/") if tight else text


def _gpu_figures(gpu: GpuSample, *, power: bool) -> str:
    figures = []
    if gpu.utilization_percent is not None:
        figures.append(format_percent(gpu.utilization_percent / 100))
    if gpu.temperature_celsius is not None:
        figures.append(f"{gpu.temperature_celsius} °C")
    if power and gpu.power_watts is not None:
        figures.append(f"{gpu.power_watts:.0f} W")
    return "  ".join(figures)
