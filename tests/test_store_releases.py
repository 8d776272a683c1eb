"""Releases rolled back and yanked: the registry's line is the change, the links follow, the files never move."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from power_cut import HastyFileSystem, RefusingFileSystem, die_before_reopening, each_cut
from tiny_model import HASTY, clone

from ckptop.store.errors import Damaged, NotFound, StoreError
from ckptop.store.fs import FileSystem
from ckptop.store.layout import StorePaths
from ckptop.store.names import Version
from ckptop.store.records import Actor
from ckptop.store.registry import ReleaseLine, append_release, read_registry
from ckptop.store.releases import LatestMoved, refresh_release_links, release_problem, rollback, yank
from ckptop.store.verify_releases import verify_releases

ADA = Actor(user="ada", host="box1", pid=1)
V1, V2, V3 = Version(1, 0, 0), Version(1, 1, 0), Version(2, 0, 0)


def release(paths: StorePaths, version: str, model: str = "cnn", file: str | None = None) -> ReleaseLine:
    """A release as `ckptop promote` leaves it, of bytes that no torch is needed for."""
    paths.production.mkdir(exist_ok=True)
    data = f"{model} {version} ".encode() * 1000
    line = ReleaseLine(
        time=1.0, model=model, version=version, file=file or f"{model}_v{version}.pt",
        sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data), run="mine", run_id="1",
        checkpoint="training/a.pt", epoch=1, global_step=1, metrics={}, actor=ADA,
    )  # fmt: skip
    if file is None:
        (paths.production / line.file).write_bytes(data)
    append_release(paths, line, HASTY)
    refresh_release_links(paths, HASTY)
    return line


@pytest.fixture
def paths(tmp_path: Path) -> StorePaths:
    """`cnn` in three versions, and `other` before the last of them."""
    paths = StorePaths(tmp_path / "store")
    paths.root.mkdir()
    for version, model in (("1.0.0", "cnn"), ("1.1.0", "cnn"), ("1.0.0", "other"), ("2.0.0", "cnn")):
        release(paths, version, model)
    return paths


def links(paths: StorePaths) -> dict[str, str]:
    """Each link of `production/` and what it points to."""
    found = paths.production.iterdir()
    return {path.name: os.readlink(path) for path in found if path.is_symlink()}


def files(paths: StorePaths) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in paths.production.glob("*_v*.pt")}


def test_a_rollback_moves_latest_and_its_links_and_no_file(paths: StorePaths) -> None:
    before = files(paths)
    assert links(paths)["latest.pt"] == "cnn_v2.0.0.pt"
    verified: list[int] = []

    moved = rollback(paths, "cnn", V1, progress=verified.append)

    assert (moved.before, moved.after, moved.changed) == ("2.0.0", "1.0.0", True)
    assert read_registry(paths).latest("cnn") == "1.0.0"
    assert links(paths) == {
        "latest.pt": "cnn_v1.0.0.pt", "cnn_latest.pt": "cnn_v1.0.0.pt", "other_latest.pt": "other_v1.0.0.pt",
    }  # fmt: skip
    assert files(paths) == before
    assert sum(verified) == len(before["cnn_v1.0.0.pt"])


def test_a_rollback_is_undone_by_another(paths: StorePaths) -> None:
    rollback(paths, "cnn", V1)

    rollback(paths, "cnn", V3)

    assert read_registry(paths).latest("cnn") == "2.0.0"
    assert links(paths)["cnn_latest.pt"] == "cnn_v2.0.0.pt"


def test_rolling_back_to_what_is_latest_writes_no_line_but_mends_a_link(paths: StorePaths) -> None:
    before = paths.registry.read_bytes()
    (paths.production / "cnn_latest.pt").unlink()

    moved = rollback(paths, "cnn", V3)

    assert not moved.changed
    assert paths.registry.read_bytes() == before
    assert links(paths)["cnn_latest.pt"] == "cnn_v2.0.0.pt"


def test_a_release_that_is_not_there_changes_nothing(paths: StorePaths, tmp_path: Path) -> None:
    before = paths.registry.read_bytes()

    for act in (rollback, yank):
        with pytest.raises(NotFound, match=r"cnn has no release 9\.0\.0; there: 1\.0\.0, 1\.1\.0, 2\.0\.0"):
            act(paths, "cnn", Version(9, 0, 0))
        with pytest.raises(NotFound, match="there: none yet"):
            act(StorePaths(tmp_path / "none"), "cnn", V1)

    assert paths.registry.read_bytes() == before
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("damage", ["flip", "cut", "gone"])
def test_a_damaged_release_is_not_rolled_back_to(paths: StorePaths, damage: str) -> None:
    file = paths.production / "cnn_v1.0.0.pt"
    if damage == "flip":
        file.write_bytes(file.read_bytes().replace(b"1", b"2", 1))
    elif damage == "cut":
        os.truncate(file, 5)
    else:
        file.unlink()
    before = paths.registry.read_bytes(), links(paths)

    with pytest.raises(Damaged, match="latest was left alone"):
        rollback(paths, "cnn", V1)

    assert (paths.registry.read_bytes(), links(paths)) == before


def test_a_quick_look_at_a_release_reads_its_size_only(paths: StorePaths) -> None:
    line = read_registry(paths).release("cnn", "1.0.0")
    file = paths.production / line.file
    file.write_bytes(b"x" * line.size_bytes)

    assert release_problem(paths, line) is None
    assert release_problem(paths, line, hashed=True) == "bytes differ from the registry's sha256"


def test_a_yanked_version_is_never_rolled_back_to(paths: StorePaths) -> None:
    yank(paths, "cnn", V1, "wrong labels")

    with pytest.raises(StoreError, match=r"cnn 1\.0\.0 is yanked \(wrong labels\); latest was left alone") as caught:
        rollback(paths, "cnn", V1)

    assert caught.value.exit_code == 10
    assert read_registry(paths).latest("cnn") == "2.0.0"


def test_a_yank_of_latest_gives_back_what_it_meant_before(paths: StorePaths) -> None:
    before = files(paths)

    moved = yank(paths, "cnn", V3, "wrong labels")

    assert (moved.before, moved.after, moved.changed) == ("2.0.0", "1.1.0", True)
    assert links(paths)["cnn_latest.pt"] == "cnn_v1.1.0.pt"
    assert links(paths)["latest.pt"] == "other_v1.0.0.pt", "what it meant before cnn 2.0.0"
    assert files(paths) == before, "a release stays for ever"


def test_a_yank_of_another_version_leaves_latest_alone(paths: StorePaths) -> None:
    before = links(paths)

    moved = yank(paths, "cnn", V2)

    assert (moved.before, moved.after) == ("2.0.0", "2.0.0")
    assert links(paths) == before


def test_a_second_yank_changes_nothing_and_keeps_the_reason(paths: StorePaths) -> None:
    yank(paths, "cnn", V3, "wrong labels")
    before = paths.registry.read_bytes()

    assert not yank(paths, "cnn", V3, "another").changed

    assert paths.registry.read_bytes() == before
    assert read_registry(paths).yanks["cnn", "2.0.0"].reason == "wrong labels"


def test_where_all_is_yanked_no_link_is_left(paths: StorePaths) -> None:
    for version in (V3, V2, V1):
        moved = yank(paths, "cnn", version)
    assert moved.after is None
    assert links(paths) == {"latest.pt": "other_v1.0.0.pt", "other_latest.pt": "other_v1.0.0.pt"}

    yank(paths, "other", V1)

    assert links(paths) == {}
    assert len(files(paths)) == 4


class NoLinks(HastyFileSystem):
    """A file system without symbolic links."""

    def symlink(self, text: str, path: Path) -> None:
        raise PermissionError(1, "no links here")


def test_without_links_the_small_files_follow_and_go(tmp_path: Path) -> None:
    paths = StorePaths(tmp_path)
    for text in ("1.0.0", "1.1.0"):
        release(paths, text)
    for path in paths.production.glob("*latest.pt"):
        path.unlink()

    rollback(paths, "cnn", V1, NoLinks())
    assert (paths.production / "cnn_latest.json").read_text() == '{"file":"cnn_v1.0.0.pt"}\n'
    for version in (V1, V2):
        yank(paths, "cnn", version, fs=NoLinks())

    assert list(paths.production.glob("*latest*")) == []


def test_a_person_s_own_file_in_the_place_of_a_link_stays(paths: StorePaths) -> None:
    own = paths.production / "cnn_latest.pt"
    own.unlink()
    own.write_bytes(b"mine")
    notes = paths.production / "cnn_latest.json"
    notes.write_text('{"file":"another"}')

    rollback(paths, "cnn", V1)
    for version in (V1, V2, V3):
        yank(paths, "cnn", version)

    assert own.read_bytes() == b"mine"
    assert notes.read_text() == '{"file":"another"}'


@pytest.mark.parametrize(
    ("model", "file"), [("../../evil", "x.pt"), ("evil", "../evil.pt"), ("evil", "a\0.pt"), ("a\0b", "a\0b_v1.0.0.pt")]
)
def test_a_stranger_s_registry_names_no_place_outside(paths: StorePaths, model: str, file: str) -> None:
    """Its lines are sealed as well as anybody's."""
    release(paths, "1.0.0", model, file)
    outside = {path for path in paths.root.parent.rglob("*") if paths.production not in path.parents}

    with pytest.raises(Damaged):
        rollback(paths, model, V1)
    rollback(paths, "cnn", V1)
    yank(paths, model, V1)

    assert links(paths)["latest.pt"] == "cnn_v1.0.0.pt"
    assert {path for path in paths.root.parent.rglob("*") if paths.production not in path.parents} == outside


def test_nothing_is_changed_through_a_link_out_of_the_store(paths: StorePaths, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    os.rename(paths.production, outside)
    paths.production.symlink_to(outside)
    before = paths.registry.read_bytes()

    for act in (rollback, yank):
        with pytest.raises(StoreError, match="is a symbolic link"):
            act(paths, "cnn", V1)

    assert paths.registry.read_bytes() == before


Act = Callable[[StorePaths, FileSystem], LatestMoved]
ACTS: dict[str, tuple[Act, str | None]] = {
    "rollback": (lambda paths, fs: rollback(paths, "cnn", V1, fs), "1.0.0"),
    "yank": (lambda paths, fs: yank(paths, "cnn", V3, "wrong labels", fs), "1.1.0"),
    "yank-other": (lambda paths, fs: yank(paths, "cnn", V2, fs=fs), "2.0.0"),
    "yank-only": (lambda paths, fs: yank(paths, "other", V1, fs=fs), "2.0.0"),
}


@pytest.mark.parametrize("name", ACTS)
def test_a_power_cut_at_any_call_leaves_the_old_truth_or_the_new(
    name: str, paths: StorePaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never a yanked latest, never a link to nothing; and the same command again completes what was cut off."""
    act, after = ACTS[name]
    whole = clone(paths.root, tmp_path / "whole")
    act(StorePaths(whole), HASTY)
    old, new = read_registry(paths), read_registry(StorePaths(whole))

    for fs in each_cut():
        cut = StorePaths(clone(paths.root, tmp_path / "cut"))
        with monkeypatch.context() as dead:
            die_before_reopening(dead)
            is_cut = fs.dies(lambda: act(cut, fs))  # noqa: B023 - called at once
        found = read_registry(cut)
        told = dict(found.aliases), set(found.yanks)
        assert told in ((dict(old.aliases), set(old.yanks)), (dict(new.aliases), set(new.yanks)))
        assert is_cut or (found.latest("cnn"), links(cut)) == (after, links(StorePaths(whole)))
        assert found.releases == old.releases
        assert files(cut) == files(paths)
        assert all((cut.production / target).is_file() for target in links(cut).values())
        act(cut, HASTY)
        assert read_registry(cut).latest("cnn") == after
        assert links(cut) == links(StorePaths(whole))
        release(cut, "3.0.0")
        assert read_registry(cut).latest("cnn") == "3.0.0"
        shutil.rmtree(cut.root)


@pytest.mark.parametrize("name", ACTS)
def test_a_full_disk_at_any_call_leaves_the_old_truth_or_the_new(name: str, paths: StorePaths, tmp_path: Path) -> None:
    act, after = ACTS[name]
    before = read_registry(paths).latest("cnn")

    for at in itertools.count():
        full = StorePaths(clone(paths.root, tmp_path / str(at)))
        fs = RefusingFileSystem(at, stays_full=True)
        with contextlib.suppress(OSError):
            act(full, fs)
        if fs.refused is None:
            break
        assert read_registry(full).latest("cnn") in (before, after)
        staging = full.production / ".staging"
        assert not staging.exists() or os.listdir(staging) == []
        act(full, HASTY)
        assert read_registry(full).latest("cnn") == after

    assert at >= 3, "the seam was not used"


def test_a_registry_that_is_gone_is_damage_where_a_link_means_a_release(paths: StorePaths) -> None:
    """Without it nothing is released any more, and no file that is checked differs."""
    paths.registry.unlink()

    found = {finding.key: finding.severe for finding in verify_releases(paths).findings}

    assert found == {
        "production/cnn_v1.0.0.pt": False,
        "production/cnn_v1.1.0.pt": False,
        "production/cnn_v2.0.0.pt": True,
        "production/other_v1.0.0.pt": True,
    }
