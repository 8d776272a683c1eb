"""The settings file, checked with file and line; keys, themes, palettes and markers that it changes; what is kept."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from dashboard import TASKS, Dashboard, StillSampler
from pilot import wait_for
from store_fixture import RunPlan, build_store
from textual.theme import BUILTIN_THEMES

from ckptop.store.errors import UsageError
from ckptop.tui import text
from ckptop.tui.app import THEME_NAMES, CkptopApp
from ckptop.tui.ascii_art import TO_QUADRANTS, marker_of
from ckptop.tui.keymap import what_is_wrong
from ckptop.tui.memory import Layout, layout_path, read_layout, write_layout
from ckptop.tui.reader import StoreReader
from ckptop.tui.screens.main import HINT
from ckptop.tui.settings import Settings, read_settings, settings_path
from ckptop.tui.start import run_dashboard
from ckptop.tui.theme import CKPTOP_DARK, CKPTOP_LIGHT, CKPTOP_MONO, HUES, MONO, palette_of, recoloured


def never(_: Mapping[str, str]) -> tuple[str, str] | None:
    raise AssertionError("no key is changed")


def settings_of(tmp_path: Path, content: str) -> Settings:
    path = tmp_path / "settings.toml"
    path.write_text(content)
    return read_settings(path, themes=THEME_NAMES, check_keys=what_is_wrong)


# The file.


def test_without_a_file_everything_is_as_it_comes(tmp_path: Path) -> None:
    assert read_settings(tmp_path / "none.toml", themes=THEME_NAMES, check_keys=never) == Settings()


def test_the_file_stands_where_the_desktop_says(tmp_path: Path) -> None:
    assert settings_path({"XDG_CONFIG_HOME": str(tmp_path)}) == tmp_path / "ckptop" / "settings.toml"
    assert settings_path({"XDG_CONFIG_HOME": "relative"}) == Path.home() / ".config" / "ckptop" / "settings.toml"


def test_everything_can_be_set_at_once(tmp_path: Path) -> None:
    found = settings_of(
        tmp_path,
        """
        theme = "ckptop-light"
        palette = "red-green"
        markers = "quadrants"
        mouse = false
        [keys]
        "runs.resume" = "R"
        runs.hide = "ctrl+h, Z"
        "registry.roll-back" = "ctrl+b"
        main.log = "ctrl+l"
        """,
    )

    assert found == Settings(
        theme="ckptop-light", palette="red-green", markers="quadrants", mouse=False,
        keys={"runs.resume": "R", "runs.hide": "ctrl+h,Z", "registry.roll-back": "ctrl+b", "main.log": "ctrl+l"},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('\ntheem = "x"', "line 2: 'theem' is no setting; did you mean 'theme'?"),
        ('mouse = true\ntheme = "ckptop-drak"', "line 2: 'ckptop-drak' is no theme; did you mean 'ckptop-dark'?"),
        ('palette = "green"', "line 1: 'green' is no palette; did you mean 'red-green'?"),
        ("markers = 3", "line 1: '3' is no marker; there are ascii, auto, braille, quadrants"),
        ('mouse = "yes"', "line 1: mouse must be true or false"),
        ("keys = 1", "line 1: keys must be a table"),
        ("[keys]\n# a comment\nruns.resume = 3", "line 3: runs.resume must be a key in quotes"),
        ('[keys]\n"runs.resum" = "R"', "line 2: 'runs.resum' is no binding; did you mean 'runs.resume'?"),
        ('[keys]\nruns.resume = "F99x"', "line 2: 'F99x' is no key"),
        ('[keys.runs]\nresume = "j"', "line 2: 'j' is the key of move.down already"),
        ('[keys]\nruns.resume = "q"', "line 2: 'q' is the key of app.quit already"),
        ('[keys]\napp.suspend = "Z"', "line 2: 'Z' is no key for app.suspend, which works in text fields too"),
        ('[keys]\ntrash.leave = "ctrl+z"', "line 2: 'Ctrl-Z' is the key of app.suspend already"),
        ('[keys]\nruns.resume = "?"', "line 2: '?' is the key of main.help already"),
        ('[keys]\nlog.follow = "6"', "line 2: '6' is the key of main.log already"),
        ('[keys]\nruns.resume = "Z"\nruns.promote = "Z"', "is the key of runs."),
        ("\ntheme = ", " line 2: Invalid value"),
        ("theme = x", " line 1, column 9: Invalid value"),
    ],
)
def test_what_is_wrong_is_named_with_its_line_and_the_nearest_name(tmp_path: Path, content: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        settings_of(tmp_path, content)

    assert str(caught.value).startswith(f"{tmp_path}/settings.toml")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_of_odd_bytes_is_named(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_bytes(b"\xff\xfe")

    with pytest.raises(UsageError, match=r"settings\.toml: "):
        read_settings(path, themes=THEME_NAMES, check_keys=never)


def test_the_dashboard_does_not_open_on_a_wrong_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    settings_path().parent.mkdir()
    settings_path().write_text("colour = true")

    with pytest.raises(UsageError, match="'colour' is no setting") as caught:
        run_dashboard(tmp_path / "runs")

    assert caught.value.exit_code == 2


def test_two_keys_may_change_places(tmp_path: Path) -> None:
    assert settings_of(tmp_path, '[keys]\nruns.resume = "x"\nruns.control = "r"').keys["runs.control"] == "r"


async def test_a_changed_key_works_and_stands_in_footer_and_help(tmp_path: Path) -> None:
    store = build_store(tmp_path / "runs", [RunPlan(name="mine", phase="stopped")])
    async with opened(store, settings=Settings(keys={"runs.control": "X", "main.help": "ctrl+h"})) as dashboard:
        assert "X Control" in dashboard.text("#footer")
        assert "Ctrl-H Help" in dashboard.text("#footer")

        await dashboard.press("ctrl+h")
        await dashboard.until(lambda: "Ctrl-H" in dashboard.text("#keys"), "the help with the new key")


# Themes, palettes, markers.


def test_the_monochrome_theme_has_no_colour_of_its_own() -> None:
    assert palette_of(CKPTOP_MONO) is MONO


@pytest.mark.parametrize("palette", HUES)
@pytest.mark.parametrize("theme", [CKPTOP_DARK, CKPTOP_LIGHT], ids=["dark", "light"])
def test_the_hues_of_a_palette_can_be_read_on_their_ground(palette: str, theme: object) -> None:
    from textual.color import Color
    from textual.theme import Theme

    assert isinstance(theme, Theme)
    shades = palette_of(recoloured(theme, palette))
    ground = Color.parse(shades.background)

    for token in ("accent", "value", "success", "warning", "error"):
        color = Color.parse(shades.color(token))
        assert ground.get_contrast_text().rgb != ground.rgb
        assert contrast(color.rgb, ground.rgb) >= 4.5, token
    assert len({shades.accent, shades.value}) == 2
    assert len({shades.success, shades.warning, shades.error}) == 3


def contrast(one: tuple[int, int, int], other: tuple[int, int, int]) -> float:
    """As WCAG counts it; 4.5 reads well."""

    def light(rgb: tuple[int, int, int]) -> float:
        parts = [(part / 255) / 12.92 if part <= 10 else (((part / 255) + 0.055) / 1.055) ** 2.4 for part in rgb]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    brighter, darker = sorted((light(one), light(other)), reverse=True)
    return (brighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("name", ["ckptop-dark", "ckptop-light", "nord"])
def test_each_theme_is_painted_in_the_hues_that_were_set(tmp_path: Path, name: str) -> None:
    app = CkptopApp(StoreReader(tmp_path), lambda: TASKS, settings=Settings(palette="red-green"))

    theme = app.get_theme(name)

    assert theme is not None
    assert theme.primary == HUES["red-green"][not theme.dark][0]


def test_a_theme_of_the_terminals_own_colours_keeps_them() -> None:
    assert recoloured(BUILTIN_THEMES["ansi-dark"], "red-green") is BUILTIN_THEMES["ansi-dark"]


@pytest.mark.parametrize(
    ("environ", "marker"),
    [
        ({"TERM": "xterm-256color", "LANG": "C.UTF-8"}, "braille"),
        ({"TERM": "putty-256color", "LANG": "C.UTF-8"}, "hd"),
        ({"TERM": "linux", "LANG": "C.UTF-8"}, "ascii"),
        ({"TERM": "xterm", "LANG": "de_DE.ISO-8859-1"}, "ascii"),
        ({"TERM": "xterm", "CKPTOP_ASCII": "1"}, "ascii"),
    ],
)
def test_curves_are_as_fine_as_the_terminal_can_show(environ: dict[str, str], marker: str) -> None:
    assert marker_of(environ) == marker


def test_in_quadrants_a_trend_has_no_braille(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "MARKER", "hd")
    monkeypatch.setattr(text, "ASCII_ONLY", False)

    assert text.drawable("⣀⠤⠒⠉ abc ●") == "▄▄▀▀ abc ●"
    assert len(TO_QUADRANTS) == 256


# What is kept.


def opened(store: Path, **arguments: object):  # type: ignore[no-untyped-def]  # an async context manager
    from contextlib import asynccontextmanager

    @asynccontextmanager
    async def manager():  # type: ignore[no-untyped-def]
        reader = StoreReader(store, shown_as="./runs", sampler=StillSampler(), watch=False)
        app = CkptopApp(reader, lambda: TASKS, **arguments)  # type: ignore[arg-type]
        async with app.run_test(size=(120, 40), notifications=True) as pilot:
            dashboard = Dashboard(app, pilot, reader)
            await wait_for(
                pilot,
                lambda: dashboard.screen.snapshot is not None and dashboard.snapshot.hardware is not None,
                what="the first snapshot",
            )
            yield dashboard

    return manager()


async def test_the_next_start_is_as_the_last_one_was_left(tmp_path: Path) -> None:
    store = build_store(tmp_path / "runs")
    remember = layout_path(store, {"XDG_STATE_HOME": str(tmp_path / "state")})
    async with opened(store, remember=remember) as dashboard:
        assert HINT in dashboard.text("#footer")
        await dashboard.press("s", "s", "S", "b", "G", "H", "2", "right_square_bracket", "a", "3", "s", "z")
        hidden = set(dashboard.runs.order.hidden)
        await dashboard.press("q")

    layout = read_layout(remember)
    assert layout is not None
    async with opened(store, layout=layout, remember=remember) as dashboard:
        assert HINT not in dashboard.text("#footer")
        assert dashboard.table.has_focus
        assert dashboard.screen.shown_panes == {"checkpoints"}
        assert dashboard.table.order == (1, False)
        order = dashboard.runs.order
        assert (order.sort, order.reversed, order.grouped, order.hidden) == (2, True, True, hidden)
        await dashboard.press("z", "2")
        await dashboard.until(lambda: "by epoch" in dashboard.text("#chart-rule-0"), "the axis")
        assert "smooth 0.97" in dashboard.text("#chart-rule-0")
    assert [path.name for path in (tmp_path / "state").rglob("*") if path.is_file()] == [remember.name]


async def test_a_screen_that_is_left_open_is_not_what_the_next_start_begins_with(tmp_path: Path) -> None:
    store, remember = build_store(tmp_path / "runs"), tmp_path / "state" / "layout.json"
    async with opened(store, remember=remember) as dashboard:
        await dashboard.press("3", "z", "6", "tab", "q")

    layout = read_layout(remember)
    assert layout is not None
    assert (layout.pane, layout.full) == ("checkpoints", "checkpoints")


async def test_what_a_key_changed_is_written_while_it_runs(tmp_path: Path) -> None:
    store, remember = build_store(tmp_path / "runs"), tmp_path / "state" / "layout.json"
    async with opened(store, remember=remember) as dashboard:
        await dashboard.press("s")

        await dashboard.until(lambda: (left := read_layout(remember)) is not None and left.run_sort == 1, "the file")


@pytest.mark.parametrize("content", [b"", b"[1]", b'{"run_sort": "x"}', b"\xff", b"[" * 100_000])
def test_a_damaged_memory_is_no_memory(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "layout.json"
    path.write_bytes(content)

    assert read_layout(path) is None


async def test_columns_that_there_are_not_are_passed_over(tmp_path: Path) -> None:
    left = Layout(run_sort=99, checkpoint_sort=-5, smoothing=1_000, axis=77, pane="nowhere", full="nowhere")
    async with opened(build_store(tmp_path / "runs"), layout=left) as dashboard:
        assert dashboard.runs.has_focus
        assert dashboard.runs.order.sort == 0


def test_a_disk_that_refuses_is_no_reason_to_fail(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    write_layout(tmp_path / "file" / "layout.json", Layout())
