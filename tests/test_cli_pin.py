"""`pin` and `unpin`: what they answer, and with which exit code."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from store_fixture import RunPlan, build_store

from ckptop.cli.main import run
from ckptop.store.layout import manifest_path
from ckptop.store.store import Store
from ckptop.store.trash import list_quarantine, quarantine

CNN = RunPlan(name="cnn", phase="stopped", epochs=12, checkpoints=4, milestones=(10,))


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = build_store(tmp_path / "runs", [CNN])
    monkeypatch.setenv("CKPTOP_STORE", str(root))
    return root


def pinned(store: Path) -> set[str]:
    return {info.key for info in Store.open(store).run("cnn").checkpoints if info.pinned}


def answer(args: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, Any]:
    capsys.readouterr()
    code = run([*args, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_several_are_pinned_by_one_command(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, told = answer(["pin", "cnn:latest", "cnn:best"], capsys)

    assert code == 0
    assert [item["changed"] for item in told["checkpoints"]] == [True, True]
    assert {item["checkpoint"] for item in told["checkpoints"]} == pinned(store)
    assert len(pinned(store)) == 2


def test_pinning_twice_is_fine_and_says_so(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["pin", "cnn:latest"]) == 0
    assert capsys.readouterr().out.startswith("Pinned: cnn:training/")

    assert run(["pin", "cnn:latest"]) == 0

    assert capsys.readouterr().out.startswith("Was pinned: cnn:training/")
    assert answer(["pin", "cnn:latest"], capsys)[1]["checkpoints"][0]["changed"] is False


def test_an_unpinned_one_is_deleted_again(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = Store.open(store).run("cnn").checkpoints[0].key
    run(["pin", f"cnn:{key}"])
    assert run(["delete", f"cnn:{key}"]) == 10
    assert "`ckptop unpin` first" in capsys.readouterr().err

    code, told = answer(["unpin", f"cnn:{key}"], capsys)

    assert code == 0
    assert told["checkpoints"] == [{"run": "cnn", "checkpoint": key, "pinned": False, "changed": True}]
    assert run(["delete", f"cnn:{key}"]) == 0


def test_a_name_that_is_printed_can_be_typed(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(["pin", "cnn:best"])
    printed = capsys.readouterr().out.split(": ", 1)[1].strip()

    assert run(["unpin", printed]) == 0

    assert pinned(store) == set()


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["cnn:latest", "cnn:step=99999"], 11, "`ckptop ls cnn` lists what it has"),
        (["nope:latest"], 11, "there: cnn"),
        (["cnn:latest", "cnn:best=f1"], 11, "recorded f1"),
        (["missing.pt"], 11, "does not exist"),
        ([], 2, "Missing argument"),
    ],
)
def test_a_wrong_word_pins_nothing(
    args: list[str], code: int, said: str, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["pin", *args]) == code

    error = capsys.readouterr().err
    assert said in error
    assert pinned(store) == set()


def test_a_damaged_manifest_exits_12(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    info = Store.open(store).run("cnn").checkpoints[0]
    manifest_path(info.path).write_text('{"schema": 1')

    code = run(["pin", str(info.path)])

    error = capsys.readouterr().err
    assert code == 12
    assert "nothing was changed" in error
    assert error.count("\n") == 1


def test_what_the_trash_lists_can_be_unpinned_by_name_or_by_path(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An abandoned or damaged one keeps its mark; without this nobody could take it away again."""
    view = Store.open(store).run("cnn")
    first, second = view.checkpoints[:2]
    run(["pin", f"cnn:{first.key}", f"cnn:{second.key}"])
    entries = [quarantine(view.checkpoint_paths, info) for info in (first, second)]
    paths = [entry.info.path for entry in entries if entry is not None]
    capsys.readouterr()

    assert run(["unpin", f"cnn:{first.name}", str(paths[1])]) == 0

    shown = capsys.readouterr().out
    assert shown.splitlines() == [f"Unpinned: cnn:{path.relative_to(view.checkpoint_paths.root)}" for path in paths]
    assert not any(entry.info.pinned for entry in list_quarantine(view.checkpoint_paths))


def test_a_name_that_two_put_away_ones_have_is_answered_with_their_paths(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    view = Store.open(store).run("cnn")
    info = view.checkpoints[0]
    entry = quarantine(view.checkpoint_paths, info)
    assert entry is not None
    again = entry.directory.with_name(f"1{entry.directory.name}")
    shutil.copytree(entry.directory, again)

    assert run(["unpin", f"cnn:{info.name}"]) == 2

    told = capsys.readouterr().err
    assert str(again) in told
    assert str(entry.directory) in told


def test_what_is_nowhere_is_not_found(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["unpin", "cnn:nowhere.pt"]) == 11
    assert run(["unpin", str(store / "cnn" / "nowhere.pt")]) == 11
    assert run(["unpin", "nobody:nowhere.pt"]) == 11

    assert capsys.readouterr().err.count("\n") == 3
