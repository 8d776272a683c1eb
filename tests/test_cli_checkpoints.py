"""`ls`, `verify`, `prune`, `delete`, `restore`, `promote`, on a store made without torch."""

from __future__ import annotations

import gc
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from store_fixture import RunPlan, build_store

from ckptop.cli.main import run
from ckptop.store.layout import manifest_path
from ckptop.store.manifest import encode
from ckptop.store.store import Store

CNN = RunPlan(name="cnn", phase="stopped", epochs=12, checkpoints=8, milestones=(3, 6))


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = build_store(tmp_path / "runs", [CNN, RunPlan(name="dead", alive=False, epochs=4)])
    monkeypatch.setenv("CKPTOP_STORE", str(root))
    return root


def answer(args: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, Any]:
    """Exit code and parsed JSON of a command."""
    capsys.readouterr()
    code = run([*args, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_ls_prints_a_state_for_every_run(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, listed = answer(["ls"], capsys)

    assert code == 0
    assert {run["run"]: run["state"] for run in listed["runs"]} == {"cnn": "stopped", "dead": "crashed"}


@pytest.mark.parametrize(("where", "code"), [("cnn", 0), ("nowhere", 11)])
def test_ls_leaves_the_collector_of_garbage_as_it_was(store: Path, where: str, code: int) -> None:
    assert gc.isenabled()

    assert run(["ls", where]) == code

    assert gc.isenabled()


def test_ls_of_a_run_lists_its_checkpoints_oldest_first(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _code, listed = answer(["ls", "cnn"], capsys)

    steps = [item["step"] for item in listed["checkpoints"]]
    assert steps == sorted(steps)
    assert sum(item["latest"] for item in listed["checkpoints"]) == 1
    assert sum(item["best"] for item in listed["checkpoints"]) == 1


def test_ls_marks_a_truncated_manifest_and_lists_the_rest(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    info = Store.open(store).run("cnn").checkpoints[0]
    manifest_path(info.path).write_text('{"schema": 1, "id"')

    code = run(["ls", "cnn"])

    shown = capsys.readouterr().out
    assert code == 0
    assert shown.count("! bad") == 1
    assert "truncated" in shown
    assert len(shown.splitlines()) > 5


def test_verify_of_an_untouched_store_finds_nothing(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, report = answer(["verify"], capsys)

    assert code == 0
    assert report["damaged"] == 0
    assert report["checked"] > 8


def test_verify_finds_a_flipped_byte_and_exits_12(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    info = Store.open(store).run("cnn").checkpoints[-1]
    data = bytearray(info.path.read_bytes())
    data[100] ^= 1
    info.path.write_bytes(data)

    code, report = answer(["verify", "cnn"], capsys)

    assert code == 12
    assert any(info.name in finding["message"] for finding in report["findings"])


def test_a_dry_run_prints_the_plan_and_changes_nothing(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(path.name for path in store.rglob("*"))

    code = run(["prune", "cnn", "--keep-last", "2", "--dry-run"])

    shown = capsys.readouterr().out
    assert code == 0
    assert "past the last 2" in shown
    assert "Nothing was changed." in shown
    assert sorted(path.name for path in store.rglob("*")) == before


def test_prune_moves_to_the_trash_and_restore_brings_back(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {info.key for info in Store.open(store).run("cnn").checkpoints}

    code, plan = answer(["prune", "cnn", "--keep-last", "2"], capsys)
    deleted = {item["checkpoint"] for item in plan["deleted"]}

    view = Store.open(store).run("cnn")
    assert code == 0
    assert deleted
    assert {info.key for info in view.checkpoints} == before - deleted
    assert view.trash_count == len(deleted)
    for _ in deleted:
        assert run(["restore", "cnn"]) == 0
    assert {info.key for info in Store.open(store).run("cnn").checkpoints} == before


def test_prune_without_a_rule_keeps_the_last_three(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _code, plan = answer(["prune", "cnn", "--dry-run"], capsys)

    assert any("in the last 3" in item["reasons"] for item in plan["kept"])


def test_delete_of_one_checkpoint_moves_just_that(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    info = Store.open(store).run("cnn").checkpoints[0]

    code, told = answer(["delete", f"cnn:{info.name}"], capsys)

    assert code == 0
    assert [item["checkpoint"] for item in told["deleted"]] == [info.key]
    assert not info.path.exists()
    assert Path(told["deleted"][0]["trash"]).exists()


def test_a_checkpoint_that_is_not_there_exits_11(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["delete", "cnn:step=99999"]) == 11
    assert "`ckptop ls cnn` lists what it has" in capsys.readouterr().err


def test_an_ambiguous_epoch_lists_the_candidates(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    view = Store.open(store).run("cnn")
    other = view.checkpoints[-1]
    epoch = view.checkpoints[0].epoch
    assert other.manifest is not None
    manifest_path(other.path).write_bytes(encode(msgspec.structs.replace(other.manifest, epoch=epoch)))

    code = run(["promote", f"cnn:epoch={epoch}", "--to", "milestone"])

    assert code == 2
    assert "means several" in capsys.readouterr().err


def test_promotion_to_milestone_links_the_bytes(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    view = Store.open(store).run("cnn")
    alone = [info for info in view.checkpoints if info.path.stat().st_nlink == 1]
    training = next(info for info in alone if info.tier == "training")

    code, told = answer(["promote", f"cnn:{training.name}", "--to", "milestone"], capsys)

    assert code == 0
    assert Path(told["path"]).stat().st_ino == training.path.stat().st_ino
    assert run(["promote", f"cnn:{training.name}", "--to", "milestone"]) == 10


def test_a_requirement_that_does_not_hold_exits_1(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = run(["promote", "cnn:best", "--to", "production", "--require", "val/accuracy>=0.999"])

    assert code == 1
    assert "nothing was promoted" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--require", "accuracy is good"], "is no requirement"),
        (["--version", "1.0"], "is not a version"),
        (["--version", "1.0.0", "--bump", "major"], "not both"),
        (["--card", "missing.json"], "does not exist"),
    ],
)
def test_wrong_words_of_promote_are_one_line(
    args: list[str], said: str, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run(["promote", "cnn:best", "--to", "production", *args])

    assert code in (2, 11)
    assert said in capsys.readouterr().err


def test_a_recorded_command_others_could_have_written_is_not_run(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (store / "cnn" / "run.json").chmod(0o666)

    code = run(["resume", "cnn"])

    assert code == 10
    assert "can be written by others" in capsys.readouterr().err


def test_verify_of_a_store_looks_at_its_releases_too(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from ckptop.store import CheckpointManager

    manager = CheckpointManager(store / "cnn" / "checkpoints", store_root=store, model_name="cnn")
    import torch

    released = Path(manager.save_production_checkpoint(torch.nn.Linear(2, 1), "1.0.0", {}, {}))
    assert run(["verify"]) == 0
    data = bytearray(released.read_bytes())
    data[len(data) // 2] ^= 1
    released.write_bytes(data)

    code = run(["verify"])

    assert code == 12
    assert "cnn_v1.0.0.pt" in capsys.readouterr().out


def test_json_is_ascii_alone(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An 8-bit control character in a file's string would steer a terminal."""
    record = store / "cnn" / "run.json"
    record.write_text(record.read_text().replace('"task": "digits"', '"task": "\u009b31m\u202e\x7f"'))

    run(["ls", "--json"])

    shown = capsys.readouterr().out
    assert shown.isascii()
    assert "\x7f" not in shown
