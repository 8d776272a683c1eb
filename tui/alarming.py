"""What the main screen does about alerts: one toast for what is new, and what a person does is remembered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ckptop.tui import text
from ckptop.tui.front import Front, counted
from ckptop.tui.theme import GLYPHS

if TYPE_CHECKING:
    from ckptop.tui.alert_memory import Remembered
    from ckptop.tui.alert_rows import Alerts
    from ckptop.tui.look import Deed
    from ckptop.tui.model import Snapshot


class Alarming:
    """The alerts of one main screen."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._alerts: Alerts | None = None
        self._told: set[str] = set()
        """Keys of alerts that were said."""

    def take(self, snapshot: Snapshot | None, *, is_listed: bool) -> None:
        """Say what is new, once, where the list itself is not on screen."""
        alerts = snapshot.alerts if snapshot is not None else None
        if alerts is None or alerts is self._alerts:
            return
        self._alerts = alerts
        new = [row for row in alerts.rows if row.found and row.is_new and row.key not in self._told]
        self._told = {row.key for row in alerts.rows if row.key in self._told} | {row.key for row in new}
        if not new or is_listed:
            return
        if len(new) == 1:
            row = new[0]
            said = f"{GLYPHS['alert'][text.ASCII_ONLY]} {row.label}: {row.message}. 8 lists alerts."
        else:
            said = f"{GLYPHS['alert'][text.ASCII_ONLY]} {counted(len(new), 'new alert')}. 8 lists them."
        self._front.say(said, "error" if any(row.tone == "error" for row in new) else "warning")

    def looked(self) -> None:
        """Nothing on the list is new any more."""
        from ckptop.tui.alert_book import seen

        self._front.reader.remember(seen)

    def dismiss(self, keys: tuple[str, ...], *, back: bool) -> None:
        """Take alerts off the list, or put them back."""
        self._front.reader.remember(_deed(keys, back=back))
        what = counted(len(keys), "alert")
        self._front.say(f"{what} back on the list." if back else f"Dismissed {what}. u undoes.")


def _deed(keys: tuple[str, ...], *, back: bool) -> Deed:
    def change(memory: Remembered, _alerts: Alerts) -> Remembered:
        for key in keys:
            memory = memory.without(key) if back else memory.with_dismissed(key)
        return memory

    return change
