"""The registry of releases: append-only, and the truth."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from power_cut import CutFileSystem, PowerCut, RecordingFileSystem, RefusingFileSystem

from ckptop.store.errors import NotFound, StoreError
from ckptop.store.events import current_actor
from ckptop.store.layout import StorePaths
from ckptop.store.names import Version
from ckptop.store.records import Actor
from ckptop.store.registry import (
    ReleaseLine,
    append_latest,
    append_release,
    append_yank,
    read_history,
    read_registry,
    release_path,
)

ADA = Actor(user="ada", host="box1", pid=1)


@pytest.fixture
def paths(tmp_path: Path) -> StorePaths:
    paths = StorePaths(tmp_path)
    paths.production.mkdir()
    return paths


def line(version: str, model: str = "cnn", file: str | None = None) -> ReleaseLine:
    return ReleaseLine(
        time=1.0, model=model, version=version, file=file or f"{model}_v{version}.pt", sha256="", size_bytes=1, run="",
        run_id="", checkpoint="", epoch=1, global_step=1, metrics={}, actor=ADA,
    )  # fmt: skip


def test_no_file_is_an_empty_registry(paths: StorePaths) -> None:
    read = read_registry(paths)

    assert (read.releases, dict(read.aliases), read.bad_lines) == ((), {}, 0)
    assert read.latest("cnn") is None


def test_versions_are_listed_as_numbers_and_by_model(paths: StorePaths) -> None:
    for version in ("1.9.0", "1.10.0", "1.2.0"):
        append_release(paths, line(version))
    append_release(paths, line("3.0.0", "other"))

    read = read_registry(paths)

    assert [release.version for release in read.of("cnn")] == ["1.2.0", "1.9.0", "1.10.0"]
    assert [release.version for release in read.releases] == ["1.9.0", "1.10.0", "1.2.0", "3.0.0"]
    assert read.latest("cnn") == "1.2.0", "the one released last, not the highest"


@pytest.mark.parametrize(("part", "wanted"), [("major", "2.0.0"), ("minor", "1.11.0"), ("patch", "1.10.1")])
def test_the_next_version_follows_the_highest(paths: StorePaths, part: str, wanted: str) -> None:
    append_release(paths, line("1.10.0"))
    append_release(paths, line("1.9.0"))

    assert str(read_registry(paths).next_version("cnn", part)) == wanted


def test_the_first_version_is_one(paths: StorePaths) -> None:
    assert read_registry(paths).next_version("cnn", "patch") == Version(1, 0, 0)


def test_a_released_version_is_refused_and_nothing_is_written(paths: StorePaths) -> None:
    append_release(paths, line("1.0.0"))
    before = paths.registry.read_bytes()

    with pytest.raises(StoreError, match="released already"):
        append_release(paths, line("1.0.0"))
    append_release(paths, line("1.0.0", "other"))

    assert paths.registry.read_bytes().startswith(before)


def test_a_release_and_its_alias_are_one_durable_write(paths: StorePaths) -> None:
    """Of the first release the registry's name is made durable too."""
    fs = RecordingFileSystem()

    append_release(paths, line("1.0.0"), fs)
    append_release(paths, line("1.1.0"), fs)

    assert [call.name for call in fs.calls] == ["write", "fsync", "fsync_dir", "close", "write", "fsync", "close"]


def test_a_failed_fsync_of_a_line_is_told_and_never_tried_again(paths: StorePaths) -> None:
    """The kernel may have dropped what it could not write: a second one would say that all is well."""
    append_release(paths, line("1.0.0"))
    fs = RefusingFileSystem(1, errno.EIO)

    with pytest.raises(OSError, match="Input/output error"):
        append_release(paths, line("1.1.0"), fs)

    assert [call.name for call in fs.calls] == ["write", "fsync", "close"]
    assert [release.version for release in read_registry(paths).releases] == ["1.0.0"]


def test_a_torn_line_is_no_release_and_costs_no_other(paths: StorePaths) -> None:
    append_release(paths, line("1.0.0"))
    whole = paths.registry.read_bytes()
    paths.registry.write_bytes(whole + whole.replace(b"1.0.0", b"2.0.0")[:100])

    assert [release.version for release in read_registry(paths).releases] == ["1.0.0"]
    append_release(paths, line("3.0.0"))

    read = read_registry(paths)
    assert [release.version for release in read.releases] == ["1.0.0", "3.0.0"]
    assert (read.latest("cnn"), read.bad_lines) == ("3.0.0", 1)


def test_a_cut_while_a_line_is_written_leaves_the_old_truth(paths: StorePaths) -> None:
    append_release(paths, line("1.0.0"))

    with pytest.raises(PowerCut):
        append_release(paths, line("2.0.0"), CutFileSystem(0))

    assert read_registry(paths).latest("cnn") == "1.0.0"
    append_release(paths, line("3.0.0"))
    assert read_registry(paths).latest("cnn") == "3.0.0"


@pytest.mark.parametrize("name", ["../outside.pt", "/etc/passwd", "a/b.pt", "..", "a\0.pt"])
def test_a_file_outside_of_the_directory_is_refused(paths: StorePaths, name: str) -> None:
    with pytest.raises(StoreError, match="is no file of"):
        release_path(paths, line("1.0.0", file=name))


def test_every_line_is_json_whatever_was_measured(paths: StorePaths) -> None:
    append_release(paths, msgspec.structs.replace(line("1.0.0"), metrics={"a": "NaN", "b": 0.5}))

    for text in paths.registry.read_bytes().splitlines():
        assert msgspec.json.decode(text)["time"]


def test_latest_is_moved_by_one_durable_line(paths: StorePaths) -> None:
    append_release(paths, line("1.0.0"))
    append_release(paths, line("1.1.0"))
    fs = RecordingFileSystem()

    append_latest(paths, "cnn", "1.0.0", fs)

    assert [call.name for call in fs.calls] == ["write", "fsync", "close"]
    assert read_registry(paths).latest("cnn") == "1.0.0"


def test_a_yank_is_one_durable_line_that_says_why(paths: StorePaths) -> None:
    append_release(paths, line("1.0.0"))
    fs = RecordingFileSystem()

    append_yank(paths, "cnn", "1.0.0", "wrong labels", fs)

    assert [call.name for call in fs.calls] == ["write", "fsync", "close"]
    told = read_registry(paths).yanks["cnn", "1.0.0"]
    assert (told.reason, told.actor) == ("wrong labels", current_actor())


def test_a_yank_is_written_as_ever(paths: StorePaths, monkeypatch: pytest.MonkeyPatch) -> None:
    """The exact bytes, seal included: what was yanked last year stays yanked."""
    monkeypatch.setattr("ckptop.store.registry.current_actor", lambda: ADA)
    monkeypatch.setattr("time.time", lambda: 1763683200.25)

    append_yank(paths, "cnn", "1.2.0", "wrong labels")

    assert paths.registry.read_bytes() == (
        b'{"time":1763683200.25,"event":"yanked","model":"cnn","version":"1.2.0","reason":"wrong labels",'
        b'"actor":{"user":"ada","host":"box1","pid":1},"checksum":"8422940083f146b1"}\n'
    )


def test_what_a_yank_takes_from_latest_goes_back_to_what_it_meant_before(paths: StorePaths) -> None:
    """Not to the highest version: somebody may have rolled back from that one for good reasons."""
    for version in ("1.0.0", "1.1.0", "1.2.0"):
        append_release(paths, line(version))
    append_latest(paths, "cnn", "1.0.0")
    append_release(paths, line("1.3.0"))

    append_yank(paths, "cnn", "1.3.0")
    assert read_registry(paths).latest("cnn") == "1.0.0"
    append_yank(paths, "cnn", "1.0.0")
    assert read_registry(paths).latest("cnn") == "1.2.0"


def test_where_all_is_yanked_latest_means_none_until_a_new_release(paths: StorePaths) -> None:
    append_release(paths, line("1.0.0"))
    append_yank(paths, "cnn", "1.0.0")

    read = read_registry(paths)
    assert (read.latest("cnn"), read.newest()) == (None, None)
    assert str(read.next_version("cnn")) == "1.1.0", "a yanked version is never released again"

    append_release(paths, line("1.1.0"))

    assert read_registry(paths).latest("cnn") == "1.1.0"


def test_an_alias_line_of_a_yanked_version_counts_for_nothing(paths: StorePaths) -> None:
    """Whoever wrote it, and whenever."""
    append_release(paths, line("1.0.0"))
    append_release(paths, line("1.1.0"))
    append_yank(paths, "cnn", "1.1.0")

    append_latest(paths, "cnn", "1.1.0")

    assert read_registry(paths).latest("cnn") == "1.0.0"


def test_the_newest_across_models_is_where_latest_moved_last(paths: StorePaths) -> None:
    append_release(paths, line("1.0.0"))
    append_release(paths, line("5.0.0", "other"))

    def newest() -> tuple[str, str]:
        release = read_registry(paths).newest()
        assert release is not None
        return release.model, release.version

    assert newest() == ("other", "5.0.0")
    append_latest(paths, "cnn", "1.0.0")
    assert newest() == ("cnn", "1.0.0")
    append_yank(paths, "cnn", "1.0.0")
    assert newest() == ("other", "5.0.0")


@pytest.mark.parametrize("append", [append_latest, append_yank])
def test_a_torn_change_counts_for_nothing_wherever_it_was_cut(
    paths: StorePaths, append: Callable[[StorePaths, str, str], None]
) -> None:
    append_release(paths, line("1.0.0"))
    append_release(paths, line("1.1.0"))
    before = paths.registry.read_bytes()
    append(paths, "cnn", "1.0.0")
    after = paths.registry.read_bytes()

    for size_bytes in range(len(before), len(after)):
        paths.registry.write_bytes(after[:size_bytes])
        read = read_registry(paths)
        assert (read.latest("cnn"), dict(read.yanks)) == ("1.1.0", {}), size_bytes
        append_release(paths, line("2.0.0"))
        assert read_registry(paths).latest("cnn") == "2.0.0"


def test_a_release_that_is_not_there_is_answered_with_those_that_are(paths: StorePaths) -> None:
    with pytest.raises(NotFound, match=r"no model 'cnn' is released here; there: none yet"):
        read_registry(paths).release("cnn", "1.0.0")
    append_release(paths, line("1.0.0"))
    append_release(paths, line("1.0.0", "other"))

    with pytest.raises(NotFound, match=r"cnn has no release 2\.0\.0; there: 1\.0\.0"):
        read_registry(paths).release("cnn", "2.0.0")
    with pytest.raises(NotFound, match=r"no model 'dog' is released here; there: cnn, other"):
        read_registry(paths).release("dog", "1.0.0")


def test_the_history_of_a_model_is_every_line_about_it_in_order(paths: StorePaths) -> None:
    append_release(paths, line("1.0.0"))
    append_release(paths, line("1.0.0", "other"))
    append_yank(paths, "cnn", "1.0.0", "wrong data")
    with paths.registry.open("a") as file:
        file.write("torn\n")

    history = read_history(paths, "cnn")

    assert [(done.event, done.version) for done in history] == [
        ("alias", "1.0.0"), ("released", "1.0.0"), ("yanked", "1.0.0"),
    ]  # fmt: skip
