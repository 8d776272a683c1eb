"""What a filter of the runs means: words that must all hold, such as `digits crashed val/accuracy>0.9`.

A word alone is sought in name, task, sweep and state; `state:crashed` in that one alone; a comparison compares the
best value of the run's own metric, the newest checkpoint's of any other, or a number of its configuration.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ckptop.tui.model import RunRow

HINT = "name, task, state:crashed, val/accuracy>0.9"
"""What one may type, for the prompt."""

Test = Callable[["RunRow"], bool]

_COMPARISON = re.compile(r"(?P<name>[^<>=!]+)(?P<sign>>=|<=|==|!=|=|>|<)(?P<value>.*)")
_SIGNS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge, "<=": operator.le, "==": operator.eq, "=": operator.eq, "!=": operator.ne,
    ">": operator.gt, "<": operator.lt,
}  # fmt: skip
_FIELDS: dict[str, Callable[[RunRow], str]] = {
    "name": lambda run: run.label,
    "task": lambda run: run.task,
    "sweep": lambda run: run.sweep or "",
    "state": lambda run: run.state,
}


def run_filter(text: str) -> Test:
    """A test of one run; what is not finished yet, such as `val/accuracy>`, lets every run pass."""
    tests = [_test_of(word) for word in text.casefold().split()]
    return lambda run: all(test(run) for test in tests)


def _test_of(word: str) -> Test:
    compared = _COMPARISON.fullmatch(word)
    if compared is not None:
        return _comparison(compared["name"], _SIGNS[compared["sign"]], compared["value"])
    name, colon, value = word.partition(":")
    if colon and name in _FIELDS:
        return lambda run: value in _FIELDS[name](run).casefold()
    return lambda run: any(word in field(run).casefold() for field in _FIELDS.values())


def _comparison(name: str, holds: Callable[[float, float], bool], typed: str) -> Test:
    try:
        wanted = float(typed.replace(",", ""))
    except ValueError:
        return lambda run: True  # noqa: ARG005  it is being typed

    def test(run: RunRow) -> bool:
        value = value_of(run, name)
        return value is not None and not math.isnan(value) and holds(value, wanted)

    return test


def value_of(run: RunRow, name: str) -> float | None:
    """A number of a run by its name, of `val/accuracy` by `accuracy` too; None where it has none.

    Args:
        run: The run.
        name: In lower case.
    """
    if name in ("step", "epoch"):
        return float(run.step if name == "step" else run.epoch)
    if run.best is not None and run.metric is not None and name in _names(run.metric):
        return run.best
    named = {known.casefold(): value for known, value in run.values.items()}
    exact = named.get(name)
    return exact if exact is not None else next((v for known, v in named.items() if name in _names(known)), None)


def _names(metric: str) -> tuple[str, str]:
    lower = metric.casefold()
    return lower, lower.partition("/")[2] or lower
