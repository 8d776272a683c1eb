"""Lines, bars and sparklines as plain data, and the cells a repaint sends."""

from __future__ import annotations

import pytest
from rich.console import Console
from textual.strip import Strip

from ckptop.tui.ascii_art import TO_ASCII, wants_ascii
from ckptop.tui.text import (
    Line,
    Span,
    bar,
    changed_span,
    clipped,
    folded,
    pad,
    pad_left,
    plain,
    sparkline,
    spread,
    thinned,
    to_strip,
    width_of,
)
from ckptop.tui.theme import CKPTOP_DARK, GLYPHS, MONO, palette_of
from ckptop.tui.tight_update import render_cells

DARK = palette_of(CKPTOP_DARK)


def strip_of(text: str, width: int = 20) -> Strip:
    return to_strip(Line((Span(text),)), width, DARK)


def test_a_strip_is_exactly_as_wide_as_asked() -> None:
    assert strip_of("short").cell_length == 20
    assert strip_of("much too long for this line").cell_length == 20


def test_a_wide_character_is_never_cut_in_half() -> None:
    strip = strip_of("名前名前名前名前名前名前", 7)

    assert strip.cell_length == 7
    assert strip.text.count("名") + strip.text.count("前") == 3


def test_only_the_cells_that_differ_are_named() -> None:
    assert changed_span(strip_of("step 1,488"), strip_of("step 1,489")) == (9, 10)


def test_equal_strips_have_no_changed_span() -> None:
    assert changed_span(strip_of("the same"), strip_of("the same")) is None


def test_a_colour_alone_is_a_change() -> None:
    before = to_strip(Line((Span("a"), Span("b"))), 2, DARK)
    after = to_strip(Line((Span("a"), Span("b", "error"))), 2, DARK)

    assert changed_span(before, after) == (1, 2)


def test_behind_a_wide_character_cells_are_counted_not_characters() -> None:
    assert changed_span(strip_of("名 1"), strip_of("名 2")) == (3, 4)


@pytest.mark.parametrize(
    ("fraction", "drawn"),
    [(0.0, "────"), (0.5, "━━──"), (0.62, "━━╸─"), (1.0, "━━━━"), (0.001, "╸───"), (7.0, "━━━━"), (-1.0, "────")],
)
def test_a_bar_fills_in_half_cells_and_anything_above_nothing_shows(fraction: float, drawn: str) -> None:
    assert plain(Line(bar(fraction, 4))) == drawn


def test_a_sparkline_takes_two_values_a_cell_from_bottom_to_top() -> None:
    assert sparkline([0.0, 1.0]) == chr(0x2800 | 0x40 | 0x08)
    assert len(sparkline([1.0, 2.0, 3.0])) == 2


def test_a_sparkline_of_equal_values_lies_at_the_bottom() -> None:
    assert sparkline([5.0, 5.0]) == chr(0x2800 | 0x40 | 0x80)


def test_padding_counts_cells() -> None:
    assert pad("名", 4) == "名  "
    assert pad_left("名", 4) == "  名"


def test_the_right_end_of_a_line_goes_where_both_do_not_fit() -> None:
    left, right = [Span("left")], [Span("right")]

    assert plain(Line(spread(left, right, 12))) == "left   right"
    assert plain(Line(spread(left, right, 8))) == "left"
    assert width_of(spread(left, right, 12)) == 12


def test_every_shape_has_one_ascii_character() -> None:
    shapes = "━─╸┈▌▸◂└·…—–°←→↑↓" + "".join(unicode for unicode, _ in GLYPHS.values()) + chr(0x28FF)

    drawn = shapes.translate(TO_ASCII)

    assert drawn.isascii()
    assert len(drawn) == len(shapes)


@pytest.mark.parametrize(
    ("environ", "ascii_only"),
    [
        ({}, False),
        ({"LANG": "C"}, False),
        ({"LANG": "en_US.UTF-8"}, False),
        ({"LC_ALL": "de_DE.utf8@euro", "LANG": "x.ISO-8859-1"}, False),
        ({"LANG": "en_US.ISO-8859-1"}, True),
        ({"LANG": "en_US.UTF-8", "CKPTOP_ASCII": "1"}, True),
    ],
)
def test_ascii_is_drawn_where_asked_for_or_where_the_locale_knows_no_more(
    environ: dict[str, str], ascii_only: bool
) -> None:
    assert wants_ascii(environ) is ascii_only


def test_without_colour_the_cursor_row_is_reversed() -> None:
    strip = to_strip(Line((Span("row"),), "cursor_row"), 5, MONO)

    assert all(segment.style is not None and segment.style.reverse for segment in strip)


@pytest.mark.parametrize("system", ["truecolor", "256", "standard", None])
def test_cells_are_written_with_each_colour_once(system: str | None) -> None:
    strip = to_strip(Line((Span("a", "error"), Span("b", "error"), Span("c"))), 3, DARK)
    console = Console(color_system=system, force_terminal=True)  # type: ignore[arg-type]  # one of Rich's words

    written = render_cells(strip, console)

    assert "ab" in written
    assert written.count("\x1b[m") == (2 if system is not None else 0)


def test_a_thinned_trend_keeps_both_ends_and_no_more_than_asked() -> None:
    """A trend without its beginning makes the last wiggle look like the whole story."""
    kept = thinned([float(value) for value in range(16)], 12)

    assert (kept[0], kept[-1], len(kept)) == (0.0, 15.0, 12)
    assert list(kept) == sorted(kept)


@pytest.mark.parametrize(
    ("text", "rows"), [("", [""]), ("abcdef", ["abc", "def"]), ("a漢字b", ["a漢", "字b"]), ("漢", ["漢"])]
)
def test_a_text_is_folded_wherever_its_row_ends(text: str, rows: list[str]) -> None:
    assert folded(text, 3) == rows


@pytest.mark.parametrize(("first", "shown"), [(0, "a漢"), (1, "漢字"), (2, "字b"), (5, "b")])
def test_a_character_that_would_be_cut_in_two_is_left_out(first: int, shown: str) -> None:
    assert clipped("a漢字b", first, 4) == shown
