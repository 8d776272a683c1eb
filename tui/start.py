"""The way in: the store is read while Textual is imported, so that the first thing painted is what is there."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import TYPE_CHECKING

from ckptop.tui.reader import StoreReader

if TYPE_CHECKING:
    from ckptop.tui.trainers import Tasks


def run_dashboard(store_path: Path, *, tasks: Tasks = tuple) -> int:
    """Open the dashboard on a store and return when it is left.

    Args:
        store_path: The store's root; it need not exist yet.
        tasks: Names the tasks that can be trained; asked in a thread, when a person wants to train.

    Returns:
        The exit code: 0, or 1 where the dashboard itself failed.

    Raises:
        UsageError: Something in the settings file is wrong; it names file and line.
    """
    # Modules, style sheets and widgets stay: looking for garbage among them took a sixth of the time to the first
    # paint. The main screen has it collected again once all stands.
    gc.disable()
    try:
        reader = StoreReader(store_path)
        reader.begin()
        from ckptop.tui.app import open_app

        return open_app(reader, tasks)
    finally:
        gc.enable()
