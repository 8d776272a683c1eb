"""Listing a directory at once says of each checkpoint what reading it by itself says."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from ckptop.store import manifest_reading
from ckptop.store.checkpoint_info import best_first, read_info, scan_tier
from ckptop.store.layout import manifest_path
from ckptop.store.manifest import Manifest, encode
from ckptop.store.names import training_name


def write_checkpoint(directory: Path, epoch: int, **changes: object) -> Path:
    """A checkpoint file with its manifest."""
    path = directory / training_name(epoch, epoch * 10)
    manifest = Manifest(
        id=path.name, file=path.name, tier="training", run="mine", run_id="1", model_name="m", attempt=1, epoch=epoch,
        global_step=epoch * 10, time=float(epoch), metrics={"val/loss": 1 / epoch}, size_bytes=7, xxh3_128="",
    )  # fmt: skip
    path.write_bytes(b"weights")
    manifest_path(path).write_bytes(encode(msgspec.structs.replace(manifest, **changes)))
    return path


def flip(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b'"global_step": 20', b'"global_step": 21'))


def turn_into_link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def turn_into_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def cut(path: Path) -> None:
    os.truncate(path, 100)


def spoil(path: Path) -> None:
    path.write_bytes(b'{"schema": 1, "id": "\xff"}')


ODD: dict[str, tuple[Callable[[Path], None], bool]] = {
    "missing": (Path.unlink, False),
    "cut": (cut, False),
    "flipped": (flip, False),
    "a FIFO": (turn_into_fifo, False),
    "a link": (turn_into_link, True),
    "not in UTF-8": (spoil, False),
}
"""What happens to a manifest, and whether it is still to be had."""


@pytest.mark.parametrize("odd", ODD)
def test_an_odd_manifest_reads_as_it_does_alone_and_hides_no_other(tmp_path: Path, odd: str) -> None:
    paths = [write_checkpoint(tmp_path, epoch) for epoch in (1, 2, 3)]
    change, is_readable = ODD[odd]
    change(manifest_path(paths[1]))

    found = {info.name: info for info in scan_tier(tmp_path, "training")}

    assert found == {path.name: read_info(path, "training") for path in paths}
    assert [found[path.name].problem is None for path in paths] == [True, is_readable, True]


def test_a_manifest_larger_than_one_read_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest_reading, "_USUAL_BYTES", 256)
    path = write_checkpoint(tmp_path, 1, config={"words": "x" * 500})

    assert scan_tier(tmp_path, "training") == [read_info(path, "training")]
    assert read_info(path, "training").problem is None


def test_a_manifest_of_another_file_is_not_followed(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path, 1, file="other.pt")

    (info,) = scan_tier(tmp_path, "training")

    assert info.manifest is None
    assert info.problem == f"{path.name}: its manifest names another file; it was not followed"


def test_the_best_are_those_found_one_by_one_ties_and_nan_included(tmp_path: Path) -> None:
    values = [0.5, 0.2, "NaN", 0.2, "Infinity", 0.9, 0.5]
    for epoch, value in enumerate(values, 1):
        write_checkpoint(tmp_path, epoch, metrics={"val/loss": value})
    write_checkpoint(tmp_path, 9, metrics={})
    infos = scan_tier(tmp_path, "training")

    lowest, highest = (best_first(infos, "val/loss", mode, 9) for mode in ("min", "max"))

    assert [info.epoch for info in lowest] == [2, 4, 1, 7, 6, 5]
    assert [info.epoch for info in highest] == [5, 6, 1, 7, 2, 4]
    assert best_first(infos, "val/loss", "min", 3) == lowest[:3]
    assert best_first(infos, "val/loss", "min", 0) == []
