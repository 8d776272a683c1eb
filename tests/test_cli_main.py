"""The command line as a whole: what it does with nonsense, and how it ends."""

from __future__ import annotations

from pathlib import Path

import pytest
from store_fixture import build_store

from ckptop.cli.main import COMMANDS, run


def test_version_says_which(capsys: pytest.CaptureFixture[str]) -> None:
    code = run(["--version"])

    assert code == 0
    assert capsys.readouterr().out.startswith("ckptop ")


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    run(["--help"])

    shown = capsys.readouterr().out
    assert all(f"  {name} " in shown for name in COMMANDS if name != "dashboard")


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "dashboard"])
def test_every_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    code = run([name, "--help"])

    assert code == 0
    assert f"Usage: ckptop {name}" in capsys.readouterr().out


def test_a_misspelled_command_is_answered_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    code = run(["verfiy"])

    assert code == 2
    assert "did you mean `ckptop verify`?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["prune"], "prune: Missing argument 'RUN'"),
        (["ls", "--bogus"], "ls: No such option '--bogus'"),
        (["promote", "a"], "promote: Missing option '--to'. Choose from: milestone, production"),
        (["prune", "a", "--keep-last", "-1"], "prune: Invalid value for '--keep-last': -1 is not in the range x>=0"),
        (["show", "a", "\x1b[31mred"], "show: Got unexpected extra argument (red)"),
    ],
)
def test_wrong_use_is_one_line_that_says_where_to_read(
    args: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run(args)

    assert code == 2
    assert capsys.readouterr().err == f"ckptop {said}; see `ckptop {args[0]} --help`\n"


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (["--bogus"], "ckptop: No such option '--bogus'; see `ckptop --help`"),
        (["verfiy"], "ckptop: 'verfiy' is neither a command nor a store; did you mean `ckptop verify`?"),
    ],
)
def test_wrong_use_of_no_command_is_one_line_too(
    args: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run(args)

    assert code == 2
    assert capsys.readouterr().err == f"{line}\n"


@pytest.mark.parametrize(
    "args", [["{file}"], ["ls", "{file}"], ["verify", "{file}"], ["train", "digits", "--store", "{file}"]]
)
def test_a_store_that_is_a_file_is_one_clear_line(
    args: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("no store")

    code = run([arg.format(file=file) for arg in args])

    error = capsys.readouterr().err
    assert code == 2
    assert "is a file" in error
    assert error.count("\n") == 1
    assert file.read_text() == "no store"


@pytest.mark.parametrize("args", [["ls", "nope"], ["prune", "nope"], ["resume", "nope"], ["stop", "nope"]])
def test_a_run_that_is_not_there_is_answered_with_those_that_are(
    args: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build_store(tmp_path)

    code = run([*args, "--store", str(tmp_path)])

    assert code == 11
    assert "there: cnn-lr3e-4, diabetes" in capsys.readouterr().err


def test_a_store_that_is_not_there_says_what_makes_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = run(["ls", "--store", str(tmp_path / "none")])

    assert code == 11
    assert "`ckptop train` makes a store" in capsys.readouterr().err


def test_the_dashboard_without_a_terminal_names_what_works(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = run([str(tmp_path)])

    assert code == 2
    assert "needs a terminal" in capsys.readouterr().err


def test_escape_codes_in_an_argument_reach_no_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build_store(tmp_path)

    run(["ls", "\x1b[31mred", "--store", str(tmp_path)])

    assert "\x1b" not in capsys.readouterr().err
