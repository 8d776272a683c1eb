"""`ckptop train`: a task, headless. Everything heavy is imported after the arguments are checked."""

from __future__ import annotations

import contextlib
import faulthandler
import importlib.util
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from ckptop.cli.alert_options import alert_options, take_alert_options
from ckptop.cli.common import json_option, store_option
from ckptop.cli.quantities import duration
from ckptop.store.errors import EXIT_DONE

F = TypeVar("F", bound=Callable[..., Any])

_NEEDED = ("torch", "torchmetrics", "sklearn", "tensorboard")
_SHORTCUTS = ("epochs", "lr", "batch_size", "seed", "device", "on_nan", "accept_new_data")
"""Options that set the configuration key of the same name."""
_COLUMNS = 80
_KEY_COLUMNS, _DEFAULT_COLUMNS, _HELP_INDENT = 27, 10, 6


class TaskCommand(click.Command):
    """A command of a task: `--help` behind one lists its configuration, and no task at all lists the tasks.

    The configuration is in the task's module, so that help imports torch with it.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Find the task before click looks at `--help`, which is done at once."""
        if ctx.help_option_names and set(ctx.help_option_names) & set(args):
            values, _, _ = self.make_parser(ctx).parse_args(list(args))
            ctx.meta["task"] = values.get("task")
        return super().parse_args(ctx, args)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The options, then the keys of the task that was named."""
        super().format_help(ctx, formatter)
        task = ctx.meta.get("task")
        formatter.write("\n")
        if isinstance(task, str):
            _write_keys(task, formatter)
        else:
            formatter.write(f"`{ctx.command_path} TASK --help` lists what --set can change of a task.\n")


def training_options(function: F) -> F:
    """What decides about a training: its data, its configuration."""
    options = (
        click.argument("task", metavar="TASK", required=False),
        click.option("--data", type=click.Path(path_type=Path), help="The data, for a task that reads files."),
        click.option("--epochs", type=int, help="How many in all."),
        click.option("--lr", type=float, help="The highest learning rate."),
        click.option("--batch-size", type=int, help="Samples of a batch."),
        click.option("--seed", type=int, help="What everything random is made from."),
        click.option("--device", help="auto, cpu, cuda or cuda:N."),
        click.option("--on-nan", type=click.Choice(["stop", "rollback"]),
                     help="When a loss is no number: end, or go back."),
        click.option("--accept-new-data", is_flag=True, default=None, help="Resume with data that has changed."),
        click.option("--config", "config_file", type=click.Path(path_type=Path), metavar="FILE.toml",
                     help="Configuration."),
        click.option("--set", "settings", multiple=True, metavar="KEY=VALUE",
                     help="Any configuration key; repeatable."),
    )  # fmt: skip
    for option in reversed(options):
        function = option(function)
    return function


@click.command("train", cls=TaskCommand)
@training_options
@click.option("--name", metavar="RUN", help="The run's name (default: the task's, then task-2, …).")
@click.option(
    "--continue-on",
    type=click.Path(path_type=Path),
    metavar="DATA",
    help="Then go on learning on this, from the best checkpoint; --set continue.KEY=VALUE changes how.",
)
@click.option("--continue-from", metavar="RUN[:CHECKPOINT]", help="Begin with the weights of another run's checkpoint.")
@click.option("--resume", metavar="auto|latest|best|CHECKPOINT", help="Go on with the run of that name.")
@store_option
@click.option("--steal", is_flag=True, help="Take over a run another host holds, without waiting for its silence.")
@click.option(
    "--save-before",
    "save_before_seconds",
    type=click.FloatRange(0),
    metavar="SECONDS",
    help="Stop and save so long before the time limit, with exit code 3.",
)
@click.option("--time-limit", metavar="TIME", help="Such as 12h (default: the end of the Slurm job).")
@click.option(
    "--grace",
    "grace_seconds",
    type=click.FloatRange(0),
    metavar="SECONDS",
    help="Give up on ending after a signal when so long has passed (default: wait).",
)
@click.option(
    "--auto-resume",
    type=click.IntRange(0),
    default=0,
    metavar="N",
    help="Start it again after a crash, N times without a new checkpoint between; not after a NaN.",
)
@click.option("--background", is_flag=True, help="Outlive this terminal; prints how to follow it and to stop it.")
@alert_options
@json_option
@click.pass_context  # fmt: skip
def train(
    ctx: click.Context,
    /,
    task: str | None,
    data: Path | None,
    name: str | None,
    config_file: Path | None,
    settings: tuple[str, ...],
    continue_on: Path | None,
    continue_from: str | None,
    resume: str | None,
    store_path: Path,
    steal: bool,
    save_before_seconds: float | None,
    time_limit: str | None,
    grace_seconds: float | None,
    auto_resume: int,
    background: bool,
    on_alert: str | None,
    alert_on: str | None,
    as_json: bool,
    **shortcuts: int | float | str | None,
) -> int:
    """Train TASK (digits, diabetes, price, sentiment, or your own as MODULE:CLASS) and keep its checkpoints.

    Exit codes: 0 done; 3 stopped on request and resumable; 16 the loss became NaN, or memory ran out.
    """
    task = require_task(task)
    require_extra()
    time_limit_seconds = duration(time_limit) if time_limit is not None else None
    take_alert_options(on_alert, alert_on)
    if background or auto_resume:
        _refuse_several(settings)
    if background:
        from ckptop.cli.background import tell_of_start, train_in_background

        launched = train_in_background(ctx, task, name, store_path)
        tell_of_start(launched, f"Training {launched.paths.root.name} in the background", as_json)
        return EXIT_DONE
    if auto_resume:
        from ckptop.cli.background import train_supervised

        return train_supervised(ctx, task, name, store_path)
    if not faulthandler.is_enabled():  # a crash of native code says where it was, in train.log of a background one
        with contextlib.suppress(OSError, ValueError):
            faulthandler.enable()
    from ckptop.trainer.options import TrainOptions
    from ckptop.trainer.train import train as run_training

    return run_training(
        TrainOptions(
            task=task,
            store=store_path,
            data=data,
            name=name,
            config_file=config_file,
            assignments=assignments_of(settings, shortcuts),
            continue_on=continue_on,
            continue_from=continue_from,
            resume=resume,
            steal=steal,
            grace_seconds=grace_seconds,
            save_before_seconds=save_before_seconds,
            time_limit_seconds=time_limit_seconds,
            as_json=as_json,
            argv=["-m", "ckptop.cli", *sys.argv[1:]],
        )
    )


def _refuse_several(settings: tuple[str, ...]) -> None:
    """Several values of a choice are processes already, which this one must wait for."""
    for text in settings:
        key, _, value = text.partition("=")
        if key.removeprefix("model.") in ("features", "preset") and "," in value:
            raise click.UsageError(
                f"{text} trains several runs at once; start each by itself, as {key}={value.partition(',')[0]}"
            )


def assignments_of(settings: tuple[str, ...], shortcuts: Mapping[str, object]) -> list[tuple[str, str]]:
    """Configuration keys and their text, from `--set` and from the options that stand for keys; these win."""
    from ckptop.trainer.config import split_assignment

    given = [(key, str(shortcuts[key])) for key in _SHORTCUTS if shortcuts[key] is not None]
    return [split_assignment(text) for text in settings] + given


def require_task(task: str | None) -> str:
    """The task that was named.

    Raises:
        UsageError: None was; the message lists them.
    """
    if task is not None:
        return task
    from ckptop.trainer.registry import task_names

    raise click.UsageError(
        f"name a task: {', '.join(task_names())}, or your own as MODULE:CLASS, from a file in this directory"
    )


def require_extra() -> None:
    """Say what to install before an import fails halfway."""
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        from ckptop.store.errors import MissingExtra

        raise MissingExtra(f"training needs {', '.join(missing)}: pip install 'ckptop[train]'")


def _write_keys(task: str, formatter: click.HelpFormatter) -> None:
    """The configuration keys of a task, two lines each: key, default and type, then what it is."""
    require_extra()
    from ckptop.host.terminal import clean
    from ckptop.trainer.keys import grouped_keys
    from ckptop.trainer.registry import load_task

    formatter.write(f"Configuration of {clean(task)} (--set KEY=VALUE): key, default, type.\n")
    for heading, keys in grouped_keys(load_task(task).defaults()):
        formatter.write(f"\n{heading}:\n")
        for key in keys:
            cells = f"  {key.name:<{_KEY_COLUMNS}} {key.default:<{_DEFAULT_COLUMNS}} {key.kind}"
            formatter.write(clean(cells).rstrip() + "\n")
            indent = " " * _HELP_INDENT
            if key.help:
                formatter.write(click.wrap_text(clean(key.help), _COLUMNS, indent, indent) + "\n")
