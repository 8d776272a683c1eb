"""The pictures of the README: two real trainings, and the dashboard on them, headless, at two sizes.

    python docs/make_screenshots.py

Writes docs/images/dashboard-120x40.svg and -80x24.svg.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
from pathlib import Path

from ckptop.store.store import Store
from ckptop.tui.app import CkptopApp
from ckptop.tui.reader import StoreReader

IMAGES = Path(__file__).parent / "images"
SIZES = ((120, 40), (80, 24))
TRAININGS = (("diabetes", "60"), ("digits", "20"))
PATIENCE_SECONDS = 300.0


def main() -> None:
    """Train, and draw while the second is half done."""
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "runs"
        for task, epochs in TRAININGS:
            command = ["train", task, "--store", str(store), "--name", f"{task}-demo", "--epochs", epochs]
            started = subprocess.Popen([sys.executable, "-m", "ckptop.cli", *command], stdout=subprocess.DEVNULL)
        wait_until_half_done(store, f"{TRAININGS[-1][0]}-demo")
        for columns, rows in SIZES:
            asyncio.run(draw(store, columns, rows))
        started.terminate()
        started.wait()


def wait_until_half_done(store: Path, name: str) -> None:
    """The last is drawn while it trains."""
    watch = subprocess.Popen(
        [sys.executable, "-m", "ckptop.cli", "watch", str(store)], stdout=subprocess.PIPE, text=True
    )
    for _line in watch.stdout or ():
        if (Store.open(store).run(name).progress or 0.0) >= 0.5:
            break
    watch.terminate()
    watch.wait()


async def draw(store: Path, columns: int, rows: int) -> None:
    """Draw the dashboard once everything is read."""
    app = CkptopApp(StoreReader(store, shown_as="./runs"))
    async with app.run_test(size=(columns, rows)) as pilot:
        await pilot.pause(6.0)
        (IMAGES / f"dashboard-{columns}x{rows}.svg").write_text(app.export_screenshot(title="ckptop"))


if __name__ == "__main__":
    main()
