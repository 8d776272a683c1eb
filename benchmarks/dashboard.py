"""The dashboard in a real terminal: how soon it paints, what it costs live and idle, how late an append is seen.

    python benchmarks/dashboard.py [PART …]

Parts: paint, live, idle, latency, steps, checkpoints, runs; all of them take about seven minutes. The peer, in the same
run, is a Textual application of ten lines: what any such program pays before it does anything.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from support.feeding import LiveRun, QuietRun
from support.report import CKPTOP, print_facts, print_head, print_seconds, quantile, scratch, seconds_of_command
from support.stores import write_long_log, write_run, write_store
from support.terminal import Lines, Terminal

PAINT_ROUNDS = 9
LIVE_SECONDS = 20.0
IDLE_SECONDS = 65.0
"""Over a minute: the one write a minute is in it."""
LONE_APPENDS = 20
LONE_PAUSE_SECONDS = 3.1
"""Longer than the dashboard remembers that changes keep coming."""
STREAM_SECONDS = 30.0
LONG_STEPS = 1_000_000
PAGES = 20

BARE_APP = """
from textual.app import App
from textual.widgets import Static


class Bare(App):
    def compose(self):
        yield Static("bare")


Bare().run()
"""


def main() -> None:
    wanted = sys.argv[1:] or list(PARTS)
    if unknown := [name for name in wanted if name not in PARTS]:
        sys.exit(f"no part {', '.join(unknown)}; there are {', '.join(PARTS)}")
    for name in wanted:
        with scratch() as folder:
            PARTS[name](folder)


@contextmanager
def dashboard(folder: Path, store: Path, *, rows: int = 40) -> Iterator[Terminal]:
    # A state of its own: one that remembers where it was left would start elsewhere the second time.
    folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as state:
        env = {"XDG_CACHE_HOME": str(folder / "cache"), "XDG_STATE_HOME": state}
        with Terminal([CKPTOP, str(store)], env=env, rows=rows) as terminal:
            yield terminal


@contextmanager
def bare_app(folder: Path) -> Iterator[Terminal]:
    program = folder / "bare.py"
    program.write_text(BARE_APP)
    with Terminal([sys.executable, str(program)], env={"TEXTUAL_ANIMATIONS": "none"}) as terminal:
        yield terminal


def shows(*words: str) -> Callable[[Lines], bool]:
    """Whether all of these stand on the screen."""

    def condition(lines: Lines) -> bool:
        text = "\n".join(lines)
        return all(word in text for word in words)

    return condition


def charts(lines: Lines) -> Lines:
    """The part of the screen right of the left panes and above the checkpoints."""
    end = next((y for y, line in enumerate(lines) if "3 Checkpoints" in line), len(lines))
    left = max(0, lines[end].index("3 Checkpoints") - 2) if end < len(lines) else 0
    return [line[left:] for line in lines[1:end]]


def small_store(folder: Path) -> Path:
    store = folder / "runs"
    for number in range(5):
        write_run(store, f"done-{number}", age=9_000.0 + number)
    write_run(store, "digits-cnn", epochs=62, checkpoints=12, age=400.0)
    return store


def first_bare_paint(folder: Path) -> float:
    with bare_app(folder) as terminal:
        terminal.wait_for_bytes("bare")
        return terminal.first_time(shows("bare"))


def paint(folder: Path) -> None:
    store = small_store(folder)
    first: list[float] = []
    complete: list[float] = []
    peer: list[float] = []
    for _ in range(PAINT_ROUNDS + 1):
        with dashboard(folder, store) as terminal:
            terminal.rest(3.0)
            first.append(terminal.first_time(lambda lines: "ckptop" in lines[0] and shows("digits-cnn")(lines)))
            complete.append(terminal.settled_time(charts))
        peer.append(first_bare_paint(folder))
    print_head("Dashboard, from spawn, six runs, 120x40")
    times = {"header and runs on screen": first[1:], "charts complete": complete[1:]}
    print_seconds(times | {"a bare Textual app": peer[1:]}, budgets={"header and runs on screen": 0.40})


def live(folder: Path) -> None:
    store = small_store(folder)
    with LiveRun(store, "live", steps_per_second=10), dashboard(folder, store) as ours, bare_app(folder) as peer:
        ours.rest(6.0)
        used = ours.measure(LIVE_SECONDS)
        idle_peer = peer.measure(5.0)
    print_head(f"Dashboard, live at 10 steps/s, 120x40, {LIVE_SECONDS:.0f} s (budget 1.0 kB/s, 3 % of a core)")
    print_facts(
        "ckptop",
        bytes_per_second=f"{used.bytes_per_second:,.0f}",
        writes_per_second=f"{used.writes / used.seconds:.2f}",
        bytes_per_write=f"{used.output_bytes / max(1, used.writes):,.0f}",
        CPU=f"{used.cpu_percent:.2f} %",
    )
    print_facts("a bare Textual app, idle", CPU=f"{idle_peer.cpu_percent:.2f} %")


def idle(folder: Path) -> None:
    store = small_store(folder)
    with dashboard(folder, store) as ours, bare_app(folder) as peer:
        ours.rest(8.0)
        start, peer_start = ours.now, peer.now
        used = ours.measure(IDLE_SECONDS)
        written = ours.output_since(start)
        idle_peer = peer.measure(5.0)
        peer_bytes = sum(size for _, size in peer.output_since(peer_start))
    print_head(f"Dashboard, nothing changing, {IDLE_SECONDS:.0f} s (budget one small write a minute, 0.5 % of a core)")
    sizes = ", ".join(f"{size:,} at {at - start:.0f} s" for at, size in written[:8]) or "none"
    print_facts(
        "ckptop", bytes=f"{used.output_bytes:,}", writes=used.writes, CPU=f"{used.cpu_percent:.2f} %", output=sizes
    )
    print_facts("a bare Textual app", bytes=peer_bytes, CPU=f"{idle_peer.cpu_percent:.2f} %")


def latency(folder: Path) -> None:
    print_head("Append to screen (budget at the 95th percentile: a lone append 0.4 s, in a stream 1.0 s)")
    print_latencies("a lone append, no heartbeat", lone_latencies(folder, heartbeat=False))
    print_latencies("a lone append beside a heartbeat", lone_latencies(folder, heartbeat=True))
    print_latencies("each line of 10 a second", stream_latencies(folder))


def print_latencies(name: str, seconds: Sequence[float]) -> None:
    middle, late = statistics.median(seconds), quantile(seconds, 0.95)
    print_facts(name, p50=f"{middle:.3f} s", p95=f"{late:.3f} s", most=f"{max(seconds):.3f} s", n=len(seconds))


def lone_latencies(folder: Path, *, heartbeat: bool) -> list[float]:
    store = folder / f"lone-{heartbeat}"
    found = []
    kind: type[LiveRun | QuietRun] = LiveRun if heartbeat else QuietRun
    with kind(store, "live") as run, dashboard(folder, store) as terminal:
        terminal.wait_until(shows("train"))
        terminal.rest(LONE_PAUSE_SECONDS)
        for number in range(LONE_APPENDS):
            value = f"0.{2000 + number}"
            began = terminal.now
            run.log(float(value))
            found.append(terminal.wait_until(shows(f"train {value}")) - began)
            terminal.rest(LONE_PAUSE_SECONDS + number * 0.037)  # no rhythm with any clock of theirs
    return found


def stream_latencies(folder: Path) -> list[float]:
    """Of each line: until its value, or that of a later line, stands in the chart's title."""
    store = folder / "stream"
    with LiveRun(store, "live", steps_per_second=10, counting=True) as run, dashboard(folder, store) as terminal:
        terminal.wait_until(shows("train"))
        terminal.rest(4.0)
        start = terminal.now
        terminal.rest(STREAM_SECONDS)
        end, offset = terminal.now - 3.0, terminal.began
        run.stop()
        shown = [(at, value) for at, lines in terminal.frames() if (value := title_value(lines)) is not None]
    found = []
    for moment, value in run.logged:
        at = moment - offset
        if start < at < end:
            found.append(next(when for when, seen in shown if seen >= value and when >= at) - at)
    return found


def title_value(lines: Lines) -> float | None:
    """The newest training loss as the chart's title says it."""
    for line in lines:
        _, found, rest = line.partition(" train ")
        if found and "loss" in line:
            try:
                return float(rest.split()[0])
            except ValueError:
                return None
    return None


def steps(folder: Path) -> None:
    store = folder / "runs"
    paths = write_run(store, "long", epochs=1, checkpoints=1)
    write_long_log(paths.metrics, LONG_STEPS, last=0.0937)
    cold: list[float] = []
    again: list[float] = []
    peaks = []
    for number in range(3):
        for times in (cold, again):
            with dashboard(folder / f"round-{number}", store) as terminal:
                terminal.wait_until(shows("val 0.0937"))
                terminal.rest(1.5)
                times.append(terminal.settled_time(charts))
                peaks.append(terminal.peak_bytes / 1e6)
    decode = "import json, sys\nfor line in open(sys.argv[1]): json.loads(line)"
    peer = [seconds_of_command([sys.executable, "-c", decode, str(paths.metrics)])]
    print_head(f"Dashboard, {LONG_STEPS:,} steps × 5 metrics, {paths.metrics.stat().st_size / 1e6:.0f} MB, from spawn")
    found = {"charts complete, cold": cold, "charts complete, again": again, "json.loads of each line": peer}
    print_seconds(found, budgets={"charts complete, cold": 1.5, "charts complete, again": 0.6})
    print_facts("peak memory", median=f"{statistics.median(peaks):.0f} MB (budget 150)")


def checkpoints(folder: Path) -> None:
    store = folder / "runs"
    write_run(store, "few", checkpoints=3, age=60.0)
    write_run(store, "many", epochs=10_000, checkpoints=9_091, age=9_000.0)
    listing, first, complete, opened, pages, peer = [], [], [], [], [], []
    for _ in range(4):
        listing.append(seconds_of_command([CKPTOP, "ls", "many", "--store", str(store)]))
        with dashboard(folder, store) as terminal:
            first.append(terminal.wait_until(shows("finished")))
            complete.append(terminal.wait_until(shows(" few ", " many ")))
            terminal.press("g")
            terminal.wait_until(shows("3 Checkpoints of few"))
            terminal.rest_until_quiet(1.0)
            pressed = terminal.press("j")
            opened.append(terminal.wait_until(shows("3 Checkpoints of many", "239,976")) - pressed)
            terminal.press("3")
            pages += page_downs(terminal)
        peer.append(first_bare_paint(folder))
    print_head("10,000 checkpoints in one run, beside a small one, 120x40")
    times = {
        "ckptop ls RUN": listing[1:],
        "spawn to a run on screen": first[1:],
        "spawn to both runs on screen": complete[1:],
        "cursor on the run to its rows": opened[1:],
        "page down": pages,
        "a bare Textual app, first paint": peer[1:],
    }
    print_seconds(times, budgets=dict(zip(times, (0.2, 0.4, 0.4, 0.4, 0.02), strict=False)))


def page_downs(terminal: Terminal) -> list[float]:
    """From the key to the last output it caused."""
    found = []
    terminal.rest_until_quiet(0.5)
    for _ in range(PAGES):
        pressed = terminal.press("\x1b[6~")
        terminal.rest(0.3)
        output = terminal.output_since(pressed)
        found.append(output[-1][0] - pressed)
    return found


def runs(folder: Path) -> None:
    store = write_store(folder / "runs", 1_000)
    first, complete, peer = [], [], []
    for _ in range(6):
        with dashboard(folder, store) as terminal:
            complete.append(terminal.wait_until(lambda lines: "1,000" in lines[1] and "reading" not in lines[1]))
            first.append(terminal.first_time(lambda lines: "ckptop" in lines[0] and "run-" in lines[3]))
        peer.append(first_bare_paint(folder))
    print_head("1,000 runs × 20 checkpoints, from spawn, 120x40")
    times = {"header and runs on screen": first[1:], "all runs read": complete[1:], "a bare Textual app": peer[1:]}
    print_seconds(times, budgets={"header and runs on screen": 0.8})


PARTS: dict[str, Callable[[Path], None]] = {
    "paint": paint,
    "live": live,
    "idle": idle,
    "latency": latency,
    "steps": steps,
    "checkpoints": checkpoints,
    "runs": runs,
}


if __name__ == "__main__":
    main()
