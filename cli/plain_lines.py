"""Lines for pipes and terminals: a foreign log cleaned, and a reader who has gone noticed though nothing is printed."""

from __future__ import annotations

import json
import select
import sys
from collections.abc import Iterator

import click

from ckptop.host.terminal import shown_line

LONGEST_BYTES = 1 << 20
"""A line longer than this comes in pieces."""


class LineSplitter:
    """Cuts pieces of a log into lines that can be shown."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[str]:
        """The lines that are whole by now, cleaned."""
        *whole, self._rest = (self._rest + data).split(b"\n")
        for line in whole:
            yield shown_line(line)
        if len(self._rest) > LONGEST_BYTES:
            yield from self.end()

    def end(self) -> Iterator[str]:
        """The last line, if it has no end."""
        rest, self._rest = self._rest, b""
        if rest:
            yield shown_line(rest)


def print_json_line(value: object) -> None:
    """One JSON object on one line, at once; ASCII alone, since its strings may steer a terminal."""
    from ckptop.store.lines import to_json

    click.echo(json.dumps(to_json(value)).replace("\x7f", "\\u007f"))


def is_reader_gone() -> bool:
    """Whether nobody can read what is printed any more: the pipe was closed, or the terminal hung up."""
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        return any(state & (select.POLLERR | select.POLLHUP) for _, state in poll.poll(0))
    except (OSError, ValueError):  # no real file, as under a test
        return False
