"""The thread that looks at the store: woken by the change feed, or asked for another run, it posts snapshots.

What a person asks for is read at once. A lone change is read at once too, and a stream of them less often: a
screen that is written four times a second tells no more than one written once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ckptop.tui.look import Asked, Deed, StoreLook
from ckptop.tui.model import Snapshot, Verdict
from ckptop.tui.numpy_import import import_numpy

if TYPE_CHECKING:  # watchdog takes 30 ms to import
    from ckptop.store.feed import StoreFeed
    from ckptop.tui.sampling import HardwareSampler

LONE_SECONDS = 0.25
"""Least time between two looks."""
STREAM_SECONDS = 0.9
"""The same while changes keep coming."""
TICK_SECONDS = 2.0
"""A look so often without any change: at the hardware, and for states that time alone changes."""
SAFETY_SECONDS = 30.0
"""Everything is listed again so often, whatever the feed says."""

Post = Callable[[Snapshot], None]


class StoreReader:
    """Reads one store for one dashboard. `run` is the thread's; the rest may be called from any thread."""

    def __init__(
        self,
        store: Path,
        *,
        shown_as: str | None = None,
        clock: Callable[[], float] = time.time,
        sampler: HardwareSampler | None = None,
        watch: bool = True,
    ) -> None:
        """Nothing is read before `run`.

        Args:
            store: The store's root; it need not exist yet.
            shown_as: The path as the header shows it.
            clock: Seconds since the epoch.
            sampler: Of the hardware; one of this machine by default.
            watch: Whether to follow changes; without, `wake` tells of them.
        """
        self.look = StoreLook(store, shown_as or str(store), clock, sampler)
        self._watch = watch
        self._condition = threading.Condition()
        self._changed: set[str] = {""}
        self._selected: str | None = None
        self._visible: tuple[str, ...] = ()
        self._overlaid: tuple[str, ...] = ()
        self._verdicts: dict[str, dict[str, Verdict]] = {}
        self._deeds: list[Deed] = []
        self._is_asked = False
        self._is_stopped = False
        self._early: threading.Thread | None = None
        self._first: Snapshot | None = None
        self.look.is_hurried = lambda: self._is_asked or self._is_stopped

    def begin(self) -> None:
        """Start the first look in a thread of its own, for whoever has something else to do until `run`."""
        self._early = threading.Thread(target=self._look_early, name="first look", daemon=True)
        self._early.start()

    def _look_early(self) -> None:
        try:
            self._first = self.look.read(self._take(), with_logs=False)
        except Exception:  # noqa: BLE001  `run` looks again, and says what is wrong
            self.wake()

    def first(self, seconds: float) -> Snapshot | None:
        """What `begin` found; None where it found nothing within so many seconds, or was not called."""
        if self._early is not None:
            self._early.join(seconds)
        return self._first

    def wake(self, names: Iterable[str] = ("",)) -> None:
        """These runs changed; the empty name is the store itself."""
        with self._condition:
            self._changed.update(names)
            self._condition.notify()

    def want(self, selected: str | None, visible: Sequence[str], overlaid: Sequence[str] = ()) -> None:
        """The run to show in detail, those whose trends are on screen, and those whose curves lie over its own."""
        wanted = selected, tuple(visible), tuple(overlaid)
        with self._condition:
            if wanted != (self._selected, self._visible, self._overlaid):
                self._selected, self._visible, self._overlaid = wanted
                self._ask()

    def judge(self, run: str, found: Mapping[str, Verdict]) -> None:
        """What a verification found, by checkpoint key."""
        with self._condition:
            others = {name: known for name, known in self._verdicts.items() if self.look.knows(name)}
            self._verdicts = {**others, run: {**self._verdicts.get(run, {}), **found}}
            self._ask()

    def remember(self, deed: Deed) -> None:
        """Let what somebody did about the alerts be remembered."""
        with self._condition:
            self._deeds.append(deed)
            self._ask()

    def stop(self) -> None:
        """Let `run` return soon."""
        with self._condition:
            self._is_stopped = True
            self._condition.notify()

    @property
    def is_stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._is_stopped

    def _ask(self) -> None:
        self._is_asked = True
        self._condition.notify()

    def run(self, post: Post) -> None:
        """Look, post, wait, until `stop`; what cannot be read is said in the snapshot, never raised."""
        if self._early is not None:
            self._early.join()  # one thread looks at a time
        posted, self._first = self._first or self.look.read(self._take(), with_logs=False), None
        post(posted)  # the list first: NumPy takes its time to import
        if self.look.is_behind:  # the rest of the list, before any curve
            posted = self.look.read(self._take(), with_logs=False)
            post(posted)
        import_numpy()
        feed = self._start_feed()
        try:
            self._loop(post, posted)
        finally:
            if feed is not None:
                feed.stop()

    def _start_feed(self) -> StoreFeed | None:
        if not self._watch:
            return None
        from ckptop.store.feed import StoreFeed

        feed = StoreFeed(self.look.root, self.wake)
        self.look.why_unwatched = lambda: feed.problem
        feed.start()
        self.wake()  # what changed between the first look and now, nobody told
        return feed

    def _loop(self, post: Post, posted: Snapshot) -> None:
        looked_at = changed_at = tick_at = -TICK_SECONDS
        safe_until = time.monotonic() + SAFETY_SECONDS
        while not self._is_stopped:
            asked = self._take()
            now = time.monotonic()
            if now >= safe_until:
                asked, safe_until = asked.everything(), now + SAFETY_SECONDS
            if now >= tick_at:
                tick_at = now + TICK_SECONDS
                self.look.sample()
            snapshot = self.look.read(asked)
            if snapshot is not posted:
                posted = snapshot
                post(snapshot)
            self.look.keep_logs()
            in_stream = bool(asked.changed) and now - changed_at < 2 * STREAM_SECONDS
            looked_at, changed_at = now, now if asked.changed else changed_at
            self._wait(looked_at + (STREAM_SECONDS if in_stream else LONE_SECONDS), tick_at)

    def _take(self) -> Asked:
        with self._condition:
            changed, self._changed = frozenset(self._changed), set()
            deeds, self._deeds = tuple(self._deeds), []
            self._is_asked = False
            return Asked(changed, self._selected, self._visible, self._verdicts, self._overlaid, deeds)

    def _wait(self, next_look: float, tick_at: float) -> None:
        """Wait until something is to be done: at once what was asked for, changes not before `next_look`."""
        with self._condition:
            while not (self._is_stopped or self._is_asked or self.look.is_behind):
                # A tick waits for the look that changes ask for anyway: two looks would write the screen twice.
                until = next_look if self._changed else tick_at
                now = time.monotonic()
                if now >= until:
                    return
                self._condition.wait(until - now)
