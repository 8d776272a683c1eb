"""A trained model that goes on learning on other data: a run of its own, begun with the weights of another run's best.

What was fitted on the first data (the vocabulary) stays as it was, and the validation part of the first data is
evaluated beside the second's, so that forgetting is a number. `continues.json` in the run's directory says what it
continues, for the next attempt.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from ckptop.store import tensors
from ckptop.store.errors import Damaged, DataError, UsageError
from ckptop.store.files import write_durably
from ckptop.store.find import find_checkpoint
from ckptop.store.layout import RunPaths
from ckptop.store.records import Parent, RunRecord
from ckptop.store.resume import RESUME_VARIABLE
from ckptop.store.state_dicts import apply_state
from ckptop.store.store import Store
from ckptop.store.verify import verify_checkpoint
from ckptop.store.views import read_run
from ckptop.trainer.fitted import fitted_in, read_fitted
from ckptop.trainer.recorded import recorded_data_path
from ckptop.trainer.task import Samples, Task, TaskData

if TYPE_CHECKING:
    import torch

    from ckptop.trainer.options import Settled, TrainOptions

CONTINUES_FILE = "continues.json"
FIRST = "val_first"
"""The split of the first data's validation part: `val_first/accuracy`."""
_PREFIX = "continue."
"""Of the keys that `--set` changes of the second training alone."""


class Continues(msgspec.Struct, frozen=True, kw_only=True):
    """What a run goes on from, and on which data that was trained."""

    run: str
    checkpoint: str
    """`milestone/<file>` of it."""
    data: str | None
    """None where the task brought it."""
    seed: int
    hash: str


def chosen(store: Path, text: str) -> tuple[RunRecord, Continues]:
    """The record of the run that `--continue-from` names, and what is to be continued.

    Raises:
        NotFound: There is no such checkpoint.
        UsageError: It does not say what it was trained on.
    """
    view, info = find_checkpoint(Store.open(store), text if ":" in text or "/" in text else f"{text}:best")
    record = view.record
    if record is None or record.data is None:
        raise UsageError(f"{text} does not say what it was trained on; continue from a run of `ckptop train`")
    data = recorded_data_path(record)
    continues = Continues(
        run=view.name, checkpoint=info.key, data=str(data) if data is not None else None, seed=record.seed or 0,
        hash=record.data.hash,
    )  # fmt: skip
    return record, continues


def read_continues(run: Path) -> Continues | None:
    """What an earlier attempt of this run continued; None where it began by itself.

    Raises:
        Damaged: The file cannot be read.
    """
    path = run / CONTINUES_FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=Continues)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise Damaged(f"{path} cannot be read ({error}); restore it from a backup") from None


def write_continues(run: Path, continues: Continues | None) -> None:
    """Keep it with the run."""
    if continues is not None and not (run / CONTINUES_FILE).exists():
        write_durably(run / CONTINUES_FILE, msgspec.json.encode(continues) + b"\n")


def load_weights(store: Path, continues: Continues, model: torch.nn.Module) -> None:
    """Begin with the weights that are continued.

    Raises:
        NotFound: They are gone.
        Damaged: Their bytes are not those that were written.
        UsageError: The model is another.
    """
    path, weights = _weights_of(store, continues)
    try:
        apply_state({"model_state_dict": weights}, path, model)
    except RuntimeError as error:
        raise UsageError(f"{error}; leave model options out to continue with the same model") from None


def load_data(options: TrainOptions, task: Task[Any], settled: Settled) -> tuple[Task[Any], TaskData]:
    """The data, and the task as it is bound to it; of a run that continues another, with that one's validation part.

    Raises:
        DataError: The data is unusable; the first data is no longer there, or is other data now.
        NotFound, Damaged: What is continued is gone, or its bytes differ.
    """
    config, continues = settled.config, settled.continues
    task = task.bound(config.model, _fitted_before(settled.store, settled.origin, continues))
    data = task.load(options.data, config.seed)
    if not isinstance(data, TaskData):
        return task, data  # which `require_samples` refuses
    if continues is not None:
        data = replace(data, also={FIRST: _first_validation(task, continues)})
    task = task.bound(config.model, data.fitted)
    if options.continue_on is not None:
        task.load(options.continue_on, config.seed)  # what is wrong with it is said now, not after the first training
    return task, data


def parent_of(continues: Continues | None) -> Parent | None:
    """As run.json has it."""
    return Parent(run=continues.run, checkpoint=continues.checkpoint) if continues is not None else None


def _fitted_before(store: Path, origin: str | None, continues: Continues | None) -> dict[str, Any] | None:
    """What is not to be fitted again: an earlier attempt's, that of the run forked from, or of what is continued."""
    if origin is not None and (fitted := read_fitted(store / origin)) is not None:
        return fitted
    if continues is None:
        return None
    path, weights = _weights_of(store, continues)
    return fitted_in(weights, path)


def _first_validation(task: Task[Any], continues: Continues) -> Samples:
    """The validation part of the data that was trained on first."""
    data = task.load(Path(continues.data) if continues.data is not None else None, continues.seed)
    if data.hash != continues.hash:
        raise DataError(
            f"the data in {data.path}, which {continues.run} was trained on, has changed since; bring it back, or "
            f"train on without --continue-on"
        )
    return data.validation


def _weights_of(store: Path, continues: Continues) -> tuple[Path, Mapping[str, Any]]:
    """The checkpoint's file and its weights, every byte verified."""
    _, info = find_checkpoint(Store.open(store), f"{continues.run}:{continues.checkpoint}")
    if (finding := verify_checkpoint(info)) is not None:
        raise Damaged(f"{finding.message}; it was not continued from: {finding.advice}")
    weights = tensors.read_state(info.path).get("model_state_dict")
    if not isinstance(weights, Mapping):
        raise Damaged(f"{info.path} holds no model_state_dict; continue from another checkpoint")
    return info.path, weights


def first_of(options: TrainOptions) -> TrainOptions:
    """Of `--continue-on`, the training on the first data; refuses what would stop the second one.

    Raises:
        UsageError: The second run's name is taken.
    """
    if options.continue_on is None:
        return options
    if options.name is not None and options.resume is None:
        name = _second(options.store, options.name, options.continue_on)
        if RunPaths(options.store / name).record.exists():
            raise UsageError(f"run {name} exists in {options.store}; --resume auto goes on with it")
    own = tuple(pair for pair in options.assignments if not pair[0].startswith(_PREFIX))
    return replace(options, assignments=own)


def second_of(options: TrainOptions, first: str) -> TrainOptions:
    """Of `--continue-on`, the training on the second data, once run `first` is done."""
    os.environ.pop(RESUME_VARIABLE, None)  # it asked for the first
    store = options.store.resolve()
    own = tuple((key.removeprefix(_PREFIX), value) for key, value in options.assignments if key.startswith(_PREFIX))
    assert options.continue_on is not None  # noqa: S101 - the caller looked
    name = _second(store, first, options.continue_on)
    argv = ["-m", "ckptop.cli", "train", options.task, "--store", str(store), "--name", name]
    argv += ["--data", str(options.continue_on), "--continue-from", f"{first}:best"]
    argv += [word for key, value in own for word in ("--set", f"{key}={value}")]
    return replace(
        options, store=store, name=name, data=options.continue_on, continue_on=None, continue_from=f"{first}:best",
        assignments=own, config_file=None, argv=argv,
        resume="auto" if RunPaths(store / name).record.exists() else None,
    )  # fmt: skip


def _second(store: Path, first: str, data: Path) -> str:
    """What continues `first` on `data`: a run there is already, or the first name that is free."""
    for number in itertools.count(1):
        name = f"{first}-continued" + (f"-{number}" if number > 1 else "")
        if not RunPaths(store / name).record.exists():
            break
        known = recorded_data_path(read_run(store / name).record)
        if known is not None and known.resolve() == data.resolve():
            break
    return name
