"""Several values of one choice, `--set features=bow,embeddings`: a run of each, trained at the same time.

Each is a process of its own with a command of its own, so each can be stopped and resumed alone. What they print comes
through with the value in front.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import Any, Literal, TextIO, get_args, get_origin, get_type_hints

from ckptop.host.terminal import clean
from ckptop.store.errors import EXIT_DONE, EXIT_STOPPED, UsageError
from ckptop.trainer.options import TrainOptions, free_name
from ckptop.trainer.task import Task

_STOPPING = (signal.SIGINT, signal.SIGTERM)


def choices(options: TrainOptions, task: Task[Any]) -> tuple[str, list[str]] | None:
    """The key with several values and these; None where each has one.

    Raises:
        UsageError: More than one key has several.
    """
    given = {key.removeprefix("model."): value for key, value in options.assignments}  # the last of a key holds
    hints = get_type_hints(type(task.defaults().model))
    found = [
        (key, [one.strip() for one in value.split(",")])
        for key, value in given.items()
        if "," in value and get_origin(hints.get(key)) is Literal
    ]
    if len(found) > 1:
        raise UsageError(f"{found[0][0]} and {found[1][0]} both have several values; give one of them one")
    for key, values in found:
        known = get_args(hints[key])
        for value in values:
            if value not in known:
                raise UsageError(f"{key}: expected one of {', '.join(known)}, got {value!r}")
        if len(set(values)) < len(values):
            raise UsageError(f"{key}: {','.join(values)} names one twice")
    return found[0] if found else None


def train_side_by_side(options: TrainOptions, task: Task[Any], key: str, values: Sequence[str]) -> int:
    """Train one run for each value; returns the first exit code that is not 0, a failure before a stop."""
    stream = sys.stderr if options.as_json else sys.stdout
    children = [_start(options, task, key, value) for value in values]
    echoes = [
        threading.Thread(target=_echo, args=(child, f"{value:<{max(map(len, values))}} ", stream, options.as_json))
        for child, value in zip(children, values, strict=True)
    ]
    for echo in echoes:
        echo.start()
    before = {number: signal.signal(number, lambda number, _: _pass_on(children, number)) for number in _STOPPING}
    try:
        codes = [child.wait() for child in children]
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for echo in echoes:
            echo.join()
    failed = [code for code in codes if code not in (EXIT_DONE, EXIT_STOPPED)]
    return abs((failed or [code for code in codes if code] or [EXIT_DONE])[0])


def _start(options: TrainOptions, task: Task[Any], key: str, value: str) -> subprocess.Popen[str]:
    wanted = f"{options.name or task.name}-{value}"
    is_new = options.name is None and options.resume is None
    name = free_name(options.store, wanted) if is_new else wanted
    argv = [sys.executable, *options.argv, "--set", f"{key}={value}", "--name", name]
    return subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        start_new_session=True,  # a Ctrl-C reaches it once, through us
    )  # fmt: skip


def _pass_on(children: Sequence[subprocess.Popen[str]], number: int) -> None:
    for child in children:
        if child.poll() is None:
            child.send_signal(number)


def _echo(child: subprocess.Popen[str], prefix: str, stream: TextIO, as_json: bool) -> None:
    assert child.stdout is not None  # noqa: S101 - it was asked for
    for line in child.stdout:
        text = line.rstrip("\n")
        is_result = as_json and text.startswith("{")
        print(text if is_result else clean(prefix + text), file=sys.stdout if is_result else stream, flush=True)
