"""Alerts of a store that is watched: what is new is told, what is old news is not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from alert_ends import noted, noting_command
from store_fixture import RunPlan, build_run, dead_process

from ckptop.store import filling
from ckptop.store.alert_settings import alert_settings
from ckptop.store.alert_watch import StoreAlerts
from ckptop.store.events import append_event
from ckptop.store.files import read_json
from ckptop.store.layout import RunPaths
from ckptop.store.manifest import encode
from ckptop.store.notices import Notice, StoreNotices
from ckptop.store.records import Status


class Watched:
    """A store with the live run `mine`, watched by hand."""

    def __init__(self, root: Path) -> None:
        self.paths = build_run(root / "runs", RunPlan(name="mine", epochs=2))
        self.out = root / "out"
        self._notices = StoreNotices(root / "runs")
        list(self._notices.begin())
        settings = alert_settings({"CKPTOP_ALERT_COMMAND": noting_command(self.out), "CKPTOP_ALERT_INTERVAL": "0"})
        assert settings is not None
        self.alerts = StoreAlerts(self._notices, settings, print)

    def look(self) -> list[Notice]:
        return list(self.alerts.hear(self._notices.look({"", "mine"})))

    def told(self) -> list[tuple[str, str]]:
        self.alerts.close()
        return [(alert["run"], alert["kind"]) for alert in noted(self.out)]


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    found = Watched(tmp_path)
    yield found
    found.alerts.close()


def die(paths: RunPaths) -> None:
    status = read_json(paths.status, Status)
    paths.status.write_bytes(encode(msgspec.structs.replace(status, process=dead_process())))


def test_what_happens_is_told_and_passed_through(watched: Watched) -> None:
    append_event(watched.paths, "milestone", step=60, metric="val/loss", value=0.25, checkpoint="milestone/x.pt")
    append_event(watched.paths, "alert", step=61, kind="degraded", message="worse")
    assert [notice.kind for notice in watched.look()] == ["milestone", "alert"]
    die(watched.paths)
    assert [notice.kind for notice in watched.look()] == ["state"]

    assert watched.told() == [("mine", "best"), ("mine", "degraded"), ("mine", "crash")]


def test_a_crashed_run_that_is_moved_here_is_old_news(watched: Watched, tmp_path: Path) -> None:
    old = build_run(tmp_path, RunPlan(name="old", epochs=1, age_seconds=9000))
    die(old)
    old.root.rename(watched.paths.root.parent / "old")

    assert [(notice.run, notice.details["state"]) for notice in watched.look()] == [("old", "crashed")]
    assert watched.told() == []


def test_a_disk_that_fills_is_told_and_shown(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filling, "LOOK_SECONDS", 0.0)
    watched.look()
    monkeypatch.setattr(watched.alerts._disk, "_free", lambda _root: 0)

    (shown,) = watched.look()

    assert (shown.run, shown.kind) == ("mine", "alert")
    assert "is filling: 0 B free" in shown.details["message"]
    assert watched.told() == [("mine", "disk")]
