"""The end of a finished training: its best model is loaded, judged by the test part, and summed up.

What is said is kept: `reports/summary.json` and, of a classification, `reports/confusion_matrix.json` and `.png`.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ckptop.host.units import format_bytes
from ckptop.store.checkpoint_info import CheckpointInfo
from ckptop.store.errors import Damaged, NotFound
from ckptop.store.files import write_durably
from ckptop.store.lines import to_json
from ckptop.store.run import Run
from ckptop.store.views import read_run
from ckptop.trainer.build import evaluation_loader
from ckptop.trainer.confusion import confusion_metric, worst_confusion, write_confusion
from ckptop.trainer.console import Console
from ckptop.trainer.evaluate import evaluate
from ckptop.trainer.forgetting import forgetting
from ckptop.trainer.hparams import hparams_end, image
from ckptop.trainer.loop import Loop
from ckptop.trainer.parts import Parts
from ckptop.trainer.system import GpuUsage
from ckptop.trainer.task import TaskData
from ckptop.trainer.tensorboard import EventWriter

REPORTS = "reports"
"""Directory of a run for what was found at its end."""


def judge(
    run: Run, parts: Parts, loop: Loop, console: Console, data: TaskData, events: EventWriter | None, gpus: GpuUsage
) -> dict[str, Any]:
    """Load the best checkpoint, evaluate it on the test part, log the result at the last step and sum up.

    Returns:
        What the `finished` event holds: `metrics`, `best`, `parameters` and the rest of summary.json; of a run that
        continues another also `continual`.
    """
    best = _load_best(run, parts, console)
    result = _test(run, parts, loop, console, data, events)
    name = parts.metric[0]
    value = best.metric(name) if best is not None else None
    summary: dict[str, Any] = {
        "metrics": ({name: value} if value is not None else {}) | result,
        "best": _of_checkpoint(best, run),
        "parameters": {"total": parts.parameter_count, "trainable": parts.trainable_count},
        "epochs": loop.progress.epoch - 1,
        "steps": loop.progress.step,
        "stopped_early": loop.is_out_of_patience,
        "gpus": gpus.as_dict() or gpus.problem,
    }
    if continual := forgetting(run, parts, loop, console, events):
        summary["continual"] = continual
    _store(run, summary, console)
    if events is not None:
        events.add(loop.progress.step, hparams_end())
    if best is not None:
        console.say(f"Best checkpoint: {best.path} ({format_bytes(best.size_bytes)})")
    for line in gpus.lines():
        console.say(f"GPU memory: {line}")
    short = name.partition("/")[2]
    test = f"test {short} {result[f'test/{short}']:.4f}"
    if best is None or value is None:
        console.say(f"No {name} was ever a number · {test}")
    else:
        console.say(f"Best {name} {value:.4f} at epoch {best.epoch} · {test}")
    return summary


def _load_best(run: Run, parts: Parts, console: Console) -> CheckpointInfo | None:
    best = read_run(run.root).best
    if best is not None:
        try:
            run.checkpoints.load_checkpoint(best.path, parts.model, device=parts.device.torch_device)
        except (Damaged, NotFound) as error:
            console.say(f"{error}; the last weights are judged instead")
            return None
    return best


def _test(
    run: Run, parts: Parts, loop: Loop, console: Console, data: TaskData, events: EventWriter | None
) -> dict[str, float]:
    """Evaluate on the test part, confusions included."""
    task, step = parts.task, loop.progress.step
    confusion = confusion_metric(task)
    loader = evaluation_loader(data.test, parts.config, parts.device)
    result = evaluate(task, parts.network, loader, parts.device, "test", run.touch, confusion) | dict(data.baselines)
    loop.log(step, loop.progress.last_epoch, result)
    run.sync()
    if confusion is not None:
        counts = confusion.compute().tolist()
        console.say(f"Confusion matrix of the test part: {worst_confusion(counts, task.class_names)}")
        try:
            picture = write_confusion(run.root / REPORTS, counts, task.class_names)
        except OSError as error:
            console.say(f"The confusion matrix was not written: {error}")
            return result
        if events is not None:
            events.add(step, image("test/confusion_matrix", picture))
    return result


def _of_checkpoint(best: CheckpointInfo | None, run: Run) -> dict[str, Any] | None:
    """`checkpoint` is a path in the run's directory, which may be moved as a whole."""
    if best is None:
        return None
    path = best.path.relative_to(run.root).as_posix()
    return {"checkpoint": path, "epoch": best.epoch, "step": best.step, "size_bytes": best.size_bytes}


def _store(run: Run, summary: dict[str, Any], console: Console) -> None:
    directory = run.root / REPORTS
    try:
        directory.mkdir(exist_ok=True)
        write_durably(directory / "summary.json", msgspec.json.encode(to_json(summary)) + b"\n")
    except OSError as error:
        console.say(f"The summary was not written: {error}")
