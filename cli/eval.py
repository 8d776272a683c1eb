"""`ckptop eval`: checkpoints scored on a set of data, the best first, and the numbers kept beside them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ckptop.cli.common import json_option, print_json, print_table, store_option
from ckptop.cli.predict import inference_options, progress_bar, require_inference
from ckptop.host.terminal import clean
from ckptop.host.units import MISSING, format_cell, format_count
from ckptop.store.errors import EXIT_DONE, CkptopError, DiskError
from ckptop.store.evaluations import PARTS, PREFIX
from ckptop.store.store import Store

if TYPE_CHECKING:
    from ckptop.trainer.score import Score, Scores


@click.command("eval")
@click.argument("checkpoints", metavar="CHECKPOINT|RUN|MODEL@VERSION…", nargs=-1, required=True)
@click.option("--data", type=click.Path(path_type=Path), help="A labelled file, as the task reads it.")
@click.option("--part", type=click.Choice(PARTS), help="Without --data, the part of the run's own (default: val).")
@click.option("--as", "name", metavar="NAME", help="What the data is called (default: the file's name).")
@click.option("--no-record", is_flag=True, help="Only print; write nothing.")
@inference_options
@store_option
@json_option
@click.pass_context
def eval(  # noqa: A001 - the command's name
    ctx: click.Context,
    checkpoints: tuple[str, ...],
    data: Path | None,
    part: str | None,
    name: str | None,
    no_record: bool,
    task: str | None,
    device: str,
    precision: str | None,
    batch_size: int | None,
    store_path: Path,
    as_json: bool,
) -> None:
    """Score checkpoints, the best first; RUN means all of its checkpoints.

    The numbers are written beside each live checkpoint as eval/NAME/METRIC, where `ckptop ls`, `prune --metric`,
    `promote --require` and RUN:best=METRIC find them.

    Exit codes: 0 done; 2 wrong use, or no task to make the model; 11 not found; 12 a checkpoint is damaged (the
    others were scored); 14 the numbers could not be written; 15 the data is unusable; 16 out of memory.
    """
    if data is not None and part is not None:
        raise click.UsageError("--part is of the run's own data, and --data names another; say one of them")
    require_inference()
    from ckptop.store.model_files import find_models
    from ckptop.trainer.score import Evaluation
    from ckptop.trainer.trained import Inference

    store = Store.open(store_path, missing_ok=True)
    files = [file for text in checkpoints for file in find_models(store, text)]
    inference = Inference(task=task, device=device, precision=precision, batch_size=batch_size)
    evaluation = Evaluation(files, inference, data=data, part=part or "val", name=name, record=not no_record)
    with progress_bar("scoring", quiet=as_json) as advance:
        scores = evaluation.run(advance)
    if as_json:
        print_json(_describe(scores))
    else:
        _print(scores, is_recording=not no_record)
    ctx.exit(_tell_problems(scores))


def _describe(scores: Scores) -> dict[str, Any]:
    return {
        "name": scores.name,
        "metric": {"name": f"{PREFIX}{scores.name}/{scores.metric}", "mode": scores.mode},
        "samples": scores.samples,
        "data_sets": scores.data_sets,
        "scores": [
            {
                "checkpoint": score.file.label,
                "path": str(score.file.path),
                "epoch": score.file.epoch,
                "step": score.file.step,
                "metrics": {f"{PREFIX}{scores.name}/{metric}": value for metric, value in score.values.items()},
                "data": score.data,
                "recorded": score.recorded,
                "problem": _line(score.problem) if score.problem is not None else None,
            }
            for score in scores.scores
        ],
    }


def _print(scores: Scores, *, is_recording: bool) -> None:
    good = [score for score in scores.scores if score.values]
    if not good:
        return
    metrics = [scores.metric, *(name for name in good[0].values if name != scores.metric)]
    rows = [_row(score, metrics) for score in good]
    print_table(["epoch", "step", *metrics, "checkpoint"], rows, right=frozenset(range(2 + len(metrics))))
    recorded = sum(score.recorded for score in good)
    where = f"Scored {format_count(len(good))} on {format_count(scores.samples)} samples of {scores.name}"
    if recorded:
        click.echo(f"{where}; written beside {format_count(recorded)} as {PREFIX}{scores.name}/….")
    else:
        click.echo(f"{where}; nothing was written.")
    if scores.data_sets > 1:
        click.echo("The runs split their data by different seeds: rows of different runs tell of different samples.")
    if is_recording and (loose := [score for score in good if score.file.view is None]):
        click.echo(clean(f"{loose[0].file.label} is no live checkpoint of a run: what it scored is only printed."))


def _row(score: Score, metrics: list[str]) -> list[str]:
    file = score.file
    place = [MISSING if number is None else format_count(number) for number in (file.epoch, file.step)]
    return [*place, *(format_cell(score.values.get(metric)) for metric in metrics), file.label]


def _tell_problems(scores: Scores) -> int:
    """Each once, on stderr; the first one's exit code."""
    told = [(score, score.problem) for score in scores.scores if score.problem is not None]
    for line in dict.fromkeys("not written: " * bool(score.values) + _line(problem) for score, problem in told):
        click.echo(f"ckptop: {clean(line)}", err=True)
    if not told:
        return EXIT_DONE
    _, first = told[0]
    return first.exit_code if isinstance(first, CkptopError) else DiskError.exit_code


def _line(problem: CkptopError | OSError) -> str:
    if isinstance(problem, CkptopError):
        return str(problem)
    return f"{problem.filename}: {problem.strerror}" if problem.filename else problem.strerror or str(problem)
