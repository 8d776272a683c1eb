"""The base of every pane: lines in, changed cells out.

Textual repaints the region that it is asked for and never compares it with the screen. So the comparison is
here: a repaint composes the visible lines anew, which is cheap, and asks for the spans that differ.
"""

from __future__ import annotations

from typing import ClassVar

from textual.geometry import Region, Size
from textual.strip import Strip
from textual.widget import Widget

from ckptop.tui.text import Line, changed_span, to_strip
from ckptop.tui.theme import Palette, palette_of


class Lines(Widget):
    """A widget made of lines; subclasses say what they are in `compose_lines`."""

    GROUND: ClassVar[str] = "background"
    """Tone behind every line that has none of its own."""

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:  # noqa: A002  Textual's name
        super().__init__(id=id, classes=classes)
        self._lines: list[Line] = []
        self._strips: list[Strip] = []
        self._painted_for: tuple[Size, Palette] | None = None

    def compose_lines(self, size: Size) -> list[Line]:
        """The lines to show, from the top; what is missing stays blank, what is too much is dropped."""
        raise NotImplementedError

    def repaint(self) -> None:
        """Show what `compose_lines` says now, sending only the cells that differ."""
        if not self.is_mounted or self._painted_for is None:
            return  # the first paint is still to come and will ask for all
        size, palette = self._painted_for
        if size != self.size:
            self.refresh()
            return
        old_lines, old_strips = self._lines, self._strips
        self._lines = self._composed(size)
        self._strips = [
            old_strips[y] if line == old_lines[y] else to_strip(line, size.width, palette, self.GROUND)
            for y, line in enumerate(self._lines)
        ]
        regions = [
            Region(span[0], y, span[1] - span[0], 1)
            for y, strip in enumerate(self._strips)
            if strip is not old_strips[y] and (span := changed_span(old_strips[y], strip)) is not None
        ]
        if regions:
            self.refresh(*regions)

    def render_line(self, y: int) -> Strip:
        """One line of the widget, composed anew only where its size or the colours changed."""
        key = (self.size, palette_of_app(self))
        if self._painted_for != key:
            self._painted_for = key
            self._lines = self._composed(self.size)
            self._strips = [to_strip(line, self.size.width, key[1], self.GROUND) for line in self._lines]
        return self._strips[y] if y < len(self._strips) else Strip.blank(self.size.width)

    def watch_has_focus(self, _has_focus: bool) -> None:
        """Redraw what tells where the keys go."""
        super().watch_has_focus(_has_focus)
        self.repaint()

    @property
    def lines(self) -> list[Line]:
        """The lines as painted last."""
        return self._lines

    def _composed(self, size: Size) -> list[Line]:
        lines = self.compose_lines(size)[: size.height] if size.width else []
        return lines + [Line()] * (size.height - len(lines))


_palettes: dict[tuple[str, bool, str], Palette] = {}


def palette_of_app(widget: Widget) -> Palette:
    """The colours of the theme in use, resolved once a theme."""
    app = widget.app
    key = (app.theme, app.no_color, getattr(app, "hues", ""))  # an app of a test has none
    if key not in _palettes:
        _palettes[key] = palette_of(app.current_theme, no_color=app.no_color)
    return _palettes[key]
