"""How long `ckptop --version`, `ls`, `ps` and a TAB take, beside a bare click program and Python itself.

    python benchmarks/startup.py [ROUNDS]

From starting the process to its end, in turn: ours, then each peer. Nothing is asserted.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from support.report import CKPTOP, alternate, print_head, print_seconds, scratch, seconds_of_command
from support.stores import write_store

ROUNDS = 25

CLICK_PROGRAM = """
import click


@click.command()
@click.version_option("0.1.0")
def main():
    pass


main()
"""


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    with scratch() as folder:
        program = folder / "click_program.py"
        program.write_text(CLICK_PROGRAM)
        few = write_store(folder / "few", 10)
        many = write_store(folder / "many", 1_000)
        peers = {
            "a bare click program --version": command(sys.executable, program, "--version"),
            "python -c pass": command(sys.executable, "-c", "pass"),
        }
        print_head("Start-up")
        ours = {
            "ckptop --version": command(CKPTOP, "--version"),
            "ckptop ls, 10 runs × 20": command(CKPTOP, "ls", few),
            "ckptop ls RUN, 20 checkpoints": command(CKPTOP, "ls", "run-0001", "--store", few),
        }
        found = alternate(ours | peers, rounds)
        print_seconds(found, budgets=dict(zip(ours, (0.10, 0.15, 0.15), strict=True)))
        large = {
            "ckptop ps, 1,000 runs × 20": command(CKPTOP, "ps", many),
            "TAB after ckptop logs, of 1,000 runs": tab("ckptop logs ", many),
            "TAB after ckptop show RUN:": tab("ckptop show run-0001:", many),
            "ckptop ls, 1,000 runs × 20": command(CKPTOP, "ls", many),
        }
        found = alternate(large | peers, max(3, rounds // 5))
        print_seconds(found, budgets={"ckptop ps, 1,000 runs × 20": 0.5})


def command(*argv: str | Path) -> Callable[[], float]:
    return partial(seconds_of_command, [str(word) for word in argv])


def tab(line: str, store: Path) -> Callable[[], float]:
    """What a shell waits for when TAB is pressed at the end of `line`."""
    asked = {"_CKPTOP_COMPLETE": "bash_complete", "COMP_LINE": line, "COMP_POINT": len(line), "CKPTOP_STORE": store}
    return command("env", *(f"{name}={value}" for name, value in asked.items()), CKPTOP)


if __name__ == "__main__":
    main()
