"""`show`: everything known of a checkpoint, a run or a release."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from store_fixture import RunPlan, build_store

from ckptop.cli.main import run
from ckptop.store import Run
from ckptop.store.checkpoints import CheckpointManager
from ckptop.store.layout import manifest_path
from ckptop.store.manifest import encode
from ckptop.store.names import Version
from ckptop.store.promote import promote_to_production
from ckptop.store.store import Store

CNN = RunPlan(name="cnn", phase="stopped", epochs=12, checkpoints=8, milestones=(3, 6), from_step=168)
FORK = RunPlan(name="fork", phase="finished", epochs=5, parent="cnn")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = build_store(tmp_path / "runs", [CNN, FORK, RunPlan(name="dead", alive=False, epochs=4)])
    monkeypatch.setenv("CKPTOP_STORE", str(root))
    return root


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stand-alone set with two checkpoints of a real model, a milestone and two releases, one of them yanked."""
    root = tmp_path_factory.mktemp("show") / "mine"
    manager = CheckpointManager(root, model_name="tiny")
    model = torch.nn.Sequential(*[torch.nn.Linear(4, 4) for _ in range(8)])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.ones(1, 4)).sum().backward()
    optimizer.step()
    for epoch in (1, 2):
        manager.save_training_checkpoint(model, optimizer, epoch, epoch * 10, {"val/accuracy": epoch / 4}, {"lr": 0.1})
    manager.save_milestone_checkpoint(model, 0.5, "val/accuracy", 2, step=20)
    store = Store.open(root)
    view = store.run("mine")
    for minor in (0, 1):
        promote_to_production(
            store.paths, view, view.checkpoints[-1], model="tiny", version=Version(1, minor, 0),
            card={"use": {"intended": "tests"}},
        )  # fmt: skip
    run(["yank", "tiny", "1.0.0", "--reason", "wrong labels", "--store", str(root)])
    return root


def answer(args: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, Any]:
    capsys.readouterr()
    code = run([*args, "--json"])
    return code, json.loads(capsys.readouterr().out)


def printed(args: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """What was printed, by name; the lines of a value joined by a bar."""
    capsys.readouterr()
    assert run(args) == 0
    facts: dict[str, str] = {}
    name = ""
    for line in capsys.readouterr().out.splitlines():
        if line.startswith("  "):
            head, _, value = line[2:].partition("  ")
            name = head or name
            facts[name] = f"{facts[name]} | {value.strip()}" if not head else value.strip()
    return facts


def test_a_checkpoint_tells_its_place_marks_and_names(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(["pin", "cnn:best"])
    training = Store.open(store).run("cnn").checkpoints
    twin = next(info for info in training if info.tier == "training" and info.epoch == 9)

    facts = printed(["show", "cnn:best"], capsys)

    assert facts["marks"] == "best, pinned"
    assert facts["place"] == "milestone, epoch 9, step 216"
    assert facts["same bytes"] == twin.key
    assert facts["best so far"] == "val/accuracy 0.9812 at epoch 9"
    assert facts["lineage"] == "attempt 2, from step 168"
    assert facts["pinned"].startswith("by ")
    assert facts["val/accuracy"] == "0.9812"
    assert facts["batch_size"] == "64"
    assert facts["pytorch_version"] == "2.13.0"


def test_the_best_so_far_is_of_the_checkpoints_up_to_this_one(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _code, early = answer(["show", "cnn:epoch=5"], capsys)
    _code, late = answer(["show", "cnn:epoch=12"], capsys)

    assert early["best_so_far"]["epoch"] == 5
    assert (late["best_so_far"]["epoch"], late["best_so_far"]["value"]) == (9, 0.9812)


def test_json_of_a_checkpoint_holds_all_of_it(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, told = answer(["show", "cnn:latest"], capsys)

    assert code == 0
    assert (told["kind"], told["run"], told["tier"], told["epoch"], told["step"]) == (
        "checkpoint", "cnn", "training", 12, 288,
    )  # fmt: skip
    assert (told["latest"], told["best"], told["pin"], told["forks"]) == (True, False, None, [])
    assert told["config"] == {"lr": 0.001, "batch_size": 64, "model": "cnn", "scheduler": "cosine"}
    assert told["lineage"]["attempt"]["attempt"] == 2
    assert told["lineage"]["parent"] is None
    assert len(told["xxh3_128"]) == 32
    assert told["tensors"] is None
    assert "cannot be read as a checkpoint" in told["tensors_problem"]


def test_a_checkpoint_tells_what_saving_it_took(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Run.create(tmp_path, name="timed", task="tiny", async_save=True) as timed:
        timed.log(1, {"train/loss": 1.0})
        timed.checkpoints.save_training_checkpoint(torch.nn.Linear(2, 2), None, 1, 1, {})
        timed.checkpoints.wait()

    code, facts = answer(["show", "timed:latest", "--store", str(tmp_path)], capsys)
    run(["show", "timed:latest", "--store", str(tmp_path)])

    assert code == 0
    assert 0 < facts["save"]["blocked_seconds"] < facts["save"]["durable_seconds"]
    assert re.search(r"save +\S+ s of the loop, durable after \S+ s", capsys.readouterr().out)


def test_the_largest_tensors_are_shown_and_all_if_asked_for(real: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _code, told = answer(["show", "mine:latest", "--store", str(real)], capsys)
    _code, every = answer(["show", "mine:latest", "--store", str(real), "--tensors"], capsys)

    tensors = told["tensors"]
    sums = {"tensors": 16, "elements": 160, "size_bytes": 640}
    assert tensors["groups"] == [{"name": "model", **sums}, {"name": "optimizer", **sums}]
    assert len(tensors["largest"]) == 10
    assert tensors["largest"][0] == {
        "name": "model_state_dict.0.weight", "dtype": "float32", "shape": [4, 4], "elements": 16, "size_bytes": 64,
    }  # fmt: skip
    assert len(every["tensors"]["all"]) == tensors["count"] == 32


def test_tensors_are_printed_by_group_and_size(real: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["show", "mine:latest", "--store", str(real)]) == 0
    short = capsys.readouterr().out
    run(["show", "mine:latest", "--store", str(real), "--tensors"])
    long = capsys.readouterr().out

    rows = [line.split() for line in short.splitlines()]
    assert ["model", "16", "160", "640", "B"] in rows
    assert ["total", "32", "320", "1.2", "KiB"] in rows
    assert ["model_state_dict.0.weight", "float32", "4x4", "64", "B"] in rows
    assert "  22 smaller ones; --tensors prints all.\n" in short
    assert "--tensors" not in long
    assert "model_state_dict.7.bias" in long


def test_a_run_by_its_name_is_the_run(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["delete", f"cnn:{Store.open(store).run('cnn').checkpoints[0].key}"]) == 0

    facts = printed(["show", "cnn"], capsys)

    assert facts["task"] == "digits"
    assert facts["command"] == "ckptop train digits"
    assert facts["metric"] == "val/accuracy, higher is better"
    assert facts["progress"] == "epoch 12 of 100, step 288 of 2,400, 12 %"
    assert facts["exit"] == "code 3"
    assert facts["best"].startswith("val/accuracy 0.9812 at epoch 9 | milestone/")
    assert facts["latest"] == "training/checkpoint_epoch_0012_step_00000288.pt"
    assert facts["training"] == "8 · 32.0 KiB"
    assert facts["milestone"] == "2 · 8.0 KiB"
    assert facts["on disk"].startswith("32.0 KiB")
    assert facts["trash"] == "1 · 4.0 KiB"
    assert facts["lr"] == "0.001"


def test_json_of_a_run_holds_all_of_it(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, told = answer(["show", "cnn"], capsys)

    assert code == 0
    assert (told["kind"], told["run"], told["state"], told["seed"]) == ("run", "cnn", "stopped", 0)
    assert [attempt["from_step"] for attempt in told["attempts"]] == [0, 168]
    assert told["typed"] == "ckptop train digits"
    assert told["status"]["phase"] == "stopped"
    assert told["tiers"]["training"] == {"count": 8, "size_bytes": 8 * 4096}
    assert told["put_away"] == {}
    assert told["best"]["epoch"] == 9


def test_a_fork_and_its_parent_know_each_other(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    info = Store.open(store).run("cnn").latest
    assert info is not None
    assert info.manifest is not None
    manifest_path(info.path).write_bytes(encode(msgspec.structs.replace(info.manifest, forks=["fork", "gone"])))

    assert printed(["show", "fork"], capsys)["parent"] == "cnn:training/none.pt"
    assert printed(["show", "cnn"], capsys)["forks"] == "fork | gone (deleted)"
    assert printed(["show", "cnn:latest"], capsys)["forks"] == "fork | gone (deleted)"
    assert "forked from cnn:training/none.pt" in printed(["show", "fork:latest"], capsys)["lineage"]


def test_a_crashed_run_names_its_process(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = run(["show", "dead"])

    shown = capsys.readouterr().out
    assert code == 0
    assert shown.startswith("dead: crashed\n")
    assert "  process    pid " in shown


def test_a_release_tells_card_config_and_origin(real: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = printed(["show", "tiny@latest", "--store", str(real)], capsys)
    code, told = answer(["show", "tiny@v1.1.0", "--store", str(real)], capsys)

    assert facts["use.intended"] == "tests"
    assert facts["from"].startswith("epoch 2, step 20 | ")
    assert code == 0
    assert (told["kind"], told["version"], told["latest"], told["yanked"]) == ("release", "1.1.0", True, None)
    assert told["card"] == {"use.intended": "tests"}
    assert told["config"] == {"lr": 0.1}
    assert [group["name"] for group in told["tensors"]["groups"]] == ["model"]


def test_a_yanked_release_says_who_and_why(real: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = printed(["show", "tiny@1.0.0", "--store", str(real)], capsys)

    assert facts["yanked"].startswith("by ")
    assert facts["because"] == "wrong labels"


def test_a_checkpoint_lists_the_releases_made_from_it(real: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = printed(["show", "mine:latest", "--store", str(real)], capsys)

    assert facts["releases"] == "tiny@1.0.0 (yanked) | tiny@1.1.0 (latest)"


def test_a_run_and_a_checkpoint_are_named_by_path_too(
    store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    info = Store.open(store).run("cnn").checkpoints[0]
    monkeypatch.delenv("CKPTOP_STORE")

    assert answer(["show", str(store / "cnn")], capsys)[1]["run"] == "cnn"
    assert answer(["show", str(info.path)], capsys)[1]["checkpoint"] == info.key


def test_a_directory_that_looks_like_a_checkpoint_is_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build_store(tmp_path / "a:b", [FORK])

    assert answer(["show", str(tmp_path / "a:b" / "fork")], capsys)[1]["run"] == "fork"


def test_a_stand_alone_set_is_shown_as_a_run(real: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, told = answer(["show", str(real)], capsys)

    assert code == 0
    assert (told["run"], told["checkpoint_count"], told["status"]) == ("mine", 3, None)
    assert printed(["show", str(real)], capsys)["training"].startswith("2 · ")


def test_a_damaged_manifest_exits_12_and_the_rest_is_shown(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    info = Store.open(store).run("cnn").checkpoints[-1]
    manifest_path(info.path).write_text('{"schema": 1')

    code = run(["show", str(info.path)])

    shown = capsys.readouterr().out
    assert code == 12
    assert "truncated" in shown
    assert "epoch 12, step 288" in shown
    assert answer(["show", str(info.path)], capsys)[0] == 12


def test_an_unreadable_run_exits_12(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (store / "cnn" / "run.json").write_text("{")

    code, told = answer(["show", "cnn"], capsys)

    assert code == 12
    assert told["state"] == "unreadable"
    assert run(["show", "cnn"]) == 12
    assert "problem" in capsys.readouterr().out


@pytest.mark.parametrize("lost", ["tiny_v1.1.0.pt", "tiny_v1.1.0.config.json"])
def test_a_release_without_its_file_or_facts_exits_12(
    lost: str, real: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = real / "production" / lost
    kept = path.read_bytes()
    path.unlink()

    code = run(["show", "tiny@1.1.0", "--store", str(real)])
    path.write_bytes(kept)

    assert code == 12
    assert "gone" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["nope"], 11, "no run 'nope'"),
        (["cnn:epoch=99"], 11, "has not a checkpoint of epoch 99"),
        (["cnn@1.0.0"], 11, "no model 'cnn' is released here"),
        (["missing/file.pt"], 11, "does not exist"),
        (["{store}"], 2, "is a store; `ckptop ls"),
        (["cnn", "--tensors"], 2, "--tensors goes with a checkpoint or a release, such as cnn:latest"),
        ([], 2, "Missing argument"),
    ],
)
def test_bad_words_are_one_clear_line(
    args: list[str],
    code: int,
    said: str,
    store: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if args == ["{store}"]:
        monkeypatch.delenv("CKPTOP_STORE")

    assert run(["show", *[arg.format(store=store) for arg in args]]) == code

    error = capsys.readouterr().err
    assert said in error
    assert len([line for line in error.splitlines() if not line.startswith(("Usage:", "Try ")) and line]) == 1


def test_strings_out_of_files_are_cleaned(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evil = "\x1b[31mred\u202e\x9b"
    info = Store.open(store).run("cnn").checkpoints[-1]
    assert info.manifest is not None
    manifest = msgspec.structs.replace(
        info.manifest, config={evil: {evil: evil}}, environment={"a": [evil]}, metrics={evil: 1.0}, forks=[evil],
        git_commit=evil,
    )  # fmt: skip
    manifest_path(info.path).write_bytes(encode(manifest))
    record = store / "cnn" / "run.json"
    text = record.read_text().replace('"digits"', json.dumps(evil)).replace('"cosine"', json.dumps(evil))
    record.write_text(text)

    named = info.path.with_name(evil + ".pt")
    named.write_bytes(b"")

    for what in ("cnn", "cnn:latest", str(named)):
        run(["show", what])
        run(["show", what, "--json"])

    shown = capsys.readouterr()
    assert not any(bad in shown.out + shown.err for bad in ("\x1b", "\u202e", "\x9b"))
    assert "red" in shown.out


def test_a_configuration_nested_without_end_is_cut_not_fatal(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = store / "cnn" / "run.json"
    deep = '{"a":' * 400 + "1" + "}" * 400
    raw = json.loads(record.read_text())
    raw["attempts"][0]["overrides"] = raw["config"] = "DEEP"
    record.write_text(json.dumps(raw).replace('"DEEP"', deep))

    code, told = answer(["show", "cnn"], capsys)

    assert code == 0
    assert list(told["config"].values()) == ["…"]
    assert run(["show", "cnn"]) == 0


def test_it_fits_eighty_columns_but_for_paths_and_hashes(real: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for what in ("mine", "mine:latest", "tiny@latest"):
        run(["show", what, "--store", str(real)])

    long = [line for line in capsys.readouterr().out.splitlines() if len(line) > 80]
    assert all(line.split()[0] in ("path", "sha256") for line in long), long


@pytest.mark.parametrize("what", ["mine", "mine:latest", "tiny@latest"])
def test_it_loads_no_torch(what: str, real: Path) -> None:
    code = (
        "import sys\nfrom ckptop.cli.main import run\n"
        f"assert run(['show', {what!r}, '--store', {str(real)!r}]) == 0\n"
        "assert not {'torch', 'numpy', 'textual'} & sys.modules.keys()"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=real)

    assert done.returncode == 0, done.stderr


def test_looking_changes_nothing(store: Path) -> None:
    def everything() -> dict[str, int]:
        return {str(path): path.lstat().st_mtime_ns for path in store.rglob("*")}

    before = everything()

    for args in (["show", "cnn"], ["show", "cnn:best"], ["releases"]):
        run(args)

    assert everything() == before


def test_a_closed_file_is_said_not_fatal(
    store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Root may read everything, so the refusal is made up."""

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("ckptop.cli.show.read_tensor_table", refuse)

    code = run(["show", "cnn:latest"])

    assert code == 0
    assert "not known  cannot be read: Permission denied" in capsys.readouterr().out
