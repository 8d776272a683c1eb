"""Palettes: readable on their ground, faithful to the theme, and without colour where none is wanted."""

from __future__ import annotations

from dataclasses import fields

import pytest
from rich.cells import cell_len
from rich.style import Style
from textual.color import Color
from textual.theme import BUILTIN_THEMES, Theme

from ckptop.tui.theme import (
    ANSI,
    CKPTOP_DARK,
    CKPTOP_LIGHT,
    GLYPHS,
    MONO,
    STATE_TOKENS,
    THEMES,
    Palette,
    palette_of,
)

TOKENS = [field.name for field in fields(Palette) if field.name not in ("overlays", "mono")]
TEXT = ["foreground", "muted", "accent", "value", "success", "warning", "error"]


def luminance(color: str) -> float:
    channels = [channel / 255 for channel in Color.parse(color).rgb]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", [theme for theme in THEMES if not theme.ansi], ids=lambda theme: theme.name)
def test_text_stands_out_from_every_ground_it_is_written_on(theme: Theme) -> None:
    palette = palette_of(theme)

    for token in TEXT:
        for ground in (palette.background, palette.panel, palette.cursor_row):
            assert contrast(palette.color(token), ground) >= 4.0, (token, ground)
    assert all(contrast(hue, palette.background) >= 3.0 for hue in palette.overlays)
    assert 1.4 <= contrast(palette.faint, palette.background) < contrast(palette.muted, palette.background)
    assert 1.4 <= contrast(palette.band, palette.background) < contrast(palette.accent, palette.background)


def test_our_themes_keep_their_shades_exactly() -> None:
    palette = palette_of(CKPTOP_DARK)

    assert (palette.foreground, palette.muted, palette.faint) == ("#d3dae3", "#8893a2", "#3b4553")
    assert (palette.accent, palette.value, palette.band) == ("#6cb6ff", "#f09a5b", "#2f5377")
    assert (palette.success, palette.warning, palette.error) == ("#7bc88f", "#e3cf6d", "#f07178")
    assert palette_of(CKPTOP_LIGHT).background == CKPTOP_LIGHT.background


@pytest.mark.parametrize("name", BUILTIN_THEMES)
@pytest.mark.parametrize("no_color", [False, True])
def test_any_theme_gives_a_style_for_every_token(name: str, no_color: bool) -> None:
    palette = palette_of(BUILTIN_THEMES[name], no_color=no_color)

    for token in (*TOKENS, "overlay0", "overlay12"):
        assert isinstance(palette.style(token), Style)


def test_mono_and_ansi_leave_the_colours_to_the_terminal() -> None:
    assert all(MONO.style(token).color is None for token in (*TOKENS, "overlay3"))
    assert MONO.style("accent").bold
    assert MONO.style("muted").dim
    assert MONO.style("cursor_row").reverse
    assert palette_of(BUILTIN_THEMES["ansi-dark"]) is ANSI


def test_an_unknown_token_is_an_error() -> None:
    with pytest.raises(AttributeError):
        MONO.color("mauve")


def test_glyphs_are_one_cell_wide_and_have_an_ascii_twin() -> None:
    for unicode, ascii_twin in GLYPHS.values():
        assert cell_len(unicode) == cell_len(ascii_twin) == 1
        assert ascii_twin.isascii()


def test_every_state_has_a_glyph_and_a_token() -> None:
    for state, token in STATE_TOKENS.items():
        assert state in GLYPHS
        assert token in TOKENS
