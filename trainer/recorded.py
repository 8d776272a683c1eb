"""What a run's record says of how it was started."""

from __future__ import annotations

from pathlib import Path

from ckptop.store.records import RunRecord


def recorded_data_path(record: RunRecord | None) -> Path | None:
    """What the run was told by `--data`, where it was; None for a task that brings its data."""
    if record is None or record.command is None:
        return None
    words = record.command.argv
    for place, word in enumerate(words):
        if word == "--data" and place + 1 < len(words):
            return _found(Path(record.command.cwd), words[place + 1])
        if word.startswith("--data="):
            return _found(Path(record.command.cwd), word.removeprefix("--data="))
    return None


def _found(cwd: Path, text: str) -> Path:
    """A path as it was meant; the name of a data set on a hub as it is."""
    there = cwd / text
    return there if there.exists() or text.startswith((".", "/")) or Path(text).suffix else Path(text)
