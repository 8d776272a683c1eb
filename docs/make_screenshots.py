"""The pictures of the README and of docs/dashboard.md: two real trainings, and the dashboard on them, headless.

    python docs/make_screenshots.py

Writes docs/images/NAME-COLUMNSxROWS.svg.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ckptop.store.store import Store
from ckptop.tui.app import CkptopApp
from ckptop.tui.reader import StoreReader

IMAGES = Path(__file__).resolve().parent / "images"
TRAININGS = (("diabetes", "60"), ("digits", "100"))
PICTURES = (
    ("dashboard", 120, 40, ()),
    ("dashboard", 80, 24, ()),
    ("enlarged", 120, 40, ("2", "enter", *["left"] * 30)),
    ("delete-old", 80, 24, ("D",)),
)
"""Name, columns, rows, and the keys that lead there."""
SETTLED_SECONDS = 4.0
"""After which everything is read and drawn."""


def main() -> None:
    """Train, and draw while the second trains."""
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # commands on the screen name the usual place
        store = Path("runs")
        for task, epochs in TRAININGS:
            command = ["train", task, "--name", f"{task}-demo", "--epochs", epochs, "--set", "keep_training=9"]
            started = subprocess.Popen([sys.executable, "-m", "ckptop.cli", *command], stdout=subprocess.DEVNULL)
        wait_until_well_on(store, f"{TRAININGS[-1][0]}-demo")
        for name, columns, rows, keys in PICTURES:
            asyncio.run(draw(store, f"{name}-{columns}x{rows}.svg", (columns, rows), keys))
        started.terminate()
        started.wait()


def wait_until_well_on(store: Path, name: str) -> None:
    """The last is drawn while it trains."""
    watch = subprocess.Popen(
        [sys.executable, "-m", "ckptop.cli", "watch", str(store)], stdout=subprocess.PIPE, text=True
    )
    for _line in watch.stdout or ():
        is_there = (store / name / "run.json").exists()
        if is_there and (Store.open(store).run(name).progress or 0.0) >= 0.4:
            break
    watch.terminate()
    watch.wait()


async def draw(store: Path, picture: str, size: tuple[int, int], keys: Sequence[str]) -> None:
    """Draw the dashboard as it stands after the keys."""
    app = CkptopApp(StoreReader(store, shown_as="./runs"))
    async with app.run_test(size=size) as pilot:
        await pilot.pause(SETTLED_SECONDS)
        await pilot.press(*keys)
        if keys:
            await pilot.pause(SETTLED_SECONDS)
        (IMAGES / picture).write_text(app.export_screenshot(title="ckptop"))


if __name__ == "__main__":
    main()
