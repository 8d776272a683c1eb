"""docs/headless.md names commands, options, numbers and exit codes that there are, and cells that compile."""

from __future__ import annotations

import configparser
import importlib
import re
from pathlib import Path

import click
import pytest

from ckptop.cli.main import COMMANDS
from ckptop.cli.stop import PATIENCE_SECONDS
from ckptop.store.errors import EXIT_STOPPED, CkptopError
from ckptop.store.lease import OBSERVE_SECONDS
from ckptop.store.state import FOREIGN_SECONDS, STALLED_SECONDS

PAGE = (Path(__file__).parent.parent / "docs" / "headless.md").read_text().replace("\\\n", " ")
BLOCKS: list[tuple[str, str]] = re.findall(r"^```(\w*)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
PROSE = re.sub(r"^```.*?^```", "", PAGE, flags=re.DOTALL | re.MULTILINE)
SPANS = [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", PROSE)]
LINES = [line for _, block in BLOCKS for line in block.splitlines()]
OF_OTHERS = {
    "--init",
    "--hostname",
    "--uts",
    "--network",
    "--pid",
    "--fork",
    "--mount-proc",
    "--user",
    "--restart",
    "--signal",
    "--time",
}
"""Options of docker, podman, unshare, systemd and Slurm."""


def uses_of(texts: list[str]) -> list[list[str]]:
    """The words after each `ckptop` of commands on the page, as far as one command goes."""
    found = [use for text in texts for use in re.findall(r"(?:^|[\s/!'\"])ckptop ([^'\"&|;#]+)", text)]
    return [use.split() for use in found]


USES = uses_of([*SPANS, *LINES])


def options_of(name: str) -> set[str]:
    command = getattr(importlib.import_module(f"ckptop.cli.{COMMANDS[name]}"), name)
    assert isinstance(command, click.Command)
    return {option for parameter in command.params for option in parameter.opts} | {"--help"}


def names_a_store(words: list[str]) -> bool:
    """Whether it is the dashboard of a store."""
    return words[0].startswith("/")


@pytest.mark.parametrize("words", [words for words in USES if not names_a_store(words)], ids=" ".join)
def test_each_command_and_option_of_the_page_exists(words: list[str]) -> None:
    assert words[0] in COMMANDS, words

    options = {word.partition("=")[0] for word in words[1:] if re.match(r"--?[a-z]", word)}
    assert options <= options_of(words[0]), words


def test_the_commands_are_found_wherever_they_stand() -> None:
    """In a unit, a cell, a container, under nohup and in a table: a page that is not read holds no promise."""
    said = " ".join(" ".join(words) for words in USES)

    for use in ("train digits --name overnight", "train digits --name inmux", "--resume auto --grace 80",
                "--resume auto --grace 50", "logs mine", "resume --all-crashed", "stop mine --now", "ps"):  # fmt: skip
        assert use in said, use


def test_each_option_named_alone_is_ours_or_known_to_be_of_others() -> None:
    ours = set().union(*(options_of(name) for name in ("train", "resume", "stop", "rehearse")))
    alone = {re.split(r"[ =]", span)[0] for span in SPANS if span.startswith("--")}

    assert alone - ours <= OF_OTHERS


def test_the_unit_agrees_with_the_exit_codes() -> None:
    (text,) = [block for kind, block in BLOCKS if kind == "ini"]
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]  # its keys are not to be folded to lower case
    unit.read_string(text)
    service = unit["Service"]

    grace_seconds = int(service["ExecStart"].partition("--grace ")[2])

    assert {int(code) for code in service["RestartPreventExitStatus"].split()} == exit_codes(CkptopError)
    assert int(service["SuccessExitStatus"]) == EXIT_STOPPED
    assert grace_seconds < int(service["TimeoutStopSec"])


def exit_codes(error: type[CkptopError]) -> set[int]:
    """Of every error of ours, but for the one that passes on another's."""
    below = set().union(
        *(exit_codes(one) for one in error.__subclasses__() if one.__module__ == CkptopError.__module__)
    )
    return below | ({error.exit_code} if error is not CkptopError else set())


def test_the_numbers_of_the_page_are_those_of_the_code() -> None:
    assert (STALLED_SECONDS, FOREIGN_SECONDS, OBSERVE_SECONDS, PATIENCE_SECONDS) == (30, 60, 60, 60)
    for said in (
        "`stalled` after 30 s",
        "its heartbeat a minute old, `unknown`",
        "stood still for 60 s",
        "waits a minute",
    ):
        assert said in " ".join(PAGE.split()), said


def test_the_cells_compile() -> None:
    cells = [block for kind, block in BLOCKS if kind == "python"]

    assert len(cells) == 2
    for cell in cells:
        compile(cell, "headless.md", "exec")
