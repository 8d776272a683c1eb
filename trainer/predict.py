"""Predictions of a trained model for a person's file of inputs, row for row, as a file.

A classification gives a class and the probability of each; anything else gives the outputs as they are. In a table the
numbers are the shortest decimals that mean the same float32.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import torch

from ckptop.store.errors import DataError, NotFound, UsageError
from ckptop.store.files import write_durably
from ckptop.store.lines import to_json
from ckptop.store.model_files import ModelFile
from ckptop.trainer.loader import count_samples
from ckptop.trainer.task import BoundTask, Task
from ckptop.trainer.trained import Advance, Inference, Trained, described, load_trained, memory_is_told, task_of

FORMATS = (".csv", ".jsonl", ".npy", ".npz")

Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """What a model answers, in the order of the inputs."""

    arrays: dict[str, Array]
    """`class` (N,) and `probability` (N, classes), or `value` (N, …). The last one has the numbers."""
    class_names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    @property
    def not_finite(self) -> int:
        """Rows that hold NaN or an infinity: the model is broken, or these inputs break it."""
        numbers = list(self.arrays.values())[-1]
        return int((~np.isfinite(numbers.reshape(len(numbers), -1)).all(axis=1)).sum())

    def table(self) -> dict[str, list[Any]]:
        """Columns by name; an array of K columns is `name_<class>`, or `name_0` to `name_<K-1>`.

        Raises:
            UsageError: An output is no row of numbers.
        """
        columns: dict[str, list[Any]] = {}
        for name, array in self.arrays.items():
            if array.ndim > 2:
                shape = " x ".join(map(str, array.shape[1:]))
                raise UsageError(f"an answer is {shape} numbers, which is no row of a table; write .npy or .npz")
            if array.ndim == 1:
                columns[name] = _cells(array)
            else:
                ends = self.class_names or tuple(map(str, range(array.shape[1])))
                columns |= {f"{name}_{end}": _cells(array[:, place]) for place, end in enumerate(ends)}
        return columns


def predict(file: ModelFile, data: Path, inference: Inference, advance: Advance) -> Predictions:
    """What the model in `file` answers to each sample of `data`.

    Raises:
        NotFound, Damaged, UsageError: See `load_trained`; also where the task reads no file of inputs.
        DataError: The data is missing or holds something else.
    """
    file = described(file)
    task = task_of(file, inference)
    if isinstance(task, BoundTask):  # which reads by what was fitted, and that is in the file
        trained = load_trained(file, task, inference)
        samples = trained.task.read_inputs(data)
    else:
        samples = task.read_inputs(data)
        trained = load_trained(file, task, inference)
    if not count_samples(samples):
        raise DataError(f"{data} holds no samples")
    outputs = []
    loader = trained.loader(samples)
    with torch.inference_mode(), memory_is_told(trained.config.batch_size):
        for done, batch in enumerate(loader.epoch(1), start=1):
            outputs.append(_answer(trained, batch))
            advance(done / loader.batches.batch_count)
    return _named(task, torch.cat(outputs))


def require_writable(out: Path, data: Path, *, force: bool) -> Path:
    """The file that predictions will be written to, links followed; asked before any work is done.

    Raises:
        UsageError: Its ending is no format, it is there already, or it is no file of predictions at all.
        NotFound: Its directory is not there.
    """
    if out.suffix.lower() not in FORMATS:
        raise UsageError(f"--out {out}: the ending says the format; use one of {', '.join(FORMATS)}")
    target = out.expanduser().resolve()
    if not target.parent.is_dir():
        raise NotFound(f"the directory {target.parent} does not exist")
    if target.exists() and not target.is_file():
        raise UsageError(f"{out} is no regular file; name another")
    if target.exists() and data.exists() and target.samefile(data):
        raise UsageError(f"{out} is the file of inputs; name another")
    if target.exists() and not force:
        raise UsageError(f"{out} is there already; --force replaces it")
    return target


def write_predictions(target: Path, predictions: Predictions) -> None:
    """Write by the ending of `target`, whole or not at all.

    Raises:
        UsageError: The answers do not fit into a table.
        OSError: The disk refused; what was there before is as it was.
    """
    kind = target.suffix.lower()
    if kind == ".csv":
        data = _as_csv(predictions.table())
    elif kind == ".jsonl":
        data = _as_lines(predictions.table())
    else:
        buffer = io.BytesIO()
        if kind == ".npy":
            np.save(buffer, list(predictions.arrays.values())[-1], allow_pickle=False)
        else:
            arrays: dict[str, Any] = dict(predictions.arrays)  # NumPy's stub takes any name for its one flag
            np.savez(buffer, **arrays)
        data = buffer.getvalue()
    write_durably(target, data)


def _answer(trained: Trained, batch: tuple[torch.Tensor, ...]) -> torch.Tensor:
    inputs, *_ = trained.device.move(batch)
    with trained.device.autocast():
        outputs = trained.model(inputs)
    if not isinstance(outputs, torch.Tensor) or not outputs.ndim or len(outputs) != len(inputs):
        raise UsageError(f"the model of {trained.task.name} gives no tensor with a row a sample: nothing to write")
    return outputs.float().cpu()


def _named(task: Task[Any], outputs: torch.Tensor) -> Predictions:
    if not task.class_names:
        values = outputs.squeeze(1) if outputs.ndim == 2 and outputs.shape[1] == 1 else outputs
        return Predictions(arrays={"value": values.numpy()})
    if outputs.shape[1:] != (len(task.class_names),):
        given = " x ".join(map(str, outputs.shape[1:])) or "1"
        raise UsageError(f"{task.name} names {len(task.class_names)} classes, and its model gives {given} a sample")
    names = np.array(task.class_names)
    arrays = {"class": names[outputs.argmax(1).numpy()], "probability": outputs.softmax(1).numpy()}
    return Predictions(arrays=arrays, class_names=task.class_names)


def _cells(column: Array) -> list[Any]:
    """Text, or the doubles whose shortest decimals are those of the float32."""
    texts: list[str] = column.astype(str).tolist()
    return texts if column.dtype.kind == "U" else [float(text) for text in texts]


def _as_csv(columns: dict[str, list[Any]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return text.getvalue().encode()


def _as_lines(columns: dict[str, list[Any]]) -> bytes:
    """JSON lines; what is not finite is a string, as in every JSON of ckptop."""
    rows = (dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True))
    return b"".join(msgspec.json.encode(to_json(row)) + b"\n" for row in rows)
