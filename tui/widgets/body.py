"""What holds the panes of the main screen: placed by `tui.layout`, whatever the size."""

from __future__ import annotations

from textual.containers import Container
from textual.layout import Layout
from textual.widget import Widget

from ckptop.tui.layout import RegionLayout


class Body(Container):
    """The panes, placed by `tui.layout`."""

    def __init__(self, *children: Widget, id: str) -> None:  # noqa: A002  Textual's name
        super().__init__(*children, id=id)
        self.regions = RegionLayout()

    @property
    def layout(self) -> Layout:
        """Our own."""
        return self.regions
