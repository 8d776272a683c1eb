"""Colours, glyphs and their tokens: the only place of the dashboard where a colour is spelled out.

Widgets that draw cells themselves cannot use CSS variables, so a theme is resolved once, when it changes,
into a `Palette`. Drawing code speaks of tokens ("muted", "accent", "overlay2") and never of colours; a
token becomes a Rich style here. The two themes of our own pin every shade; any other Textual theme works
too, its missing shades mixed from foreground, primary and background.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from rich.style import Style
from textual.color import Color
from textual.theme import BUILTIN_THEMES, Theme

OKABE_ITO = ("#e69f00", "#56b4e9", "#009e73", "#cc79a7", "#d55e00", "#0072b2", "#f0e442")
"""Hues that stay apart for colour-blind readers; yellow last, it is faint on a light ground."""

CKPTOP_DARK = Theme(
    name="ckptop-dark",
    primary="#6cb6ff",
    secondary="#f09a5b",
    accent="#6cb6ff",
    success="#7bc88f",
    warning="#e3cf6d",
    error="#f07178",
    foreground="#d3dae3",
    background="#10141a",
    surface="#10141a",
    panel="#1b222c",
    dark=True,
    variables={
        "foreground-muted": "#8893a2",
        "foreground-disabled": "#3b4553",
        "primary-muted": "#1b3048",
        "ckptop-band": "#2f5377",
    },
)

CKPTOP_LIGHT = Theme(
    name="ckptop-light",
    primary="#0b5cad",
    secondary="#a8480f",
    accent="#0b5cad",
    success="#1f7a3d",
    warning="#7d6000",
    error="#b3261e",
    foreground="#1c2430",
    background="#fbfcfd",
    surface="#fbfcfd",
    panel="#e9edf2",
    dark=False,
    variables={
        "foreground-muted": "#566273",
        "foreground-disabled": "#bcc5d0",
        "primary-muted": "#d7e6f7",
        "ckptop-band": "#a3c5e8",
    },
)

CKPTOP_MONO = Theme(
    name="ckptop-mono",
    primary="ansi_default",
    secondary="ansi_default",
    accent="ansi_default",
    success="ansi_default",
    warning="ansi_default",
    error="ansi_default",
    foreground="ansi_default",
    background="ansi_default",
    surface="ansi_default",
    panel="ansi_default",
    boost="ansi_default",
    dark=True,
    ansi=True,
    variables=BUILTIN_THEMES["ansi-dark"].variables,
)
"""Bold, dim and reverse alone, in the two colours of the terminal, whatever these are."""

THEMES = (CKPTOP_DARK, CKPTOP_LIGHT, CKPTOP_MONO)
"""The themes an app registers at start."""

_Hues = tuple[str, str, str, str, str]

HUES: dict[str, tuple[_Hues, _Hues]] = {
    "red-green": (
        ("#6cb6ff", "#e69f00", "#35b597", "#f0e442", "#f0763a"),
        ("#0b5cad", "#8a5a00", "#00735a", "#6e6300", "#b34a00"),
    ),
    "blue-yellow": (
        ("#4fb8c4", "#f07178", "#4fb8c4", "#e0c4ff", "#ff5c57"),
        ("#006d77", "#b3261e", "#006d77", "#6a4c93", "#b3261e"),
    ),
}
"""For readers who do not tell red from green, or blue from yellow: training, validation and the three states, on a
dark ground and on a light one. The first are Okabe and Ito's; the second differ by red and teal, and by lightness."""


def recoloured(theme: Theme, palette: str) -> Theme:
    """`theme` with the hues of a palette of `HUES`; as it is with any other, or where the terminal has the colours."""
    if palette not in HUES or theme.ansi:
        return theme
    primary, secondary, success, warning, error = HUES[palette][not theme.dark]
    kept = {name: value for name, value in theme.variables.items() if primary == theme.primary or "primary" not in name}
    if primary != theme.primary:
        kept.pop("ckptop-band", None)
    return replace(
        theme, primary=primary, accent=primary, secondary=secondary, success=success, warning=warning, error=error,
        variables=kept,
    )  # fmt: skip


GLYPHS: dict[str, tuple[str, str]] = {
    "running": ("●", "*"),
    "starting": ("○", "o"),
    "paused": ("‖", "="),
    "stalled": ("◌", "~"),
    "stopped": ("■", "-"),
    "finished": ("✓", "+"),
    "crashed": ("✗", "x"),
    "failed": ("✗", "x"),
    "unknown": ("?", "?"),
    "unreadable": ("?", "?"),
    "best": ("★", "*"),
    "milestone": ("◆", "#"),
    "checkpoint": ("┴", "'"),
    "marked": ("•", ">"),
    "alert": ("▲", "!"),
}
"""Unicode and ASCII glyph of each state and mark, one cell wide."""

STATE_TOKENS: dict[str, str] = {
    "running": "success",
    "starting": "success",
    "paused": "warning",
    "stalled": "warning",
    "stopped": "muted",
    "finished": "muted",
    "crashed": "error",
    "failed": "error",
    "unknown": "muted",
    "unreadable": "error",
}
"""Colour token of each state; never the only signal, its glyph and word stand beside."""


@dataclass(frozen=True, slots=True)
class Palette:
    """Every colour the dashboard draws with, as Rich understands it ("#8893a2", "blue", "default")."""

    foreground: str
    muted: str
    """Labels and routine."""
    faint: str
    """Rules and grid lines."""
    accent: str
    """Focus, progress, and everything measured in training."""
    value: str
    """Everything measured in validation."""
    success: str
    warning: str
    error: str
    band: str
    """Range between minimum and maximum, under the curve of `accent`."""
    cursor_row: str
    """Ground under the focused pane's cursor."""
    background: str
    panel: str
    """Ground of header, footer and the cursor of a pane without focus."""
    overlays: tuple[str, ...] = OKABE_ITO
    """Hues of overlaid runs, "overlay0" first."""
    mono: bool = False
    """True where the terminal shows no colour: bold, dim and reverse carry the meaning."""

    def color(self, token: str) -> str:
        """Colour of `token`: a field's name, or "overlayN", which wraps around.

        Raises:
            AttributeError: No such token.
        """
        if (number := token.removeprefix("overlay")).isdecimal():
            return self.overlays[int(number) % len(self.overlays)]
        color: str = getattr(self, token)
        return color

    def style(self, token: str) -> Style:
        """Rich style that draws text in `token`, on whatever ground the widget has."""
        color = self.color(token)
        if not self.mono:
            return Style(color=color)
        return Style(
            bold=token in _MONO_BOLD or None,
            dim=token in _MONO_DIM or None,
            reverse=token in _MONO_REVERSE or None,
        )


_MONO_BOLD = frozenset({"accent", "warning", "error", "overlay0", "overlay2", "overlay4"})
_MONO_DIM = frozenset({"muted", "faint", "band"})
_MONO_REVERSE = frozenset({"cursor_row"})

MONO = Palette(
    foreground="default",
    muted="default",
    faint="default",
    accent="default",
    value="default",
    success="default",
    warning="default",
    error="default",
    band="default",
    cursor_row="default",
    background="default",
    panel="default",
    overlays=("default",),
    mono=True,
)
"""For NO_COLOR and terminals without colour."""

ANSI = Palette(
    foreground="default",
    muted="bright_black",
    faint="bright_black",
    accent="blue",
    value="yellow",
    success="green",
    warning="yellow",
    error="red",
    band="bright_black",
    cursor_row="bright_black",
    background="default",
    panel="default",
    overlays=("yellow", "cyan", "green", "magenta", "red", "blue"),
)
"""For Textual's ansi themes, which leave the shades to the terminal."""


def palette_of(app_theme: Theme, *, no_color: bool = False) -> Palette:
    """Resolve a Textual theme, ours or any other, into the colours that cells are drawn with.

    Args:
        app_theme: `App.current_theme`.
        no_color: `App.no_color`; true gives `MONO`.
    """
    if no_color or app_theme.name == CKPTOP_MONO.name:
        return MONO
    if app_theme.ansi:
        return ANSI
    named = app_theme.to_color_system().generate()
    # The generated shades went through HSL and are off by one here and there: the theme's own words win.
    named |= {name: value for name in _BASE if (value := getattr(app_theme, name)) is not None}
    named |= app_theme.variables
    ground = Color.parse(named["background"])
    band = Color.parse(named["primary"]).blend(ground, 0.6)

    def shade(name: str) -> str:
        color = Color.parse(named.get(name, band.hex))
        # Textual's muted shades are translucent: the ground is mixed in, for cells know no alpha.
        return ground.blend(color, color.a, 1.0).hex.lower()

    return Palette(
        foreground=shade("foreground"),
        muted=shade("foreground-muted"),
        faint=shade("foreground-disabled"),
        accent=shade("primary"),
        value=shade("secondary"),
        success=shade("success"),
        warning=shade("warning"),
        error=shade("error"),
        band=shade("ckptop-band"),
        cursor_row=shade("primary-muted"),
        background=shade("background"),
        panel=shade("panel"),
        overlays=OKABE_ITO if app_theme.dark else _darkened(OKABE_ITO),
    )


_BASE = ("primary", "secondary", "success", "warning", "error", "foreground", "background", "panel")


def _darkened(colors: tuple[str, ...]) -> tuple[str, ...]:
    # Okabe and Ito chose fills; as thin lines on white the light ones need a third less light.
    return tuple(Color.parse(color).blend(Color(0, 0, 0), 0.35).hex.lower() for color in colors)
