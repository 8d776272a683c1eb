"""The command line: finds the command, imports only that one, and turns every error into one line.

`ckptop --version` imports click and nothing else of weight; `ckptop STORE` is the dashboard.
"""

from __future__ import annotations

import errno
import importlib
import io
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ckptop.cli.garbage import nothing_collected
from ckptop.cli.version import VERSION

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

COMPLETE_VARIABLE = "_CKPTOP_COMPLETE"
"""Set where a shell asks how a line may go on."""

COMMANDS = {
    "demo": "demo",
    "train": "train",
    "rehearse": "rehearse",
    "resume": "resume",
    "ls": "listing",
    "show": "show",
    "diff": "diff",
    "verify": "verify",
    "predict": "predict",
    "eval": "eval",
    "export": "export",
    "prune": "prune",
    "delete": "delete",
    "restore": "delete",
    "trash": "trash",
    "pin": "pin",
    "unpin": "pin",
    "promote": "promote",
    "releases": "releases",
    "rollback": "releases",
    "yank": "releases",
    "ps": "ps",
    "why": "why",
    "logs": "logs",
    "watch": "watch",
    "ctl": "ctl",
    "stop": "stop",
    "doctor": "doctor",
    "completion": "completion",
    "dashboard": "dashboard",
}
"""Command to module of `ckptop.cli`; each module has a click command named like the command."""

_SUMMARIES = {
    "demo": "Train two real models in the background and watch them.",
    "train": "Train a task, headless.",
    "rehearse": "Try a training for a few steps: is it safe to leave overnight?",
    "resume": "Go on with a run, in the background, where it stopped.",
    "ls": "List runs, or a run's checkpoints.",
    "show": "Print everything known of a checkpoint, a run or a release.",
    "diff": "Print in what two checkpoints, or two runs, differ.",
    "verify": "Check sizes and hashes of everything kept.",
    "predict": "Write what a trained model answers to a file of inputs.",
    "eval": "Score checkpoints on data, best first, and keep the numbers.",
    "export": "Write a checkpoint's weights to a .safetensors or .pt for other tools.",
    "prune": "Move old checkpoints of a run to its trash, by a policy.",
    "delete": "Move checkpoints, or a whole run, to the trash.",
    "restore": "Take checkpoints or a run back from the trash.",
    "trash": "List what was deleted; --empty removes it for good.",
    "pin": "Mark checkpoints as never to be deleted.",
    "unpin": "Take that mark away.",
    "promote": "Make a checkpoint a milestone or a release.",
    "releases": "List the released versions of every model.",
    "rollback": "Let latest of a model mean another version.",
    "yank": "Take a released version out of use; its file stays.",
    "ps": "Print every run's state: who runs, who died and why.",
    "why": "Print what ended a run, what is saved of it, and how to go on.",
    "logs": "Print what a run's process printed; -f goes on.",
    "watch": "Print a line for whatever happens in a store.",
    "ctl": "Ask a running trainer to save, pause, continue, stop or set lr=1e-4.",
    "stop": "Stop a running trainer after its step; it saves first.",
    "doctor": "Say what of this machine and a store's place matters, and what to do.",
    "completion": "Print the script that teaches a shell to complete all this.",
}


class _Commands(click.Group):
    """Imports a command's module when it is used; what is no command is a store to watch."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_SUMMARIES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        with nothing_collected():
            module = importlib.import_module(f"ckptop.cli.{COMMANDS[cmd_name]}")
        command = getattr(module, cmd_name)
        assert isinstance(command, click.Command)  # noqa: S101 - the table above is ours
        if ctx.resilient_parsing:  # a shell asks how a line may go on
            importlib.import_module("ckptop.cli.completion").teach(command)
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
        if incomplete.startswith("-"):
            return click.Command.shell_complete(self, ctx, incomplete)
        found: list[CompletionItem[str]] = importlib.import_module("ckptop.cli.completion").commands(
            _SUMMARIES.items(), incomplete
        )
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            if not ctx.resilient_parsing:
                _require_store_or_suggest(args[0])
            args = ["dashboard", *args]
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_SUMMARIES.items()))


def _require_store_or_suggest(word: str) -> None:
    if Path(word).exists() or os.sep in word:
        return
    import difflib  # 4 ms that no other command needs

    near = difflib.get_close_matches(word, _SUMMARIES, n=1)
    hint = f"did you mean `ckptop {near[0]}`?" if near else "`ckptop --help` lists the commands"
    raise click.UsageError(f"{word!r} is neither a command nor a store; {hint}")


def _show_version(ctx: click.Context, _param: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        click.echo(f"ckptop {VERSION}")
        ctx.exit()


@click.group(
    cls=_Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    options_metavar="[OPTIONS]",
    subcommand_metavar="[STORE] | COMMAND …",
)
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_version, help="Say which.")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Htop for training runs and their checkpoints.

    `ckptop [STORE]` opens the dashboard on a store of runs ($CKPTOP_STORE, else ./runs).

    Exit codes: 0 done; 1 the answer is no; 2 wrong use; 3 stopped, resumable; 10 store; 11 not found;
    12 damaged; 13 held by another; 14 disk; 15 data; 16 training failed; 17 a missing extra.
    """
    if ctx.invoked_subcommand is None:
        ctx.exit(cli.main(["dashboard"], standalone_mode=False) or 0)


def main() -> None:
    """Run the command line and exit with the documented code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal without a character shows a mark, and no traceback
            stream.reconfigure(errors="replace")
    sys.exit(run(sys.argv[1:]))


def run(args: list[str]) -> int:
    """Run one command; returns the exit code. Every expected error is one line on stderr."""
    if COMPLETE_VARIABLE in os.environ:
        importlib.import_module("ckptop.cli.completion")  # teaches click our script for bash
    try:
        code = cli.main(args, prog_name="ckptop", standalone_mode=False)
    except click.exceptions.Abort:
        return 130
    except click.ClickException as error:
        _explain_use(error)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader of a pipe has gone (`ckptop ls | head`); nothing more can be told to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:  # noqa: BLE001 - the boundary: what is not ours is raised again
        return _explain(error)
    return code if isinstance(code, int) else 0


def _explain_use(error: click.ClickException) -> None:
    """What was wrong with the words, and where to read, in one line; click takes four."""
    from ckptop.host.terminal import clean

    context = error.ctx if isinstance(error, click.UsageError) else None
    message = " ".join(error.format_message().split()).removesuffix(".")
    where, advice = "ckptop", ""
    if context is not None:
        where, advice = context.command_path, f"; see `{context.command_path} --help`"
    click.echo(clean(f"{where}: {message}{advice}"), err=True)


def _explain(error: Exception) -> int:
    from ckptop.host.terminal import clean
    from ckptop.store.errors import CkptopError

    if isinstance(error, CkptopError):
        click.echo(f"ckptop: {clean(str(error))}", err=True)
        return error.exit_code
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        advice = "; `ckptop trash --empty` makes room" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        click.echo(f"ckptop: {clean(where + (error.strerror or str(error)))}{advice}", err=True)
        return 14
    raise error
