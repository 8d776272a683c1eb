"""`ckptop predict`: what a trained model answers to a file of inputs, as a file."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click
from click.termui import progressbar

from ckptop.cli.common import json_option, print_json, store_option
from ckptop.host.terminal import clean
from ckptop.host.units import format_count
from ckptop.store.errors import MissingExtra
from ckptop.store.store import Store

F = TypeVar("F", bound=Callable[..., Any])

_NEEDED = ("torch", "torchmetrics", "sklearn")
_BAR_UNITS = 1000


def inference_options(function: F) -> F:
    """How models are asked."""
    options = (
        click.option("--task", metavar="TASK", help="What trained it, as for `ckptop train` (default: as recorded)."),
        click.option("--device", default="auto", help="auto, cpu, cuda or cuda:N."),
        click.option("--precision", type=click.Choice(["fp32", "bf16", "fp16"]), help="Default: that of the training."),
        click.option("--batch-size", type=click.IntRange(1), metavar="N", help="Samples at a time."),
    )
    for option in reversed(options):
        function = option(function)
    return function


@click.command()
@click.argument("checkpoint", metavar="CHECKPOINT|MODEL@VERSION")
@click.option("--data", type=click.Path(path_type=Path), required=True, help="The inputs, as the task reads them.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Predictions: .csv, .jsonl, .npy or .npz.")
@click.option("--force", is_flag=True, help="Replace FILE where it is there already.")
@inference_options
@store_option
@json_option
def predict(
    checkpoint: str,
    data: Path,
    out: Path,
    force: bool,
    task: str | None,
    device: str,
    precision: str | None,
    batch_size: int | None,
    store_path: Path,
    as_json: bool,
) -> None:
    """Write what a trained model answers to a file of inputs, row for row.

    Exit codes: 0 done; 2 wrong use, or no task to make the model; 11 not found; 12 the checkpoint is damaged;
    14 FILE cannot be written; 15 the inputs are unusable; 16 out of memory.
    """
    require_inference()
    from ckptop.store.model_files import find_model
    from ckptop.trainer.predict import predict as ask
    from ckptop.trainer.predict import require_writable, write_predictions
    from ckptop.trainer.trained import Inference

    target = require_writable(out, data, force=force)
    file = find_model(Store.open(store_path, missing_ok=True), checkpoint)
    inference = Inference(task=task, device=device, precision=precision, batch_size=batch_size)
    with progress_bar("predicting", quiet=as_json) as advance:
        predictions = ask(file, data, inference, advance)
    require_writable(out, data, force=force)  # that took a while
    write_predictions(target, predictions)
    count = len(predictions)
    if broken := predictions.not_finite:
        click.echo(f"{format_count(broken)} of {format_count(count)} answers are no finite numbers", err=True)
    if as_json:
        print_json({
            "checkpoint": file.label, "path": str(file.path), "out": str(target), "samples": count,
            "arrays": {name: list(array.shape) for name, array in predictions.arrays.items()}, "not_finite": broken,
        })  # fmt: skip
    else:
        click.echo(clean(f"{format_count(count)} predictions of {file.label} in {out}."))


def require_inference() -> None:
    """Say what to install before an import fails halfway.

    Raises:
        MissingExtra: Something is not installed; it is not imported.
    """
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingExtra(f"asking a model needs {', '.join(missing)}: pip install 'ckptop[train]'")


@contextmanager
def progress_bar(label: str, *, quiet: bool) -> Iterator[Callable[[float], None]]:
    """A bar on stderr, where that is a terminal, that is told how much is done, 0 to 1."""
    hidden = quiet or not sys.stderr.isatty()
    with progressbar(length=_BAR_UNITS, label=label, file=sys.stderr, hidden=hidden) as bar:
        yield lambda done: bar.update(int(done * _BAR_UNITS) - bar.pos)
