"""docs/commands.md names every command there is, and its examples run in the order of the page."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from trained_store import write_digits

from ckptop.cli.main import COMMANDS, run

PAGE = (Path(__file__).parent.parent / "docs" / "commands.md").read_text()
BLOCKS = re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
EXAMPLES = [line.removeprefix("$ ckptop ") for block in BLOCKS for line in block.splitlines()]
NEED_A_TERMINAL = {"demo", "dashboard"}


def test_every_command_is_on_the_page_and_no_other() -> None:
    rows = set(re.findall(r"^\| `([a-z]+)` \|", PAGE, re.MULTILINE))

    assert rows | {"completion"} == set(COMMANDS) - {"dashboard"}


def test_every_command_has_an_example() -> None:
    assert {example.split()[0] for example in EXAMPLES} == set(COMMANDS) - NEED_A_TERMINAL


def test_the_examples_run_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("CKPTOP_STORE", raising=False)
    monkeypatch.chdir(tmp_path)
    write_digits(tmp_path)

    for example in EXAMPLES:
        command, _, remark = example.partition("#")
        wanted = int(remark.split()[1].strip(":")) if remark else 0
        if not command.startswith("rehearse"):
            assert (run_example(shlex.split(command)), command) == (wanted, command), capsys.readouterr()


@pytest.mark.slow
def test_the_rehearsal_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It trains, kills and resumes: half a minute."""
    monkeypatch.chdir(tmp_path)

    assert [run(shlex.split(example)) for example in EXAMPLES if example.startswith("rehearse")] == [0]


def run_example(words: list[str]) -> int:
    """Here, but for trainings: what a resume starts again is the command line of a process, and one outlives us."""
    if words[0] in ("train", "resume"):
        return subprocess.run([sys.executable, "-m", "ckptop.cli", *words], check=False).returncode
    return run(words)
