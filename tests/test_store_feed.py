"""The feed: every change is told, whatever inotify misses, and silence costs nothing."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from watchdog.observers.api import BaseObserver

from ckptop.host.mounts import Mount
from ckptop.store.events import append_event
from ckptop.store.feed import Mode, StoreFeed, changed_names
from ckptop.store.layout import RunPaths
from ckptop.store.scan import StoreScan

# watchdog warns when it watches a directory twice, which directories made in quick succession cause; as an error it
# would end watchdog's thread.
pytestmark = pytest.mark.filterwarnings("ignore:Callback with id:RuntimeWarning")

HANG_SECONDS = 30.0
"""A change is told long before this, or never."""


class Heard:
    """What a feed told; waits for a condition."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self._condition = threading.Condition()

    def __call__(self, names: frozenset[str]) -> None:
        with self._condition:
            self.names |= names
            self._condition.notify_all()

    def wait_for(self, name: str) -> None:
        with self._condition:
            assert self._condition.wait_for(lambda: name in self.names, HANG_SECONDS), f"{name!r} was not told"

    def clear(self) -> None:
        with self._condition:
            self.names.clear()


def wait_until(is_so: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(int(HANG_SECONDS / 0.01)):
        if is_so():
            return
        pause.wait(0.01)
    pytest.fail("did not come about")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "runs"


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def feeds() -> Iterator[list[StoreFeed]]:
    """Those put in are stopped at the end."""
    started: list[StoreFeed] = []
    yield started
    for feed in started:
        feed.stop()


@pytest.fixture
def start(root: Path, heard: Heard, feeds: list[StoreFeed]) -> Callable[..., StoreFeed]:
    def start(mode: Mode | None = "inotify", fast: float = 0.02, slow: float = 3600.0) -> StoreFeed:
        feed = StoreFeed(root, heard, mode=mode, fast_seconds=fast, slow_seconds=slow)
        feeds.append(feed)
        feed.start()
        if mode == "inotify" and root.exists():
            wait_until(lambda: feed.mode == "inotify")
        return feed

    return start


def make_run(root: Path, name: str) -> RunPaths:
    paths = RunPaths(root / name)
    paths.checkpoints.training.mkdir(parents=True)
    paths.record.write_text("{}")
    paths.metrics.write_text("")
    return paths


def append(path: Path) -> None:
    with path.open("a") as file:
        file.write("line\n")


@pytest.mark.parametrize("mode", ["inotify", "poll"])
def test_a_change_is_told_by_the_name_of_its_run(
    root: Path, heard: Heard, start: Callable[..., StoreFeed], mode: Mode
) -> None:
    one, other = make_run(root, "one"), make_run(root, "other")
    feed = start(mode)
    heard.clear()

    append(one.metrics)

    heard.wait_for("one")
    assert feed.mode == mode
    assert "other" not in heard.names
    append_event(other, "saved")
    heard.wait_for("other")


@pytest.mark.parametrize("mode", ["inotify", "poll"])
def test_files_renamed_into_place_and_removed_are_told(
    root: Path, heard: Heard, start: Callable[..., StoreFeed], mode: Mode
) -> None:
    paths = make_run(root, "one")
    staged, checkpoint = paths.root / ".status.tmp", paths.checkpoints.training / "a.pt"
    staged.write_text("{}")
    start(mode)

    for act in (lambda: staged.rename(paths.status), checkpoint.touch, checkpoint.unlink):
        heard.clear()
        act()
        heard.wait_for("one")


@pytest.mark.parametrize("mode", ["inotify", "poll"])
def test_runs_that_come_and_go_are_told_with_the_store(
    root: Path, heard: Heard, start: Callable[..., StoreFeed], mode: Mode
) -> None:
    root.mkdir()
    start(mode)

    paths = make_run(root, "new")
    heard.wait_for("new")
    heard.wait_for("")
    heard.clear()
    append(paths.metrics)
    heard.wait_for("new")
    heard.clear()
    shutil.rmtree(paths.root)

    heard.wait_for("new")
    heard.wait_for("")


@pytest.mark.parametrize("mode", ["inotify", "poll"])
def test_a_store_may_appear_later(root: Path, heard: Heard, start: Callable[..., StoreFeed], mode: Mode) -> None:
    feed = start(mode)

    paths = make_run(root, "first")

    heard.wait_for("first")
    wait_until(lambda: feed.mode == mode)
    heard.clear()
    append(paths.metrics)
    heard.wait_for("first")


def test_a_store_that_is_replaced_is_watched_anew(root: Path, heard: Heard, start: Callable[..., StoreFeed]) -> None:
    make_run(root, "old")
    start(slow=0.05)
    root.rename(root.with_name("away"))
    paths = make_run(root, "new")
    heard.wait_for("new")
    heard.clear()

    append(paths.metrics)

    heard.wait_for("new")


def test_what_changes_while_the_watch_is_set_up_is_told(
    root: Path, heard: Heard, start: Callable[..., StoreFeed], monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = make_run(root, "one")
    begin = BaseObserver.start

    def begin_late(self: BaseObserver) -> None:
        append(paths.metrics)  # before inotify listens
        begin(self)

    monkeypatch.setattr(BaseObserver, "start", begin_late)
    start()

    heard.wait_for("one")


def test_what_inotify_cannot_see_is_found_by_looking(root: Path, heard: Heard, start: Callable[..., StoreFeed]) -> None:
    """A linked run directory is not followed, as a directory beyond the watch limit is not watched."""
    outside = make_run(root.with_name("elsewhere"), "linked")
    root.mkdir()
    (root / "linked").symlink_to(outside.root)
    feed = start(slow=0.05)

    append(outside.metrics)
    heard.wait_for("linked")
    assert feed.mode == "inotify"
    for _ in range(3):
        heard.clear()
        append(outside.metrics)
        heard.wait_for("linked")

    assert feed.problem is None or "1 of the runs" in feed.problem


def test_a_run_that_is_missed_twice_is_looked_at_often(
    root: Path, heard: Heard, feeds: list[StoreFeed], monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = make_run(root.with_name("elsewhere"), "linked")
    root.mkdir()
    (root / "linked").symlink_to(outside.root)
    feed = StoreFeed(root, heard, mode="inotify", fast_seconds=1.0, slow_seconds=0.0)
    monkeypatch.setattr(feed._stopping, "wait", lambda _: None)  # looks are made by hand
    monkeypatch.setattr(feed._stopping, "is_set", lambda: True)
    feed.start()
    feed._thread.join()
    feed._look()
    pauses = []
    for _ in range(3):
        pauses.append(feed._pause_seconds())
        append(outside.metrics)
        feed._look()
    pauses.append(feed._pause_seconds())
    feed._unwatch()

    assert pauses == [0.0, 0.0, 1.0, 1.0]
    assert feed.problem is not None
    assert feed.problem.startswith("changes in 1 of the runs cannot be watched and are looked for every 1 s")


def test_a_change_that_was_found_by_looking_is_told_twice(
    root: Path, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another within the same tick of the file system's clock, at the same size, could not be found."""
    paths = make_run(root, "one")
    feed = StoreFeed(root, heard, mode="poll")
    monkeypatch.setattr(feed._stopping, "is_set", lambda: True)  # looks are made by hand
    feed.start()
    feed._thread.join()
    told = []
    feed._look()
    append(paths.metrics)

    for _ in range(3):
        heard.clear()
        feed._look()
        told.append("one" in heard.names)

    assert told == [True, True, False]


def test_a_used_up_limit_falls_back_to_looking(
    root: Path, heard: Heard, start: Callable[..., StoreFeed], monkeypatch: pytest.MonkeyPatch
) -> None:
    root.mkdir()

    def refuse(self: BaseObserver) -> None:
        raise OSError(errno.EMFILE, "inotify instance limit reached")

    monkeypatch.setattr(BaseObserver, "start", refuse)
    feed = start(mode=None)
    wait_until(lambda: feed.problem is not None)

    make_run(root, "one")

    heard.wait_for("one")
    assert feed.mode == "poll"
    assert feed.problem == "the store is looked at every 0.02 s, not watched: inotify instance limit reached"


@pytest.mark.parametrize(("is_network", "mode"), [(True, "poll"), (False, "inotify")])
def test_network_mounts_are_polled(
    root: Path,
    heard: Heard,
    start: Callable[..., StoreFeed],
    monkeypatch: pytest.MonkeyPatch,
    is_network: bool,
    mode: Mode,
) -> None:
    monkeypatch.setattr(
        "ckptop.store.feed.mount_of", lambda _: Mount(Path("/"), "nfs4", is_network=is_network, read_only=False)
    )
    root.mkdir()
    feed = start(mode=None)

    make_run(root, "one")

    heard.wait_for("one")
    wait_until(lambda: feed.mode == mode)
    assert feed.problem is None


def test_reading_a_store_is_no_change(root: Path, heard: Heard, start: Callable[..., StoreFeed]) -> None:
    """Else a viewer that reads on every change would never rest."""
    paths = make_run(root, "one")
    make_run(root, "marker")
    start()
    heard.clear()

    for _ in range(10):
        paths.metrics.read_bytes()
        list(paths.checkpoints.training.iterdir())
    append(root / "marker" / "metrics.jsonl")
    heard.wait_for("marker")

    assert heard.names == {"marker"}


def test_nothing_is_told_after_stopping(root: Path, heard: Heard, start: Callable[..., StoreFeed]) -> None:
    paths = make_run(root, "one")
    feed = start()
    feed.stop()
    heard.clear()

    append(paths.metrics)

    assert not [thread for thread in threading.enumerate() if thread.name == "store-feed"]
    assert heard.names == set()
    assert feed.mode == "poll"


def test_a_feed_that_never_started_can_be_stopped(root: Path, heard: Heard) -> None:
    StoreFeed(root, heard).stop()


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("", {""}),
        ("/digits", {"digits", ""}),
        ("/digits/metrics.jsonl", {"digits"}),
        ("/digits/checkpoints/training/a.pt", {"digits"}),
        ("/digits/tensorboard/events.out", set()),
        ("/digits/control/1-0a.json", set()),
        ("/digits/checkpoints/.staging/x", set()),
        ("/digits/.status.json.1.tmp", set()),
        ("/production/registry.jsonl", {""}),
        ("/metadata/model_cards/v1.0.0.json", {""}),
        ("/training/a.pt", {"training", ""}),
        ("/.trash/1/a.pt", {""}),
        ("/.hidden/file", set()),
        ("/README", {"README", ""}),
    ],
)
def test_a_path_belongs_to_a_run_or_to_the_store(path: str, names: set[str]) -> None:
    assert changed_names(f"/store{path}", "/store") == names


def test_a_scan_tells_runs_that_changed_of_late(root: Path) -> None:
    old, live = make_run(root, "old"), make_run(root, "live")
    for path in [*old.root.rglob("*"), old.root]:
        os.utime(path, (1.0, 1.0))
    scan = StoreScan(root)

    first = scan.everything()
    quiet = scan.everything()
    recent = scan.recent()
    append(old.metrics)

    assert first == {"", "old", "live"}
    assert quiet == set()
    assert recent == {"live"}
    assert scan.look({"old", "live"}) == {"old"}
    assert scan.recent() == {"old", "live"}
    shutil.rmtree(live.root)
    assert scan.everything() == {"", "live"}


def test_a_vanished_store_is_a_change(root: Path) -> None:
    make_run(root, "one")
    scan = StoreScan(root)
    scan.everything()

    shutil.rmtree(root)

    assert scan.everything() == {"", "one"}
