"""What going on with other data cost on the first: both validation parts, before the first step and with the best.

The values before are logged at step 0 and kept in `reports/before.json` until the summary is written, which may be
attempts later.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ckptop.store.files import write_durably
from ckptop.store.lines import to_json
from ckptop.store.run import Run
from ckptop.trainer.confusion import confusion_metric, write_confusion
from ckptop.trainer.console import Console
from ckptop.trainer.continual import FIRST
from ckptop.trainer.evaluate import evaluate
from ckptop.trainer.hparams import image
from ckptop.trainer.loop import Loop
from ckptop.trainer.parts import Parts
from ckptop.trainer.tensorboard import EventWriter

_BEFORE = "before.json"
_SECOND = "val"

Results = dict[str, dict[str, Any]]
"""By split: the metrics by their names and, of a classification, `confusion`, rows being true classes."""


def note_before(run: Run, parts: Parts, loop: Loop, console: Console, events: EventWriter | None) -> None:
    """Before the first step of a run that continues another, evaluate what it begins with; else do nothing."""
    if not parts.also or loop.progress.step or loop.progress.batch:
        return
    results = _look(run, parts)
    loop.log(0, 0, _scalars(results))
    _keep(run, parts, results, "before", console, events, 0)
    _, label = _metric(parts)
    said = [f"{what} {parts.task.format_metric(_value(parts, results[split]))}" for split, what in _NAMES.items()]
    console.say(f"Before the first step, {label}: {', '.join(said)}")


def forgetting(
    run: Run, parts: Parts, loop: Loop, console: Console, events: EventWriter | None
) -> dict[str, dict[str, Any]]:
    """Evaluate again, with the best weights loaded, and set both beside what was before; empty where nothing was."""
    if not parts.also:
        return {}
    after = _look(run, parts)
    _keep(run, parts, after, "after", console, events, loop.progress.step)
    try:
        before: Results = msgspec.json.decode((run.root / "reports" / _BEFORE).read_bytes(), type=Results)
    except (OSError, msgspec.DecodeError) as error:
        console.say(f"What was before the first step is not known any more: {error}")
        return {}
    _, label = _metric(parts)
    for split, what in _NAMES.items():
        old, new = (_value(parts, results.get(split, {})) for results in (before, after))
        form = parts.task.format_metric
        console.say(f"{label} on {what}: {form(old)} before, {form(new)} after")
    return {name: {"before": before[split], "after": after[split]} for split, name in _KEYS.items() if split in before}


_NAMES = {FIRST: "the first data", _SECOND: "the second"}
_KEYS = {FIRST: "first", _SECOND: "second"}


def _metric(parts: Parts) -> tuple[str, str]:
    return parts.task.metric[0].partition("/")[2], parts.task.metric_label


def _value(parts: Parts, values: Mapping[str, Any]) -> float:
    return float(values.get(_metric(parts)[0], float("nan")))


def _look(run: Run, parts: Parts) -> Results:
    results: Results = {}
    for split, loader in ((_SECOND, parts.validation), *parts.also.items()):
        confusion = confusion_metric(parts.task)
        values = evaluate(parts.task, parts.network, loader, parts.device, split, run.touch, confusion)
        results[split] = {name.partition("/")[2]: value for name, value in values.items()}
        if confusion is not None:
            results[split]["confusion"] = confusion.compute().tolist()
    return results


def _scalars(results: Results) -> dict[str, float]:
    return {
        f"{split}/{name}": value
        for split, values in results.items()
        for name, value in values.items()
        if name != "confusion"
    }


def _keep(
    run: Run, parts: Parts, results: Results, when: str, console: Console, events: EventWriter | None, step: int
) -> None:
    """The numbers as JSON, the confusions as pictures too."""
    directory = run.root / "reports"
    try:
        directory.mkdir(exist_ok=True)
        write_durably(directory / f"{when}.json", msgspec.json.encode(to_json(results)) + b"\n")
        for split, values in results.items():
            if counts := values.get("confusion"):
                name = f"confusion_matrix_{split}_{when}"
                picture = write_confusion(directory, counts, parts.task.class_names, name)
                if events is not None:
                    events.add(step, image(f"{split}/confusion_matrix_{when}", picture))
    except OSError as error:
        console.say(f"What was {when} the training was not written: {error}")
