"""How the list of runs is looked at: order, nesting, what is folded and hidden. Remembered from one day to the next."""

from __future__ import annotations

from dataclasses import dataclass, field

from ckptop.tui.sorting import SORTS


@dataclass(slots=True)
class RunOrder:
    """One of these for the list; changed by keys."""

    sort: int = 0
    """The column of `SORTS`."""
    reversed: bool = False
    grouped: bool = False
    """Whether the trials of a sweep stand under its best one."""
    folded: set[str] = field(default_factory=set)
    """Names of runs whose subordinates are not listed."""
    hidden: set[str] = field(default_factory=set)
    """Names of runs that are not listed."""
    shows_hidden: bool = False

    def next_sort(self) -> None:
        """Sort by the next column."""
        self.sort = (self.sort + 1) % len(SORTS)
        self.reversed = False
