"""Shell completion: commands, options, runs, checkpoints, releases, tasks.

What an argument means is read off its metavar (RUN, CHECKPOINT, MODEL, …), so that no command has to say it again. A
TAB costs a start of ckptop, so names come from directory listings and no manifest is read. Click's script for bash
passes words, which bash cuts at colons; ours passes the line.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    add_completion_class,
    get_completion_class,
    split_arg_string,
)

from ckptop.cli.common import default_store
from ckptop.cli.main import COMPLETE_VARIABLE
from ckptop.store.errors import CkptopError
from ckptop.store.layout import RunPaths
from ckptop.store.names import is_run_name, parse_checkpoint_name
from ckptop.store.store import Store

SHELLS = ("bash", "zsh", "fish")
MOST_NUMBERS = 200
"""Epochs and steps offered of one run, the newest."""

_WORDS = re.compile(r"[A-Za-z]+")
_PLACES = frozenset({"STORE", "DIR"})

_BASH = """\
%(complete_func)s() {
    local IFS=$'\\n' response type value
    response=$(env COMP_LINE="$COMP_LINE" COMP_POINT="$COMP_POINT" COMP_WORDBREAKS="$COMP_WORDBREAKS" \
%(complete_var)s=bash_complete $1)
    for completion in $response; do
        IFS=',' read -r type value <<< "$completion"
        case $type in
            dir) COMPREPLY=(); compopt -o dirnames ;;
            file) COMPREPLY=(); compopt -o default ;;
            plain) COMPREPLY+=("$value") ;;
        esac
    done
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""

Candidates = Callable[[Store, click.Context, str], Iterable[str]]


@click.command()
@click.argument("shell", type=click.Choice(SHELLS), metavar="|".join(SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script that teaches a shell to complete ckptop's commands, options, runs and checkpoints.

    bash: ckptop completion bash > ~/.local/share/bash-completion/completions/ckptop

    zsh: ckptop completion zsh > "${fpath[1]}/_ckptop"

    fish: ckptop completion fish > ~/.config/fish/completions/ckptop.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None  # noqa: S101 - the choices are click's
    click.echo(kind(ctx.find_root().command, {}, "ckptop", COMPLETE_VARIABLE).source(), nl=False)


@add_completion_class
class _Bash(BashComplete):
    """Takes the whole line, and gives back only what bash will put in place of its last word."""

    name = "bash"
    source_template = _BASH
    _kept = ""

    def get_completion_args(self) -> tuple[list[str], str]:
        """The words before the one under the cursor, and that one as far as it was typed."""
        line = os.environ.get("COMP_LINE", "")[: int(os.environ.get("COMP_POINT", "0"))]
        words = split_arg_string(line)[1:]
        incomplete = words.pop() if words and not line[-1:].isspace() else ""
        breaks = os.environ.get("COMP_WORDBREAKS", "")
        ends = [place for place, letter in enumerate(incomplete) if letter in breaks]
        self._kept = incomplete[: ends[-1] + 1] if ends else ""
        return words, incomplete

    def format_completion(self, item: CompletionItem[str]) -> str:
        """Without what stands on the line already, as bash sees it."""
        return f"{item.type},{item.value.removeprefix(self._kept)}"

    @staticmethod
    def _check_version() -> None:
        """Click starts a bash to warn of old ones; ours works without what they lack."""


def teach(command: click.Command) -> None:
    """Let the parameters of a command complete what their metavars name."""
    for parameter in command.params:
        words = set(_WORDS.findall(parameter.metavar or ""))
        known = _OF_NAMED_RUN if "latest" in words else _CANDIDATES
        found = [candidates for word, candidates in known.items() if word in words]
        if found or words & _PLACES:
            parameter.shell_complete = _completer(found, words)  # type: ignore[assignment]  # one of ours for one of its class


def commands(names: Iterable[tuple[str, str]], incomplete: str) -> list[CompletionItem[str]]:
    """The commands that begin so; a store's directory where none does."""
    found = [CompletionItem(name, help=summary) for name, summary in names if name.startswith(incomplete)]
    return found or [CompletionItem(incomplete, type="dir")]


def _completer(
    candidates: list[Candidates], words: set[str]
) -> Callable[[click.Context, str], list[CompletionItem[str]]]:
    def complete(ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
        store = Store(Path(ctx.params.get("store_path") or default_store()).expanduser())
        found: list[CompletionItem[str]] = []
        for one in candidates:
            with suppress(CkptopError, OSError):  # a store that cannot be read completes nothing
                found += [
                    CompletionItem(value) for value in one(store, ctx, incomplete) if value.startswith(incomplete)
                ]
        if not found and (words & _PLACES or ("CHECKPOINT" in words and ":" not in incomplete)):
            return [CompletionItem(incomplete, type="dir" if words & _PLACES else "file")]
        return found

    return complete


def _runs(store: Store, _ctx: click.Context, _incomplete: str) -> Iterable[str]:
    return store.run_names()


def _checkpoints(store: Store, _ctx: click.Context, incomplete: str) -> Iterator[str]:
    name, colon, _ = incomplete.partition(":")
    if colon:
        yield from (f"{name}:{selector}" for selector in _selectors(store, name))
    else:
        yield from store.run_names()


def _selectors_of_named(store: Store, ctx: click.Context, _incomplete: str) -> Iterable[str]:
    """Of the run that the line names elsewhere; click has not assigned it yet where an option waits for its value."""
    named = [ctx.params.get("run"), ctx.params.get("name"), *ctx.args]
    return _selectors(store, next((name for name in named if isinstance(name, str)), ""))


def _selectors(store: Store, run: str) -> Iterator[str]:
    yield from ("latest", "best")
    yield from _numbers(store, run)


def _numbers(store: Store, run: str) -> Iterator[str]:
    """`epoch=N` and `step=N` of a run's training checkpoints, newest first, as their names say."""
    if not is_run_name(run):
        return
    with os.scandir(RunPaths(store.root / run).checkpoints.training) as entries:
        parsed = [parse_checkpoint_name(entry.name) for entry in entries]
    places = sorted(((one.epoch, one.step or 0) for one in parsed if one is not None), reverse=True)[:MOST_NUMBERS]
    yield from dict.fromkeys(f"epoch={epoch}" for epoch, _ in places)
    yield from (f"step={step}" for _, step in places)


def _models(store: Store, _ctx: click.Context, _incomplete: str) -> Iterable[str]:
    from ckptop.store.registry import read_registry

    return sorted({release.model for release in read_registry(store.paths).releases})


def _versions(store: Store, ctx: click.Context, incomplete: str) -> Iterator[str]:
    """`1.2.0` where the model was named before; else `digits@1.2.0`, once an @ was typed."""
    model = ctx.params.get("model")
    wanted = model if isinstance(model, str) else incomplete.partition("@")[0]
    if wanted == incomplete:
        return
    from ckptop.store.registry import read_registry

    prefix = "" if isinstance(model, str) else f"{wanted}@"
    for release in read_registry(store.paths).releases:
        if release.model == wanted:
            yield f"{prefix}{release.version}"


def _tasks(_store: Store, _ctx: click.Context, _incomplete: str) -> Iterable[str]:
    from ckptop.trainer.registry import task_names

    return task_names()


_CANDIDATES: dict[str, Candidates] = {
    "RUN": _runs,
    "CHECKPOINT": _checkpoints,
    "MODEL": _models,
    "VERSION": _versions,
    "TASK": _tasks,
}
_OF_NAMED_RUN: dict[str, Candidates] = {"latest": _selectors_of_named, "auto": lambda *_: ("auto",)}
