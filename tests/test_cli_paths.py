"""Commands that take a run take its directory too, and that of a stand-alone manager; what is protected stays so."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest
from store_fixture import DEAD_PID, RunPlan, build_store

from ckptop.cli.main import run
from ckptop.host.process import current_process
from ckptop.store.actions import plan_prune
from ckptop.store.errors import Damaged
from ckptop.store.find import run_at
from ckptop.store.fs import LOCAL
from ckptop.store.layout import StorePaths, manifest_path, release_config_path
from ckptop.store.manifest import encode
from ckptop.store.records import Actor
from ckptop.store.registry import ReleaseLine, append_release
from ckptop.store.releasing import ReleaseConfig
from ckptop.store.retention import Policy
from ckptop.store.staging import staged_name
from ckptop.store.store import Store

CNN = RunPlan(name="cnn", phase="finished", epochs=12, checkpoints=8, milestones=(3, 6))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a store in `runs`, and a stand-alone set in `checkpoints`."""
    build_store(tmp_path / "runs", [CNN])
    shutil.copytree(tmp_path / "runs" / "cnn" / "checkpoints", tmp_path / "checkpoints", symlinks=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CKPTOP_STORE", raising=False)
    return tmp_path


def answer(args: list[str], capsys: pytest.CaptureFixture[str]) -> Any:
    """Parsed JSON of a command that succeeds."""
    capsys.readouterr()
    assert run([*args, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def training_files(root: Path) -> set[str]:
    return {path.name for path in (root / "training").glob("checkpoint_*.pt")}


@pytest.mark.parametrize("named", ["checkpoints", "./checkpoints/", "linked"])
def test_a_stand_alone_managers_directory_goes_with_every_command(
    here: Path, capsys: pytest.CaptureFixture[str], named: str
) -> None:
    """A link that a person made to it on another disk is followed."""
    (here / "linked").symlink_to("checkpoints")
    files = training_files(here / "checkpoints")

    assert len(answer(["ls", named], capsys)["checkpoints"]) == len(run_at(Path("checkpoints")).checkpoints)  # type: ignore[union-attr]
    assert answer(["verify", named], capsys)["damaged"] == 0
    assert answer(["prune", named, "--keep-last", "2", "--dry-run"], capsys)["freed_now_bytes"] == 0
    assert training_files(here / "checkpoints") == files
    gone = answer(["prune", named, "--keep-last", "2"], capsys)["deleted"]
    assert len(training_files(here / "checkpoints")) == len(files) - len(gone) < len(files)
    assert len(answer(["trash", named], capsys)["trash"]) == len(gone)
    assert answer(["verify", named], capsys)["damaged"] == 0
    for _ in gone:
        answer(["restore", named], capsys)
    assert training_files(here / "checkpoints") == files


@pytest.mark.parametrize("named", ["runs/cnn", "runs/cnn/checkpoints", "cnn"])
def test_the_directory_of_a_run_and_of_its_checkpoints_are_that_run_with_all_it_protects(
    here: Path, capsys: pytest.CaptureFixture[str], named: str
) -> None:
    """As a stand-alone set it would know neither the run's metric nor its forks."""
    fork = Store.open("runs").run("cnn").checkpoints[0]
    assert fork.manifest is not None
    manifest_path(fork.path).write_bytes(encode(msgspec.structs.replace(fork.manifest, forks=["cnn-2"])))
    build_store(here / "runs", [RunPlan(name="cnn-2", phase="finished", epochs=2)])

    plan = answer(["prune", named, "--keep-last", "1", "--milestones", "--dry-run"], capsys)

    reasons = {item["checkpoint"]: item["reasons"] for item in plan["kept"]}
    assert plan["run"] == answer(["ls", named], capsys)["run"] == "cnn"
    assert "cnn-2 began here" in reasons[fork.key]
    assert any("best val/accuracy" in said for said in reasons.values())
    assert run(["delete", f"{named}:{fork.name}"]) == 10
    assert "cnn-2 began here" in capsys.readouterr().err


def test_a_pinned_checkpoint_in_the_trash_of_a_stand_alone_set_is_no_deleted_run(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`<set>/.trash` holds checkpoints; taken for whole runs they would be purged, pins and all."""
    assert run(["delete", "checkpoints:epoch=12"]) == 0
    name = answer(["trash", "checkpoints"], capsys)["trash"][0]["name"]
    assert run(["pin", name]) == 0

    assert run(["verify", "checkpoints"]) == 0
    assert [item["kind"] for item in answer(["trash", "--store", "checkpoints"], capsys)["trash"]] == ["deleted"]
    assert answer(["trash", "--store", "checkpoints", "--empty", "--all"], capsys)["removed"] == []
    assert run(["restore", name]) == 0


def test_a_whole_stand_alone_set_is_no_run_and_says_what_to_do(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["delete", "checkpoints"]) == 10

    assert "delete its checkpoints" in capsys.readouterr().err
    assert training_files(here / "checkpoints")


def test_a_run_of_another_store_goes_to_the_trash_of_that_store(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build_store(here / "others", [RunPlan(name="rnn", phase="finished", epochs=2)])

    assert run(["delete", "others/rnn"]) == 0

    assert not (here / "runs" / ".trash").exists()
    assert run(["restore", "rnn", "--store", "others"]) == 0
    assert (here / "others" / "rnn" / "run.json").exists()


@pytest.mark.parametrize("how", ["cnn:epoch=9", "cnn:FILE", "cnn:training/FILE", "PATH"])
def test_what_was_deleted_is_restored_by_the_words_it_was_deleted_with(
    here: Path, capsys: pytest.CaptureFixture[str], how: str
) -> None:
    """Not the newest deletion, but the one that is named."""
    before = training_files(here / "runs" / "cnn" / "checkpoints")
    assert run(["delete", "cnn:epoch=9"]) == 0
    assert run(["delete", "cnn:epoch=10"]) == 0
    gone = next(item for item in answer(["trash"], capsys)["trash"] if "epoch_0009" in item["name"])
    name = gone["name"].partition(":")[2]

    assert run(["restore", how.replace("FILE", name).replace("PATH", f"{gone['path']}/{name}")]) == 0

    missing = before - training_files(here / "runs" / "cnn" / "checkpoints")
    assert {"epoch_0010" in name for name in missing} == {True}


@pytest.mark.parametrize("text", ["cnn:epoch=9", "cnn:latest", "runs/nothing.pt", "nobody:epoch=1", "nobody"])
def test_what_is_not_in_the_trash_exits_11(here: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    assert run(["restore", text]) == 11

    assert len(capsys.readouterr().err.splitlines()) == 1


def test_an_epoch_of_which_several_were_deleted_is_ambiguous(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    infos = [info for info in Store.open("runs").run("cnn").checkpoints if info.epoch == 6]
    assert {info.tier for info in infos} == {"training", "milestone"}
    assert run(["delete", *(str(info.path) for info in infos)]) == 0

    assert run(["restore", "cnn:epoch=6"]) == 2

    assert all(info.name in capsys.readouterr().err for info in infos[:1])


@pytest.mark.parametrize("command", [["prune", "cnn", "--keep-last", "1"], ["prune", "cnn", "--dry-run"]])
def test_nothing_is_pruned_of_a_run_whose_record_is_damaged(
    here: Path, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    """run.json says what best means, and where the attempt began: without it nobody knows what must stay."""
    (here / "runs" / "cnn" / "run.json").write_text("{")
    before = training_files(here / "runs" / "cnn" / "checkpoints")

    assert run(command) == 12

    assert "run.json" in capsys.readouterr().err
    assert training_files(here / "runs" / "cnn" / "checkpoints") == before
    with pytest.raises(Damaged):
        plan_prune(Store.open("runs").run("cnn"), [Policy(keep_last=1)])


def test_nothing_is_deleted_of_a_live_run_whose_record_is_damaged_and_a_fork_counts_all_the_same(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build_store(here / "runs", [RunPlan(name="live", epochs=4), RunPlan(name="fork", phase="finished", epochs=2)])
    for name in ("live", "cnn"):
        (here / "runs" / name / "run.json").write_text("{")
    first = Store.open("runs").run("cnn").checkpoints[0]
    assert first.manifest is not None
    manifest_path(first.path).write_bytes(encode(msgspec.structs.replace(first.manifest, forks=["fork"])))

    assert run(["delete", "live:latest"]) == 12
    assert run(["delete", f"cnn:{first.name}"]) == 10, "a fork began here"
    assert run(["delete", "cnn:epoch=12"]) == 0, "it is over, and nothing protects this one"


def test_a_store_that_is_not_there_is_said(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["prune", "cnn", "--store", "nowhere"]) == 11

    assert "nowhere does not exist" in capsys.readouterr().err


def release(store: Path) -> Path:
    """A release as `ckptop promote` leaves it, of bytes that no torch is needed for; returns its file."""
    paths = StorePaths(store)
    paths.production.mkdir()
    data = b"weights" * 1000
    line = ReleaseLine(
        time=1.0, model="cnn", version="1.0.0", file="cnn_v1.0.0.pt", sha256=hashlib.sha256(data).hexdigest(),
        size_bytes=len(data), run="cnn", run_id="1", checkpoint="training/a.pt", epoch=1, global_step=1, metrics={},
        actor=Actor(user="ada", host="box1", pid=1),
    )  # fmt: skip
    said = {name: getattr(line, name) for name in ReleaseConfig.__struct_fields__ if hasattr(line, name)}
    file = paths.production / line.file
    file.write_bytes(data)
    release_config_path(file).write_bytes(encode(ReleaseConfig(**said, config={"lr": 0.1}, card={})))
    append_release(paths, line)
    (paths.production / "latest.pt").symlink_to(file.name)
    return file


@pytest.mark.parametrize(
    "named", ["cnn@1.0.0", "cnn@latest", "runs/production/cnn_v1.0.0.pt", "runs/production/latest.pt"]
)
def test_a_release_is_shown_and_verified_by_name_and_by_path(
    here: Path, capsys: pytest.CaptureFixture[str], named: str
) -> None:
    file = release(here / "runs")

    assert answer(["verify", named], capsys)["checked"] == 1
    assert answer(["show", named], capsys)["version"] == "1.0.0"
    data = bytearray(file.read_bytes())
    data[10] ^= 1
    file.write_bytes(data)
    assert run(["verify", named]) == 12
    assert run(["verify", "cnn@2.0.0"]) == 11


def test_what_was_put_away_is_shown_and_verified_by_its_path_and_by_its_name(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["delete", "cnn:epoch=9"]) == 0
    gone = answer(["trash"], capsys)["trash"][0]
    path = Path(gone["path"]) / gone["name"].partition(":")[2]

    for named in (str(path), gone["name"]):
        assert answer(["show", named], capsys)["epoch"] == 9
        assert answer(["verify", named], capsys)["checked"] == 1
    path.write_bytes(b"x" + path.read_bytes()[1:])
    assert run(["verify", str(path)]) == 12


def test_a_file_that_was_carried_off_is_verified_against_the_manifest_beside_it(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = Store.open("runs").run("cnn").checkpoints[-1].path
    for path in (source, manifest_path(source)):
        shutil.copy(path, here)

    assert run(["verify", source.name]) == 0
    manifest_path(here / source.name).unlink()
    assert run(["verify", source.name]) == 11
    assert "no manifest beside it" in capsys.readouterr().err


def test_torn_writes_of_the_dead_are_told_with_what_removes_them(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    me, staging = current_process(), here / "runs" / "cnn" / "checkpoints" / ".staging"
    mine = staged_name("a.pt")
    for name in (mine, mine.replace(f"~{me.pid}~", f"~{DEAD_PID}~")):
        (staging / name).write_bytes(b"torn")

    found = answer(["verify", "cnn"], capsys)["findings"]

    assert [(item["key"], item["damaged"]) for item in found] == [(".staging", False)]
    assert "1 torn writes" in found[0]["message"]


@pytest.mark.parametrize(
    "words", [["prune", "cnn", "--keep-last", "1", "--metric", "val/loss"], ["trash", "--all"]], ids=["prune", "trash"]
)
def test_an_option_that_would_do_nothing_is_wrong_use(
    here: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    assert run(words) == 2

    assert "goes with" in capsys.readouterr().err


def test_where_the_disk_refused_and_what_makes_room_is_said(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system names no file where a write fails; the name of a torn one would tell a person nothing."""

    def refuse(_fd: int, _data: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(LOCAL, "write", refuse, raising=False)

    assert run(["pin", "cnn:latest"]) == 14

    said = capsys.readouterr().err
    assert said == (
        "ckptop: runs/cnn/checkpoints/.staging: No space left on device; `ckptop trash --empty` makes room\n"
    )


@pytest.mark.parametrize("where", ["runs/cnn", "runs/cnn/checkpoints"])
def test_a_run_is_no_store_and_no_way_around_what_it_protects(
    here: Path, capsys: pytest.CaptureFixture[str], where: str
) -> None:
    for words in (["prune", "checkpoints"], ["delete", "checkpoints:latest"], ["trash"], ["ls"], ["verify"]):
        assert run([*words, "--store", where]) == 2
        assert "its store is" in capsys.readouterr().err
    assert not Store(here / where).is_standalone
