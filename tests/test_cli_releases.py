"""`releases`, `rollback` and `yank`, on releases made without torch."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import time
from pathlib import Path
from typing import Any

import pytest
from store_fixture import RunPlan, build_store

from ckptop.cli.main import run
from ckptop.store.layout import StorePaths
from ckptop.store.records import Actor
from ckptop.store.registry import ReleaseLine, append_release, read_registry
from ckptop.store.releases import refresh_release_links

CNN = RunPlan(name="cnn", phase="stopped", epochs=12, checkpoints=4, milestones=(10,))


def release(paths: StorePaths, model: str, version: str, **facts: Any) -> None:
    """A release of the run `cnn`, made two hours ago."""
    paths.production.mkdir(exist_ok=True)
    data = f"{model} {version}".encode() * 1000
    (paths.production / f"{model}_v{version}.pt").write_bytes(data)
    line = {
        "time": time.time() - 7300, "model": model, "version": version, "file": f"{model}_v{version}.pt",
        "sha256": hashlib.sha256(data).hexdigest(), "size_bytes": len(data), "run": "cnn", "run_id": "id-cnn",
        "checkpoint": "training/checkpoint_epoch_0012_step_00000288.pt", "epoch": 12, "global_step": 288,
        "metrics": {"train/loss": 0.1, "val/loss": 0.2, "val/accuracy": 0.9812},
        "actor": Actor(user="ada", host="box1", pid=7),
    }  # fmt: skip
    append_release(paths, ReleaseLine(**{**line, **facts}))
    refresh_release_links(paths)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = build_store(tmp_path / "runs", [CNN])
    for version in ("1.0.0", "1.1.0"):
        release(StorePaths(root), "digits", version)
    release(StorePaths(root), "other", "3.0.0")
    monkeypatch.setenv("CKPTOP_STORE", str(root))
    return root


def answer(args: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, Any]:
    capsys.readouterr()
    code = run([*args, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_releases_are_listed_newest_first_under_their_model(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = run(["releases"])

    shown = capsys.readouterr().out
    assert code == 0
    lines = [line.split() for line in shown.splitlines()]
    assert shown.startswith("digits: latest is 1.1.0\n")
    assert lines[1] == ["version", "mark", "age", "by", "from", "val/accuracy", "size"]
    assert lines[2] == ["1.1.0", "latest", "2", "h", "ada", "cnn", "epoch", "12", "0.9812", "11.7", "KiB"]
    assert lines[3][0] == "1.0.0"
    assert "\nother: latest is 3.0.0\n" in shown
    assert max(map(len, shown.splitlines())) <= 80


@pytest.mark.parametrize("args", [["{store}"], ["--store", "{store}"]])
def test_a_store_is_named_either_way(
    args: list[str], store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("CKPTOP_STORE")

    code, listed = answer(["releases", *[arg.format(store=store) for arg in args]], capsys)

    assert code == 0
    assert [model["model"] for model in listed["models"]] == ["digits", "other"]


def test_json_tells_who_when_and_from_where(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(["yank", "digits", "1.0.0", "--reason", "wrong labels"])
    (store / "production" / "digits_v1.1.0.pt").unlink()

    _code, listed = answer(["releases"], capsys)

    digits = listed["models"][0]
    old, new = digits["releases"]
    assert digits["latest"] == "1.1.0"
    assert (old["version"], old["latest"], old["yanked"]["reason"]) == ("1.0.0", False, "wrong labels")
    assert (new["latest"], new["yanked"], new["problem"]) == (True, None, "the file is gone")
    assert new["actor"] == {"user": "ada", "host": "box1", "pid": 7}
    assert (new["run"], new["checkpoint"], new["epoch"]) == (
        "cnn", "training/checkpoint_epoch_0012_step_00000288.pt", 12,
    )  # fmt: skip
    assert new["metrics"]["val/accuracy"] == 0.9812
    assert len(new["sha256"]) == 64


def test_a_yank_and_a_lost_file_are_marked_and_explained(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(["yank", "digits", "1.0.0", "--reason", "wrong labels"])
    (store / "production" / "digits_v1.1.0.pt").unlink()
    capsys.readouterr()

    run(["releases"])

    shown = capsys.readouterr().out
    assert any("yanked" in line and line.endswith("wrong labels") for line in shown.splitlines())
    assert any("! bad" in line and line.endswith("the file is gone") for line in shown.splitlines())


def test_the_metric_shown_is_that_of_the_run(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    metrics = {"train/loss": 0.1, "val/loss": 0.2}
    release(StorePaths(store), "loss", "1.0.0", metrics=metrics)
    release(StorePaths(store), "stranger", "1.0.0", run="../cnn")
    release(StorePaths(store), "bare", "1.0.0", metrics={})

    run(["releases"])

    shown = capsys.readouterr().out
    heads = {shown.splitlines()[n - 1].split(":")[0]: line.split()[5] for n, line in enumerate(shown.splitlines())
             if line.strip().startswith("version")}  # fmt: skip
    assert heads == {
        "digits": "val/accuracy", "other": "val/accuracy", "loss": "val/loss", "stranger": "val/loss", "bare": "metric",
    }  # fmt: skip


def test_a_store_without_releases_says_what_makes_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = run(["releases", str(tmp_path)])

    assert code == 0
    assert "`ckptop promote RUN:best --to production` makes one" in capsys.readouterr().out
    assert answer(["releases", str(tmp_path)], capsys)[1]["models"] == []


def test_a_torn_line_is_told_of_and_hides_nothing(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    registry = StorePaths(store).registry
    registry.write_bytes(registry.read_bytes() + b'{"torn\n')

    code = run(["releases"])

    told = capsys.readouterr()
    assert code == 0
    assert "1 lines of" in told.err
    assert "digits: latest is 1.1.0" in told.out


def test_strings_of_a_registry_are_cleaned(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evil = "\x1b[31mred\u202e\x9b"
    actor = Actor(user=evil, host=evil, pid=1)
    release(StorePaths(store), "evil", "1.0.0", actor=actor, run=evil, metrics={evil: 1.0}, file=evil + ".pt")
    run(["yank", "evil", "1.0.0", "--reason", evil])

    run(["releases"])
    run(["releases", "--json"])

    told = capsys.readouterr()
    assert not any(bad in told.out + told.err for bad in ("\x1b", "\u202e", "\x9b"))


def test_a_rollback_says_what_latest_was_and_is(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = run(["rollback", "digits", "v1.0.0"])

    assert code == 0
    assert capsys.readouterr().out == "digits latest is 1.0.0 now; it was 1.1.0.\n"
    assert (store / "production" / "digits_latest.pt").resolve().name == "digits_v1.0.0.pt"
    assert (store / "production" / "latest.pt").resolve().name == "digits_v1.0.0.pt"
    assert answer(["rollback", "digits", "1.0.0"], capsys) == (
        0, {"model": "digits", "before": "1.0.0", "after": "1.0.0", "changed": False},
    )  # fmt: skip


def test_a_yank_says_what_latest_is_now(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = []
    for version in ("1.1.0", "1.1.0", "1.0.0"):
        assert run(["yank", "digits", version]) == 0
        said.append(capsys.readouterr().out)

    assert said == [
        "Yanked digits 1.1.0; latest is 1.0.0 now.\n",
        "digits 1.1.0 is yanked already; nothing was changed.\n",
        "Yanked digits 1.0.0; latest is none now.\n",
    ]
    assert run(["releases"]) == 0
    assert "digits: latest is none, all are yanked" in capsys.readouterr().out


def test_a_yank_of_an_older_version_leaves_latest(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, told = answer(["yank", "digits", "1.0.0"], capsys)

    assert code == 0
    assert told == {"model": "digits", "version": "1.0.0", "before": "1.1.0", "after": "1.1.0", "changed": True}


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["rollback", "digits", "9.0.0"], 11, "digits has no release 9.0.0; there: 1.0.0, 1.1.0"),
        (["yank", "digits", "9.0.0"], 11, "digits has no release 9.0.0; there: 1.0.0, 1.1.0"),
        (["rollback", "nope", "1.0.0"], 11, "no model 'nope' is released here; there: digits, other"),
        (["rollback", "digits", "one"], 2, "is not a version"),
        (["yank", "digits", "latest"], 2, "is not a version"),
        (["rollback", "digits"], 2, "Missing argument"),
        (["releases", "nope"], 11, "nope does not exist"),
        (["releases", ".", "--store", "."], 2, "name the store once"),
        (["rollback", "digits", "1.0.0", "--store", "nope"], 11, "nope does not exist"),
    ],
)
def test_bad_words_are_one_clear_line_and_change_nothing(
    args: list[str], code: int, said: str, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = StorePaths(store).registry.read_bytes()

    assert run(args) == code

    error = capsys.readouterr().err
    assert said in error
    assert len([line for line in error.splitlines() if not line.startswith(("Usage:", "Try ")) and line]) == 1
    assert StorePaths(store).registry.read_bytes() == before


def test_a_damaged_release_exits_12_and_a_yanked_one_10(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = store / "production" / "digits_v1.0.0.pt"
    file.write_bytes(b"x" * file.stat().st_size)
    assert run(["rollback", "digits", "1.0.0"]) == 12
    run(["yank", "other", "3.0.0"])

    assert run(["rollback", "other", "3.0.0"]) == 10

    assert "is yanked" in capsys.readouterr().err
    assert read_registry(StorePaths(store)).latest("digits") == "1.1.0"


@pytest.mark.parametrize("command", ["pin", "unpin", "delete", "promote"])
def test_a_release_is_no_checkpoint_for_commands_that_change_one(
    command: str, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--to", "milestone"] if command == "promote" else []

    code = run([command, "digits@1.0.0", *more])

    error = capsys.readouterr().err
    assert code == 2
    assert "digits@1.0.0 is a release; name a checkpoint of a run" in error
    assert error.count("\n") == 1


def test_the_commands_on_the_page_answer_as_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Sizes and ages aside, each line that the page prints is printed, and only the last command fails."""
    page = Path(__file__).parent.parent / "docs" / "releases.md"
    block = page.read_text().partition("```console\n")[2].partition("```")[0]
    monkeypatch.chdir(tmp_path)

    codes = []
    for part in block.split("$ ckptop ")[1:]:
        command, *wanted = part.splitlines()
        capsys.readouterr()
        codes.append(run(shlex.split(command)))
        told = capsys.readouterr()
        shown = {plain(line) for line in (told.out + told.err).splitlines()}
        assert {plain(line) for line in wanted} <= shown, command

    assert codes == [0] * 7 + [10]


def plain(line: str) -> str:
    """A printed line without what differs from one machine and moment to the next."""
    return re.sub(r"\s+", " ", re.sub(r"\d+ (KiB|s)|0\.9\d+|root|\w+(?= digits epoch)", "-", line)).strip()
