"""The end of a finished training: its best model is loaded and judged by the test part."""

from __future__ import annotations

from ckptop.store.errors import Damaged, NotFound
from ckptop.store.run import Run
from ckptop.store.views import read_run
from ckptop.trainer.build import evaluation_loader
from ckptop.trainer.console import Console
from ckptop.trainer.evaluate import evaluate
from ckptop.trainer.loop import Loop
from ckptop.trainer.parts import Parts
from ckptop.trainer.task import TaskData


def judge(run: Run, parts: Parts, loop: Loop, console: Console, data: TaskData) -> dict[str, float]:
    """Load the best checkpoint, evaluate it on the test part, log the result at the last step and say it."""
    task, config, step = parts.task, parts.config, loop.progress.step
    best = read_run(run.root).best
    if best is not None:
        try:
            run.checkpoints.load_checkpoint(best.path, parts.model, device=parts.device.torch_device)
        except (Damaged, NotFound) as error:
            console.say(f"{error}; the last weights are judged instead")
            best = None
    loader = evaluation_loader(data.test, config, parts.device)
    result = {**evaluate(task, parts.model, loader, parts.device, "test", run.touch), **data.baselines}
    loop.log(step, loop.progress.last_epoch, result)
    run.sync()
    name = parts.metric[0]
    short = name.partition("/")[2]
    if best is None or (value := best.metric(name)) is None:
        console.say(f"No {name} was ever a number · test {short} {result[f'test/{short}']:.4f}")
        return result
    console.say(f"Best {name} {value:.4f} at epoch {best.epoch} · test {short} {result[f'test/{short}']:.4f}")
    return {name: value, **result}
