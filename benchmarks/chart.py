"""How long a chart of two million points takes, beside plotext drawing a tenth of one curve as it is.

    python benchmarks/chart.py

A new chart is composed with nothing kept; a live one has grown by ten steps since its last frame.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np
from textual_plotext import Plot

from ckptop.tui import chart_canvas
from ckptop.tui.chart_compose import ChartMemory, compose
from ckptop.tui.chart_model import ChartModel
from ckptop.tui.chart_series import Series

STEPS = 1_000_000
PEER_POINTS = 100_000
SIZES = ((56, 14), (100, 25))
REPEATS = 9


def curves() -> tuple[Series, Series]:
    x = np.arange(float(STEPS))
    noise = np.random.default_rng(0).random(STEPS)
    train = 2.1 * np.exp(-x / 90_000) + 0.022 + 0.05 * noise * np.exp(-x / 600_000)
    val = 2.05 * np.exp(-x / 120_000) + 0.085 + 0.004 * np.roll(noise, 7)
    return (
        Series("train/loss", "train", x, train, dense=True),
        Series("val/loss", "val", x, val, dense=True),
    )


def model(series: tuple[Series, Series], steps: int) -> ChartModel:
    grown = (Series(s.name, s.label, s.x[:steps], s.y[:steps], dense=True) for s in series)
    return ChartModel(tuple(grown), smoothing=0.93)


def milliseconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return (time.perf_counter() - start) * 1e3


def first_frame(series: tuple[Series, Series], width: int, height: int) -> float:
    times = []
    for _ in range(REPEATS):
        chart_canvas._draw_tile.cache_clear()
        times.append(milliseconds(partial(compose, model(series, STEPS), width, height)))
    return statistics.median(times)


def live_frame(series: tuple[Series, Series], width: int, height: int) -> float:
    memory = ChartMemory()
    compose(model(series, STEPS - 10 * REPEATS), width, height, memory)
    frames = [model(series, STEPS - 10 * left) for left in reversed(range(REPEATS))]
    return statistics.median(milliseconds(partial(compose, frame, width, height, memory)) for frame in frames)


def plotext_frame(series: Series, width: int, height: int) -> float:
    figure = Plot()
    figure._set_size(width, height)
    figure.theme("clear")
    figure.plot(series.x[:PEER_POINTS].tolist(), series.y[:PEER_POINTS].tolist(), marker="braille")
    return milliseconds(figure.build)


def main() -> None:
    series = curves()
    print(f"{'size':>8} {'first ms':>9} {'live ms':>8} {'plotext ms':>11} {'ratio first':>12} {'live':>8}")
    for width, height in SIZES:
        first, live = first_frame(series, width, height), live_frame(series, width, height)
        peer = plotext_frame(series[0], width, height)
        ratios = f"{peer / first:>11.1f}x {peer / live:>7.1f}x"
        print(f"{f'{width}x{height}':>8} {first:>9.1f} {live:>8.1f} {peer:>11.0f} {ratios}")
    print(f"ckptop: 2 curves of {STEPS:,} points; plotext 5.3.2: 1 curve of {PEER_POINTS:,}, unreduced")


if __name__ == "__main__":
    main()
