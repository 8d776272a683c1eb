"""`ckptop watch`: a line for whatever happens in a store, for pipes, logs and scripts."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ckptop.cli.alert_options import alert_options, take_alert_options
from ckptop.cli.common import default_store, json_option, print_json
from ckptop.cli.plain_lines import is_reader_gone, print_json_line
from ckptop.cli.ps import describe_head, in_order, print_heads
from ckptop.host.terminal import clean
from ckptop.store.errors import UsageError
from ckptop.store.feed import StoreFeed
from ckptop.store.notice_text import text_of
from ckptop.store.notices import Notice, StoreNotices
from ckptop.store.store import Store

if TYPE_CHECKING:
    from ckptop.store.alert_settings import AlertSettings

TICK_SECONDS = 1.0
"""Without any change live runs are looked at so often."""
LEAST_SECONDS = 0.2
"""Between two looks, so that a stream of changes is read in one go."""

_Hearing = Callable[[Iterable[Notice]], Iterable[Notice]]

_CHARACTERS = 300


@click.command()
@click.argument("store_path", metavar="[STORE]", type=click.Path(path_type=Path), required=False)
@click.option("--once", is_flag=True, help="Print the table of states instead, as ps does, and end.")
@alert_options
@json_option
def watch(store_path: Path | None, once: bool, on_alert: str | None, alert_on: str | None, as_json: bool) -> None:
    """Print a line for whatever happens in a store: saved, milestone, alert, an epoch's metrics, a change of state.

    It goes on until Ctrl-C or until nobody reads it. The store may appear later. --json prints one object a line.
    """
    if once and (on_alert is not None or alert_on is not None):
        raise UsageError("--once looks once, and nothing happens meanwhile: alerts need a watch that goes on")
    store = Store.open(store_path or default_store(), missing_ok=True)
    if not once:
        _follow(store.root, as_json, take_alert_options(on_alert, alert_on))
    elif as_json:
        print_json({"runs": [describe_head(head) for head in in_order(store.heads())]})
    else:
        print_heads(store.heads())


def _follow(root: Path, as_json: bool, alerts: AlertSettings | None) -> None:
    changes, notices = _Changes(), StoreNotices(root)
    feed = StoreFeed(root, changes.add)
    feed.start()  # before the first look: what changes in between is looked at twice, and told once
    problem = None
    try:
        _print(notices.begin(), as_json)
        with _alerting(notices, alerts) as heard:
            while not is_reader_gone():
                _print(heard(notices.look(changes.take(TICK_SECONDS))), as_json)
                if feed.problem not in (problem, None):
                    click.echo(clean(f"ckptop: {feed.problem}"), err=True)
                problem = feed.problem
    finally:
        feed.stop()


@contextlib.contextmanager
def _alerting(notices: StoreNotices, settings: AlertSettings | None) -> Iterator[_Hearing]:
    """Within the block, what is passed through is told to whom the settings name; nothing is without any."""
    if settings is None:
        yield lambda told: told
        return
    from ckptop.store.alert_watch import StoreAlerts

    alerts = StoreAlerts(notices, settings, lambda line: click.echo(clean(f"ckptop: {line}"), err=True))
    try:
        yield alerts.hear
    finally:
        alerts.close()


class _Changes:
    """Gathers what the feed's threads tell."""

    def __init__(self) -> None:
        self._names: set[str] = set()
        self._lock, self._any = threading.Lock(), threading.Event()
        self._pause = threading.Event()

    def add(self, names: frozenset[str]) -> None:
        """Called by the feed."""
        with self._lock:
            self._names |= names
        self._any.set()

    def take(self, timeout_seconds: float) -> set[str]:
        """What was told since the last call; waits for it."""
        self._pause.wait(LEAST_SECONDS)
        self._any.wait(timeout_seconds - LEAST_SECONDS)
        with self._lock:
            names, self._names = self._names, set()
            self._any.clear()
        return names


def _print(notices: Iterable[Notice], as_json: bool) -> None:
    for notice in notices:
        if as_json:
            own = {"time": notice.time, "run": notice.run, "event": notice.kind, "step": notice.step,
                   "epoch": notice.epoch}  # fmt: skip
            print_json_line({**own, **notice.details, **own})
        else:
            click.echo(f"{_moment(notice.time)}  {clean(f'{notice.run}  {text_of(notice)}', _CHARACTERS)}")


def _moment(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):  # a file's own time may be anything
        return "---------- --:--:--"
