"""`delete RUN`, `restore RUN`, `trash`, and the rules of `prune`, on stores of runs and on a set of its own."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
from store_fixture import RunPlan, build_store
from tiny_model import HASTY, save, tiny_model

from ckptop.cli.main import run
from ckptop.cli.quantities import duration, size
from ckptop.store import run_trash
from ckptop.store.checkpoints import CheckpointManager
from ckptop.store.files import read_json
from ckptop.store.going_back import discard_abandoned, write_record
from ckptop.store.layout import StorePaths, manifest_path
from ckptop.store.manifest import Manifest, Pin, encode
from ckptop.store.records import Actor, Attempt
from ckptop.store.store import Store
from ckptop.store.trash import quarantine
from ckptop.store.views import RunView

PIN = Pin(time=1.0, actor=Actor(user="ada", host="box", pid=1))
PLANS = (
    RunPlan(name="cnn", phase="stopped", epochs=12, checkpoints=8, milestones=(3, 6)),
    RunPlan(name="live", epochs=4),
    RunPlan(name="dead", alive=False, epochs=4),
)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = build_store(tmp_path / "runs", PLANS)
    monkeypatch.setenv("CKPTOP_STORE", str(root))
    return root


def answer(args: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, Any]:
    capsys.readouterr()
    code = run([*args, "--json"])
    return code, json.loads(capsys.readouterr().out)


def age(store: Path, seconds: float) -> None:
    """Let everything in the trash have been there for longer."""
    for directory in [*store.glob("*/checkpoints/.trash/*"), *store.glob(".trash/*")]:
        when, _, rest = directory.name.partition("-")
        directory.rename(directory.with_name(f"{int(when) - int(seconds * 1e9)}-{rest}"))


def test_a_bare_run_is_the_whole_run(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, told = answer(["delete", "dead", "cnn:latest"], capsys)

    assert code == 0
    assert [item["run"] for item in told["deleted_runs"]] == ["dead"]
    assert len(told["deleted"]) == 1
    assert Store(store).run_names() == ["cnn", "live"]
    assert told["freed_after_purge_bytes"] > 0
    assert told["freed_now_bytes"] == 0
    assert run(["restore", "dead", "cnn"]) == 0
    assert Store(store).run_names() == ["cnn", "dead", "live"]


def test_nothing_is_deleted_where_one_of_them_cannot_be_named(store: Path) -> None:
    assert run(["delete", "dead", "cnn:step=9999"]) == 11
    assert run(["delete", "nobody"]) == 11

    assert Store(store).run_names() == ["cnn", "dead", "live"]


def mark(store: Path, name: str, **fields: Any) -> None:
    """Change fields of the manifest of a run's newest checkpoint."""
    path = manifest_path(Store(store).run(name).checkpoints[-1].path)
    path.write_bytes(encode(msgspec.structs.replace(read_json(path, Manifest), **fields)))


@pytest.mark.parametrize("what", [["dead", "cnn"], ["dead:epoch=1", "cnn:latest"], ["dead", "cnn:latest"]])
def test_nothing_is_deleted_where_one_of_them_is_refused(
    store: Path, what: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    mark(store, "cnn", pinned=PIN)
    before = len(Store(store).run("dead").checkpoints)

    assert run(["delete", *what]) == 10

    assert capsys.readouterr().err.count("\n") == 1
    assert Store(store).run_names() == ["cnn", "dead", "live"]
    assert len(Store(store).run("dead").checkpoints) == before
    assert run(["delete", "dead", "live"]) == 13
    assert "dead" in Store(store).run_names()


def test_what_went_before_a_refusal_nobody_could_foresee_is_told(
    store: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pin made in between, say."""
    delete_run = run_trash.delete_run

    def pinned_meanwhile(paths: StorePaths, view: RunView) -> run_trash.DeletedRun:
        if view.name == "cnn":
            mark(store, "cnn", pinned=PIN)
        return delete_run(paths, view)

    monkeypatch.setattr(run_trash, "delete_run", pinned_meanwhile)

    assert run(["delete", "dead", "cnn"]) == 10

    told = capsys.readouterr().err.splitlines()
    assert told[0] == "ckptop: in the trash before the next was refused: dead"
    assert "holds pinned checkpoints" in told[1]
    assert Store(store).run_names() == ["cnn", "live"]


def test_a_run_at_work_exits_13(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["delete", "live"]) == 13
    assert capsys.readouterr().err == "ckptop: live is running; `ckptop stop live` first\n"


def test_the_trash_lists_what_is_in_it_and_empties(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(["delete", "dead"])
    run(["prune", "cnn", "--keep-last", "1"])

    _code, listed = answer(["trash"], capsys)
    kinds = [item["kind"] for item in listed["trash"]]
    freed = sum(item["freed_bytes"] for item in listed["trash"])
    code, removed = answer(["trash", "--empty"], capsys)

    assert kinds.count("run") == 1
    assert kinds.count("deleted") >= 6
    assert code == 0
    assert removed["freed_bytes"] == freed
    assert run(["trash"]) == 0
    assert capsys.readouterr().out == "The trash is empty.\n"
    assert run(["restore", "dead"]) == 11


def test_only_the_old_or_the_many_go_when_that_is_asked(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(["delete", "dead"])
    age(store, 3 * 86_400)
    run(["delete", f"cnn:{Store(store).run('cnn').checkpoints[0].name}"])

    _code, old = answer(["trash", "--older-than", "2d"], capsys)
    _code, many = answer(["trash", "--keep-size", "5k"], capsys)
    _code, fits = answer(["trash", "--keep-size", "1G"], capsys)
    _code, removed = answer(["trash", "--empty", "--older-than", "2d"], capsys)

    assert [item["name"] for item in old["trash"]] == ["dead"]
    assert [item["name"] for item in many["trash"]] == ["dead"]
    assert fits["trash"] == []
    assert removed["removed"] == ["dead"]
    assert Store(store).run("cnn").trash_count == 1


def test_abandoned_and_damaged_ones_go_only_with_all_and_pinned_ones_never(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    view = Store(store).run("cnn")
    training = [info for info in view.checkpoints if info.tier == "training"]
    quarantine(view.checkpoint_paths, training[0])
    manifest = manifest_path(training[-1].path)
    pinned = Pin(time=1.0, actor=Actor(user="ada", host="box", pid=1))
    manifest.write_bytes(encode(msgspec.structs.replace(read_json(manifest, Manifest), pinned=pinned)))
    assert view.record is not None
    back = Attempt(attempt=2, from_step=training[-3].step, time=2.0)
    record = msgspec.structs.replace(view.record, attempts=[*view.record.attempts, back])
    write_record(view.paths, record)
    assert discard_abandoned(view.paths, record) >= 2

    _code, listed = answer(["trash", "cnn"], capsys)
    _code, first = answer(["trash", "--empty"], capsys)
    _code, second = answer(["trash", "--empty", "--all"], capsys)
    _code, rest = answer(["trash"], capsys)

    assert {item["kind"] for item in listed["trash"]} == {"abandoned", "damaged"}
    assert first["removed"] == []
    assert len(second["removed"]) == len(listed["trash"]) - 1
    assert [item["name"] for item in rest["trash"]] == [f"cnn:{training[-1].name}"]


def test_prune_keeps_by_step_and_by_spacing(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, plan = answer(["prune", "cnn", "--keep-every-steps", "96", "--dry-run"], capsys)
    kept = [item for item in plan["kept"] if "every 96 steps" in item["reasons"]]
    _code, spaced = answer(["prune", "cnn", "--keep-spacing", "1m", "--dry-run"], capsys)

    assert code == 0
    assert [item["checkpoint"][-11:-3] for item in kept] == ["00000288", "00000192"]
    assert any("one every 1 min" in item["reasons"] for item in spaced["kept"])


@pytest.mark.parametrize("option", [["--keep-spacing", "2"], ["--keep-spacing", "soon"], ["--keep-every-steps", "0"]])
def test_a_rule_without_meaning_is_wrong_use(store: Path, option: list[str]) -> None:
    assert run(["prune", "cnn", *option]) == 2


def test_a_fork_of_what_has_no_checkpoint_or_a_taken_name_is_refused(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (store / "cnn" / "checkpoints").rglob("*.pt"):
        path.unlink()

    assert run(["resume", "cnn", "--fork", "child"]) == 11
    assert run(["resume", "dead", "--fork", "cnn"]) == 2
    assert run(["resume", "dead", "--fork", "production"]) == 2

    assert "run cnn exists" in capsys.readouterr().err
    assert not (store / "child").exists()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("15m", 900), ("15min", 900), ("12h", 43_200), ("1.5d", 129_600), ("2W", 1_209_600)],
)
def test_stretches_of_time_are_read_as_people_write_them(text: str, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [("0", 0), ("512", 512), ("5k", 5120), ("500M", 500 * 2**20), ("20GiB", 20 * 2**30), ("1.5 tb", 3 * 2**39)],
)
def test_amounts_of_data_are_read_as_people_write_them(text: str, size_bytes: int) -> None:
    assert size(text) == size_bytes


def test_a_trash_that_is_a_link_is_not_followed(store: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    inside = outside / f"{10**18}-training-x"
    inside.mkdir(parents=True)
    (inside / "checkpoint_epoch_0001_step_00000001.pt").write_bytes(b"precious")
    (store / ".trash").symlink_to(outside)
    for name in (".trash", ".discarded", ".quarantine"):
        (store / "cnn" / "checkpoints" / name).symlink_to(outside)
    (store / "dead" / "checkpoints").rename(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / ".trash").mkdir()
    inside_too = tmp_path / "elsewhere" / ".trash" / f"{10**18}-training-x"
    inside_too.mkdir()
    (inside_too / "checkpoint_epoch_0001_step_00000001.pt").write_bytes(b"precious")
    (store / "dead" / "checkpoints").symlink_to(tmp_path / "elsewhere")

    run(["trash", "--empty", "--all"])

    assert os.listdir(inside) == os.listdir(inside_too) == ["checkpoint_epoch_0001_step_00000001.pt"]


def test_what_stands_alone_is_shown_pinned_and_deleted_by_directory_and_by_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A directory's name may hold a blank; --store need not be said."""
    monkeypatch.chdir(tmp_path)
    manager = CheckpointManager("my dir", fs=HASTY, model_name="mine", metric="val/loss")
    files = [save(manager, epoch) for epoch in (1, 2)]
    manager.save_training_checkpoint(tiny_model(), None, 3, 300, {"val/loss": 0.5})

    assert run(["show", "my dir:latest"]) == 0
    assert run(["verify", "my dir:latest"]) == 0
    assert run(["pin", "my dir:epoch=1", str(files[1])]) == 0
    assert run(["delete", "my dir:epoch=1"]) == 10, "it is pinned"
    assert run(["unpin", str(files[0])]) == 0
    assert run(["delete", "my dir:epoch=1"]) == 0
    assert run(["restore", "my dir"]) == 0
    assert run(["promote", "my dir:latest", "--to", "milestone", "--metric", "val/loss"]) == 0
    assert run(["promote", str(files[1]), "--to", "production", "--model", "mine"]) == 0
    capsys.readouterr()
    assert run(["delete", "my dir"]) == 10, "a whole set is no run"
    assert "remove its directory yourself" in capsys.readouterr().err
