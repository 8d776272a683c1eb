"""Alerts of a whole store, from the notices that a watch gathers; what was so when it began is old news."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from ckptop.store.alert_outbox import Outbox
from ckptop.store.alert_settings import AlertSettings
from ckptop.store.alerts import kind_of, make_alert
from ckptop.store.filling import DiskWatch
from ckptop.store.notices import Notice, StoreNotices


class StoreAlerts:
    """Tells whom the settings name; notices pass through."""

    def __init__(self, notices: StoreNotices, settings: AlertSettings, say: Callable[[str], object]) -> None:
        self._notices = notices
        self._outbox = Outbox(settings, say)
        self._disk = DiskWatch(notices.root, from_now=True)

    def hear(self, told: Iterable[Notice]) -> Iterator[Notice]:
        """The notices, and one more when the disk is filling."""
        for notice in told:
            self._disk.note(notice)
            self._tell(notice)
            yield notice
        low = self._disk.look(self._notices.live())
        if low is not None:
            self._tell(low)
            yield low

    def close(self) -> None:
        """Wait a few seconds at most for what is still to be delivered."""
        self._outbox.close()

    def _tell(self, notice: Notice) -> None:
        kind = kind_of(notice) if notice.is_news else None
        if kind is not None and self._outbox.wants(kind):
            self._outbox.put(make_alert(kind, notice, self._notices.head(notice.run)))
