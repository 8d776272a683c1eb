"""`ckptop train`: a task, headless. Everything heavy is imported after the arguments are checked."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import click

from ckptop.cli.common import json_option, store_option

_NEEDED = ("torch", "torchmetrics", "sklearn", "tensorboard")
_SHORTCUTS = ("epochs", "lr", "batch_size", "seed", "device", "on_nan", "accept_new_data")
"""Options that set the configuration key of the same name."""


@click.command("train")
@click.argument("task")
@click.option("--data", type=click.Path(path_type=Path), help="The data, for a task that reads files.")
@click.option("--name", metavar="RUN", help="The run's name (default: the task's, then task-2, …).")
@click.option("--epochs", type=int, help="How many in all.")
@click.option("--lr", type=float, help="The highest learning rate.")
@click.option("--batch-size", type=int, help="Samples of a batch.")
@click.option("--seed", type=int, help="What everything random is made from.")
@click.option("--device", help="auto, cpu, cuda or cuda:N.")
@click.option("--on-nan", type=click.Choice(["stop", "rollback"]), help="When a loss is no number: end, or go back.")
@click.option("--accept-new-data", is_flag=True, default=None, help="Resume with data that has changed.")
@click.option("--config", "config_file", type=click.Path(path_type=Path), metavar="FILE.toml", help="Configuration.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Any configuration key; repeatable.")
@click.option("--resume", metavar="auto|latest|best|CHECKPOINT", help="Go on with the run of that name.")
@store_option
@click.option("--steal", is_flag=True, help="Take over a run another host holds, without waiting for its silence.")
@json_option
def train(
    task: str,
    data: Path | None,
    name: str | None,
    config_file: Path | None,
    settings: tuple[str, ...],
    resume: str | None,
    store_path: Path,
    steal: bool,
    as_json: bool,
    **shortcuts: int | float | str | None,
) -> int:
    """Train TASK (digits, diabetes, or your own as MODULE:CLASS) and keep its checkpoints.

    Exit codes: 0 done; 3 stopped on request and resumable; 16 the loss became NaN, or memory ran out.
    """
    _require_extra()
    from ckptop.trainer.config import split_assignment
    from ckptop.trainer.options import TrainOptions
    from ckptop.trainer.train import train as run_training

    given = [(key, str(shortcuts[key])) for key in _SHORTCUTS if shortcuts[key] is not None]
    return run_training(
        TrainOptions(
            task=task,
            store=store_path,
            data=data,
            name=name,
            config_file=config_file,
            assignments=[split_assignment(text) for text in settings] + given,
            resume=resume,
            steal=steal,
            as_json=as_json,
            argv=["-m", "ckptop.cli", *sys.argv[1:]],
        )
    )


def _require_extra() -> None:
    """Say what to install before an import fails halfway."""
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        from ckptop.store.errors import MissingExtra

        raise MissingExtra(f"training needs {', '.join(missing)}: pip install 'ckptop[train]'")
