"""Columns of a metric log: what is handed out costs no memory where nothing is left out."""

from __future__ import annotations

import numpy as np

from ckptop.store.columns import MetricTable, Rows, picked


def test_what_picks_all_copies_nothing() -> None:
    values = np.arange(5.0)

    assert picked(np.ones(5, np.bool_), values)[0] is values
    assert picked(values > 2, values, -values)[1].tolist() == [-3, -4]


def test_large_columns_keep_their_values_while_they_grow() -> None:
    table, piece = MetricTable(), 70_000
    for begin in range(0, 5 * piece, piece):
        step = np.arange(begin, begin + piece, dtype=np.float64)
        rows = Rows(step.astype(np.uint32), step, step + 0.5, np.zeros(piece, np.int32))
        table.extend(rows, {"loss": -step})
        if begin == 0:
            early = table.series("loss")

    assert table.series("loss").value.tolist() == [-float(step) for step in range(5 * piece)]
    assert early.step.tolist() == list(range(piece))  # views of before stay as they were
    assert table.last_step == 5 * piece - 1
