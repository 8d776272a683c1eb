"""Screen 5: releases of models, key by key."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from dashboard import Dashboard, open_dashboard
from store_fixture import RunPlan, build_store

from ckptop.store.events import current_actor
from ckptop.store.files import read_json
from ckptop.store.hashing import sha256_of
from ckptop.store.layout import RunPaths, StorePaths, manifest_path, release_config_path
from ckptop.store.manifest import Manifest, encode
from ckptop.store.names import Version, production_name
from ckptop.store.registry import ReleaseLine, append_release, read_registry
from ckptop.store.releases import rollback, yank
from ckptop.store.releasing import ReleaseConfig
from ckptop.tui.registry_rows import card_facts, history_facts
from ckptop.tui.screens.confirm import Confirm
from ckptop.tui.screens.main import MainScreen
from ckptop.tui.screens.page import PageScreen
from ckptop.tui.widgets.registry_pane import RegistryPane


def release(
    store: Path, model: str, version: str, *, accuracy: float = 0.9, card: dict[str, str] | None = None
) -> None:
    """A release as `ckptop promote` makes one, without torch."""
    paths = StorePaths(store)
    paths.production.mkdir(exist_ok=True)
    checkpoint = next(RunPaths(store / "mine").checkpoints.milestone.glob("*.pt"))
    manifest = read_json(manifest_path(checkpoint), Manifest)
    file = paths.production / production_name(model, Version.parse(version))
    file.write_bytes(checkpoint.read_bytes() + version.encode())
    line = ReleaseLine(
        time=manifest.time, model=model, version=version, file=file.name, sha256=sha256_of(file),
        size_bytes=file.stat().st_size, run="mine", run_id="id-mine", checkpoint=f"milestone/{checkpoint.name}",
        epoch=manifest.epoch, global_step=manifest.global_step, metrics={"val/accuracy": accuracy},
        actor=current_actor(),
    )  # fmt: skip
    config = ReleaseConfig(
        model=model, version=version, file=file.name, sha256=line.sha256, size_bytes=line.size_bytes,
        config={"lr": accuracy / 100, "model": {"width": 32}}, metrics=line.metrics, run=line.run,
        checkpoint=line.checkpoint, epoch=line.epoch, global_step=line.global_step, card=card or {},
    )  # fmt: skip
    release_config_path(file).write_bytes(encode(config))
    append_release(paths, line)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    store = build_store(tmp_path / "runs", [RunPlan(name="mine", phase="finished", epochs=9)])
    release(store, "digits", "1.0.0", card={"intended use": "ten digits"})
    release(store, "digits", "1.2.0", accuracy=0.95)
    release(store, "digits", "1.10.0", accuracy=0.93)
    release(store, "words", "0.1.0")
    yank(StorePaths(store), "digits", Version.parse("1.2.0"), "trained on the test part")
    return store


@pytest.fixture
async def dashboard(store: Path) -> AsyncIterator[Dashboard]:
    async with open_dashboard(store) as opened:
        await opened.press("5")
        await opened.until(lambda: opened.screen.query("#registry") and pane(opened).items, "the releases")
        yield opened


def pane(dashboard: Dashboard) -> RegistryPane:
    return dashboard.screen.query_one(RegistryPane)


def latest(store: Path) -> str | None:
    return read_registry(StorePaths(store)).latest("digits")


async def until_asked(dashboard: Dashboard) -> str:
    await dashboard.until(lambda: isinstance(dashboard.app.screen, Confirm), "the question")
    await dashboard.pilot.pause()
    return dashboard.screen_text()


async def test_models_by_name_and_of_each_the_highest_version_first(dashboard: Dashboard) -> None:
    assert [row.key for row in pane(dashboard).items] == [
        "digits@1.10.0", "digits@1.2.0", "digits@1.0.0", "words@0.1.0",
    ]  # fmt: skip
    assert [row.mark for row in pane(dashboard).items] == ["latest", "yanked", "", "latest"]
    lines = dashboard.text("#registry").splitlines()
    assert lines[1].split() == ["model", "version", "mark", "accuracy", "age", "size", "by", "from"]
    assert lines[2].split()[:4] == ["▌", "digits", "1.10.0", "latest"]
    assert lines[4].split()[:2] == ["1.0.0", "0.9000"]
    assert "4 releases of 2 models" in lines[0]
    assert dashboard.text("#footer") == (
        " Enter Card   B Roll back   c Compare   V Verify   e Export   Esc Back   ? Help"
    )


async def test_why_a_release_was_yanked_stands_in_the_rule(dashboard: Dashboard) -> None:
    await dashboard.press("j")

    assert "trained on the test part" in dashboard.text("#registry").splitlines()[0]


async def test_B_asks_and_rolls_back_and_u_undoes(dashboard: Dashboard, store: Path) -> None:  # noqa: N802  the key
    await dashboard.press("j", "j", "B")
    asked = await until_asked(dashboard)
    assert "Roll digits back from 1.10.0 to 1.0.0?" in asked
    assert "▸[ Keep 1.10.0 ]◂" in asked
    assert "$ ckptop rollback digits 1.0.0" in asked

    await dashboard.press("right", "enter")
    await dashboard.until(lambda: latest(store) == "1.0.0", "the roll-back")
    await dashboard.until(lambda: "digits latest is 1.0.0 now. u undoes." in dashboard.toasts, "the toast")
    await dashboard.until(lambda: pane(dashboard).items[2].mark == "latest", "the mark")

    await dashboard.press("u")
    await dashboard.until(lambda: latest(store) == "1.10.0", "the way back")
    await dashboard.press("u")
    await dashboard.until(lambda: dashboard.toasts[-1] == "Nothing to undo.", "nothing more")


async def test_no_keeps_what_latest_means(dashboard: Dashboard, store: Path) -> None:
    await dashboard.press("j", "j", "B")
    await until_asked(dashboard)
    await dashboard.press("enter")
    await dashboard.until(lambda: isinstance(dashboard.app.screen, MainScreen), "the list")

    assert latest(store) == "1.10.0"


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (["B"], "digits 1.10.0 is latest already; B on another version lets latest mean that."),
        (["j", "B"], "digits 1.2.0 is yanked; latest never means it."),
    ],
)
async def test_what_cannot_be_rolled_back_to_says_why(dashboard: Dashboard, keys: list[str], said: str) -> None:
    await dashboard.press(*keys)

    assert dashboard.toasts == [said]


async def test_a_read_only_store_says_why(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_dashboard(store) as dashboard:
        await dashboard.press("5")
        await dashboard.until(lambda: dashboard.screen.query("#registry") and pane(dashboard).items, "the releases")
        monkeypatch.setattr(dashboard.screen.front, "refusal", lambda: "./runs is read-only")
        await dashboard.press("j", "j", "B")

        assert dashboard.toasts == ["./runs is read-only"]
    assert latest(store) == "1.10.0"


async def test_V_finds_bytes_that_were_changed(dashboard: Dashboard, store: Path) -> None:  # noqa: N802  the key
    file = StorePaths(store).production / "digits_v1.0.0.pt"
    data = bytearray(file.read_bytes())
    data[100] ^= 1
    file.write_bytes(data)
    await dashboard.press("asterisk", "V")

    await dashboard.until(lambda: dashboard.toasts, "the verdict")
    assert dashboard.toasts == ["Verified 4: 3 good, 1 damaged."]
    await dashboard.press("escape", "G", "k")
    text = dashboard.text("#registry")
    assert "! bad" in text
    assert "latest ✓" in text
    assert "bytes differ from the registry's sha256" in text


async def test_enter_shows_the_card(dashboard: Dashboard) -> None:
    await dashboard.press("j", "j", "enter")
    await dashboard.until(lambda: isinstance(dashboard.app.screen, PageScreen), "the card")
    await dashboard.pilot.pause()

    text = dashboard.text("#page")
    assert text.startswith("━ digits 1.0.0")
    assert "intended use" in text
    assert "model.width" in text
    await dashboard.press("j", "k", "pagedown", "space", "pageup", "ctrl+d", "ctrl+u", "G", "g", "y", "escape")
    assert "sha256\t" in dashboard.app.clipboard
    await dashboard.until(lambda: isinstance(dashboard.app.screen, MainScreen), "the list")


async def test_A_tells_who_did_what(dashboard: Dashboard, store: Path) -> None:  # noqa: N802  the key
    rollback(StorePaths(store), "digits", Version.parse("1.0.0"))
    await dashboard.press("A")
    await dashboard.until(lambda: isinstance(dashboard.app.screen, PageScreen), "the history")
    await dashboard.pilot.pause()

    text = dashboard.text("#page")
    assert text.startswith("━ History of digits")
    assert "released 1.0.0 as latest from mine milestone/" in text
    assert "latest is 1.0.0, by " in text
    assert "latest is 1.2.0" not in text
    assert "yanked 1.2.0: trained on the test part, by " in text


async def test_marks_sorting_filter_and_copy(dashboard: Dashboard) -> None:
    await dashboard.press("space", "n", "N", "s", "s")
    assert "1 marked" in dashboard.text("#registry")
    assert pane(dashboard).items[0].version == "1.2.0"  # the best by the metric
    await dashboard.press("S")
    assert pane(dashboard).items[-1].version == "1.2.0"

    await dashboard.press("y")
    assert dashboard.app.clipboard.endswith("production/digits_v1.10.0.pt")
    await dashboard.press("escape", "slash", *"words", "enter")
    assert [row.key for row in pane(dashboard).items] == ["words@0.1.0"]


async def test_a_new_release_appears(dashboard: Dashboard, store: Path) -> None:
    release(store, "digits", "2.0.0")

    await dashboard.until(lambda: pane(dashboard).items[0].version == "2.0.0", "the new release")


async def test_a_single_release_is_one_release(tmp_path: Path) -> None:
    store = build_store(tmp_path / "runs", [RunPlan(name="mine", phase="finished", epochs=9)])
    release(store, "digits", "1.0.0")

    async with open_dashboard(store) as dashboard:
        await dashboard.press("5")
        await dashboard.until(lambda: " 1 release · by model" in dashboard.text("#registry"), "the release")


async def test_a_store_without_releases_says_how_to_make_one(tmp_path: Path) -> None:
    async with open_dashboard(build_store(tmp_path / "runs", [RunPlan(name="mine", epochs=3)])) as dashboard:
        await dashboard.press("5")
        await dashboard.until(lambda: "No release yet." in dashboard.text("#registry"), "why it is empty")


def test_a_hostile_registry_is_clean(store: Path) -> None:
    evil = "\x1b]52;c;aGk=\x07\u202e"
    paths = StorePaths(store)
    (line,) = (one for one in read_registry(paths).releases if one.version == "1.0.0")
    line = msgspec.structs.replace(line, run=evil, checkpoint=evil, metrics={evil: 1.0})

    text = str(card_facts(paths, line)) + str(history_facts(paths, "digits"))

    assert "\\x1b" not in text
    assert "\\u202e" not in text


def test_a_release_whose_facts_are_gone_says_so(store: Path) -> None:
    paths = StorePaths(store)
    (line,) = (one for one in read_registry(paths).releases if one.version == "1.0.0")
    release_config_path(paths.production / line.file).unlink()

    assert card_facts(paths, line)[-1][0] == "problem"
