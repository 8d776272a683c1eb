"""Hostile text wherever a file of a run holds text."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import msgspec

from ckptop.store.events import append_event
from ckptop.store.files import read_json
from ckptop.store.layout import RunPaths, manifest_path
from ckptop.store.manifest import Manifest, encode
from ckptop.store.records import Exit, Metric, RunRecord, Status

EVIL = "\x1b]52;c;ZXZpbA==\x07[/red][@click=app.quit]x[/]\x9b2J\u202eabc\x00\n\r\x7f"
"""Clipboard, markup that crashes, a live link, C1, bidi, NUL, newlines, DEL."""

WORSE = "\x1b]0;PWNED\x07\x1b[1;1HPWNED\x1b[2J\x1b[?1049l\x1bc\u2066\u2069\ufeff" + EVIL + "long" * 2500
"""A title, the cursor sent away, a screen that is cleared, left and reset; and 10 kB of it."""


def poison(store: Path, name: str = "mine", evil: str = EVIL) -> None:
    """Put `evil` into records, status, log and manifests of a run."""
    paths = RunPaths(store / name)
    record = read_json(paths.record, RunRecord)
    metric = Metric(name=f"val/{evil}", mode="max")
    config: dict[str, Any] = {"scheduler": evil, evil: evil}
    paths.record.write_bytes(encode(msgspec.structs.replace(record, task=evil, metric=metric, config=config)))
    status = read_json(paths.status, Status)
    paths.status.write_bytes(encode(msgspec.structs.replace(status, phase="failed", exit=Exit(error=evil))))
    with paths.metrics.open("a") as log:
        log.write(json.dumps({"step": 217, "epoch": 10, evil: 1.0, f"val/{evil}": 0.5, "lr": 1e-3}) + "\n")
    for manifest in [manifest_path(path) for path in paths.checkpoints.training.glob("*.pt")]:
        found = read_json(manifest, Manifest)
        manifest.write_bytes(encode(msgspec.structs.replace(found, metrics={f"val/{evil}": 0.5, evil: 0.1})))


def poison_words(store: Path, name: str = "mine", evil: str = EVIL) -> None:
    """Let a run have printed `evil`, and its events and alerts tell it; beside it bytes that are no UTF-8."""
    paths = RunPaths(store / name)
    paths.log.write_bytes(evil.encode() + b"\n\xff\xfe\xc3\x28 no text\n" + evil.encode())
    append_event(paths, "alert", kind=evil, message=evil)
    append_event(paths, evil, reason=evil)
    with paths.events.open("ab") as events:
        events.write(b'{"time": 1, "event": "\xff\xc3\x28"}\n')
    with paths.metrics.open("ab") as metrics:
        metrics.write(b'{"step": 218, "\xff\x1b[2J": 1.0}\n')


def litter(store: Path) -> None:
    """Files and directories whose very names are hostile, among the runs and among the checkpoints."""
    for folder in (store, *(run / "checkpoints" / "training" for run in store.iterdir())):
        for name in (b"\xff\xfe\x1b[2J", b"evil\x1b]0;PWNED\x07.pt", "\u202e.pt".encode(), b"n" * 250 + b".pt"):
            os.mkdir(os.fsencode(folder) + b"/" + name)
