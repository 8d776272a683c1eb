"""A recorded command is run only where nobody but this user could have written it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ckptop.store.errors import StoreError
from ckptop.store.layout import RunPaths
from ckptop.store.trust import require_own


@pytest.fixture
def paths(tmp_path: Path) -> RunPaths:
    paths = RunPaths(tmp_path / "mine")
    paths.root.mkdir(mode=0o755)
    paths.record.write_text("{}")
    paths.record.chmod(0o644)
    return paths


def test_ones_own_run_is_trusted(paths: RunPaths) -> None:
    require_own(paths)


@pytest.mark.parametrize("bit", [0o020, 0o002], ids=["group", "others"])
@pytest.mark.parametrize("which", ["record", "root"])
def test_what_others_may_write_is_not_run(paths: RunPaths, which: str, bit: int) -> None:
    path: Path = getattr(paths, which)
    path.chmod(path.stat().st_mode | bit)

    with pytest.raises(StoreError, match=f"{path} can be written by others.*chmod go-w"):
        require_own(paths)


@pytest.mark.parametrize("which", ["record", "root"])
def test_what_belongs_to_another_is_shown_never_run(
    paths: RunPaths, which: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path: Path = getattr(paths, which)
    if os.geteuid() == 0:
        os.chown(path, 12345, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 12345)

    with pytest.raises(StoreError, match="belongs to another user"):
        require_own(paths)


def test_a_linked_record_is_not_run(paths: RunPaths, tmp_path: Path) -> None:
    """A link's own permissions say nothing of who may write what it points at."""
    other = tmp_path / "theirs.json"
    other.write_text("{}")
    paths.record.unlink()
    paths.record.symlink_to(other)

    with pytest.raises(StoreError):
        require_own(paths)


def test_a_record_that_is_not_there_is_an_error(paths: RunPaths) -> None:
    paths.record.unlink()

    with pytest.raises(FileNotFoundError):
        require_own(paths)
