"""Waiting for what a Textual app is about to do: a condition, never a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from textual.pilot import Pilot

LIMIT_SECONDS = 60.0
"""Far above what anything takes, the start of a trainer on a busy machine included; reached only where a test fails."""


async def wait_for(pilot: Pilot[Any], condition: Callable[[], object], *, what: str) -> None:
    """Let the app run until `condition` holds.

    Raises:
        AssertionError: It never did; the message says that we waited for `what`.
    """
    deadline = time.monotonic() + LIMIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        await asyncio.sleep(0.01)  # hands the loop to the app and its threads; says nothing about time
        await pilot.pause()
