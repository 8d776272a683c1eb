"""`ckptop … --json` as a child: what needs torch, or outlives us, never happens in the dashboard's own process."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ckptop.host.terminal import clean
from ckptop.store.errors import DiskError

ERROR_LIMIT = 300
"""Characters of a child's complaint that are shown."""


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
    """Run `ckptop` with `arguments` and `--json`; the child ends with us only if it is done anyway."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command_line(arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl-C in this terminal is not for it
        )
    except OSError as refused:
        return Answer(DiskError.exit_code, {}, f"ckptop {arguments[0]} could not be started: {refused.strerror}")
    out, complaint = await process.communicate()
    try:
        facts = json.loads(out)
    except ValueError:
        facts = {}
    lines = [line for line in complaint.decode(errors="replace").splitlines() if line.strip()]
    error = clean(lines[-1].removeprefix("Error: "), ERROR_LIMIT) if lines else ""
    code = process.returncode if process.returncode is not None else 1
    if code != 0 and not error:
        error = f"ckptop {arguments[0]} ended with code {code}"
    return Answer(code, facts if isinstance(facts, dict) else {}, error if code != 0 else "")
