"""`ckptop …` as a child: what needs torch, or outlives us, never happens in the dashboard's own process."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, Any

from ckptop.host.terminal import clean
from ckptop.store.errors import DiskError

ERROR_LIMIT = 300
"""Characters of a child's complaint that are shown."""
LINE_LIMIT = 2000
"""Characters of one line of its output."""

_at_large: list[subprocess.Popen[bytes]] = []
"""Children left to themselves: a handle that is collected warns that its process still runs."""


@dataclass(frozen=True, slots=True)
class Answer:
    """How a child ended."""

    code: int
    facts: dict[str, Any]
    """What it printed as JSON; empty where it printed none."""
    error: str
    """Its last line on stderr, cleaned; empty where all went well."""

    @property
    def ok(self) -> bool:
        """Whether it did what was asked."""
        return self.code == 0


def command_line(arguments: Sequence[str]) -> list[str]:
    """The command that runs `ckptop` with `arguments`, by this interpreter."""
    return [sys.executable, "-m", "ckptop.cli", *arguments, "--json"]


async def run_ckptop(arguments: Sequence[str]) -> Answer:
    """Run `ckptop` with `arguments` and `--json`; where the wait is cancelled, the child goes on by itself."""
    code, out, error = await _run(arguments[0], command_line(arguments))
    try:
        facts = json.loads(out)
    except ValueError:
        facts = {}
    return Answer(code, facts if isinstance(facts, dict) else {}, error)


async def read_ckptop(arguments: Sequence[str]) -> tuple[list[str], str]:
    """What `ckptop` prints for people with `arguments`, line by line and cleaned; and its error, empty without one.

    Where the wait is cancelled, the child is ended too: nobody will read it.
    """
    argv = [sys.executable, "-m", "ckptop.cli", *arguments]
    _, out, error = await _run(arguments[0], argv, for_reading=True)
    return [clean(line, LINE_LIMIT) for line in out.decode(errors="replace").splitlines()], error


async def _run(command: str, argv: Sequence[str], *, for_reading: bool = False) -> tuple[int, bytes, str]:
    """Exit code, output and complaint of a child; the complaint is empty where all went well.

    It writes into files, and no event loop owns it: asyncio's own would kill it where the dashboard is left early.
    """
    with tempfile.TemporaryFile() as printed, tempfile.TemporaryFile() as complained:
        try:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=complained,
                env={**os.environ, "PYTHONIOENCODING": "utf-8"}
                if for_reading
                else None,  # glyphs are ours to translate
                start_new_session=True,  # Ctrl-C in this terminal is not for it
            )
        except OSError as refused:
            return DiskError.exit_code, b"", f"ckptop {command} could not be started: {refused.strerror}"
        try:
            await _ended(process.pid)
        except asyncio.CancelledError:
            if for_reading:
                process.kill()
                process.wait()
            else:
                _at_large.append(process)
            raise
        code = process.wait()
        return code, _content(printed), _complaint(command, code, _content(complained))


async def _ended(pid: int) -> None:
    """Return once a child of ours has ended; it stays a zombie until it is waited for."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    descriptor = os.pidfd_open(pid)
    loop.add_reader(descriptor, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


def _content(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read()


def _complaint(command: str, code: int, complained: bytes) -> str:
    """The last line of stderr, cleaned; empty where all went well."""
    if code == 0:
        return ""
    lines = [line for line in complained.decode(errors="replace").splitlines() if line.strip()]
    error = clean(lines[-1].removeprefix("ckptop: "), ERROR_LIMIT) if lines else ""
    return error or f"ckptop {command} ended with code {code}"
