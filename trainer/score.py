"""Trained models scored on one set of data, and the numbers written beside their manifests.

All are of one task, so that one order ranks them. What a checkpoint scored is written as soon as it is known; bytes
with several names are scored once and written for each.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from ckptop.store.errors import CkptopError, Damaged, DataError, NotFound, UsageError
from ckptop.store.evaluations import PARTS, evaluation_name, made_on_other_data, name_of_file, record_evaluation
from ckptop.store.hashing import xxh3_128_of
from ckptop.store.model_files import ModelFile
from ckptop.store.records import DataSource, Mode
from ckptop.trainer.best import choose_metric
from ckptop.trainer.evaluate import evaluate
from ckptop.trainer.loader import EpochLoader, count_samples
from ckptop.trainer.recorded import recorded_data_path
from ckptop.trainer.task import BoundTask, Samples, Task
from ckptop.trainer.trained import Advance, Inference, Trained, described, load_trained, memory_is_told, task_of

_PART_OF = dict(zip(PARTS, ("train", "validation", "test"), strict=True))
"""Names of evaluations to fields of `TaskData`."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """What one file scored."""

    file: ModelFile
    values: Mapping[str, float] = field(default_factory=dict)
    """Metric to value, `loss` first; empty where it could not be scored."""
    data: DataSource | None = None
    recorded: bool = False
    problem: CkptopError | OSError | None = None
    """Why it was not scored, or not recorded."""


@dataclass(frozen=True, kw_only=True)
class Scores:
    """What all scored, best first; those that could not be scored last."""

    name: str
    """Of the data: `eval/<name>/<metric>` is what was recorded."""
    metric: str
    mode: Mode
    samples: int
    data_sets: int
    """How many different ones: runs of different seeds split their data differently."""
    scores: Sequence[Score]


class Evaluation:
    """Files to be scored on the same data."""

    def __init__(
        self,
        files: Sequence[ModelFile],
        inference: Inference,
        *,
        data: Path | None = None,
        part: str = "val",
        name: str | None = None,
        record: bool = True,
    ) -> None:
        """Settle what is asked for and read the labelled file, before any model is.

        Args:
            files: At least one.
            inference: How the models are asked.
            data: A labelled file; None takes the part of each run's own data.
            part: train, val or test.
            name: Of the data in `data`; None is made from the file's name.
            record: Whether the numbers are written into the manifests.

        Raises:
            UsageError: The files are of different tasks, or the name cannot be used.
            DataError: The labelled file is unusable.
        """
        self._inference, self._part, self._record = inference, part, record
        self._files, self._unknown = _all_described(files)
        self._task = _common_task(self._files, inference)
        self._parts: dict[tuple[object, ...], tuple[EpochLoader, DataSource]] = {}
        self._labelled: tuple[Path, DataSource] | None = None
        self._read: Samples | None = None
        """What is in it, where that is the same for every model."""
        self._metric: tuple[str, Mode] | None = None
        self._samples = 0
        self.name = part
        if data is not None:
            self.name = evaluation_name(name or name_of_file(data), ["loss", *map(str, self._task.metrics())])
            self._take(data)
        elif name is not None:
            raise UsageError(f"--as names the data of --data; a run's own is called {part}")

    def _take(self, data: Path) -> None:
        if not isinstance(self._task, BoundTask):  # which reads by what each model's own data was like
            self._read = _filled(self._task.read_labelled(data), str(data))
        elif not data.is_file():
            raise DataError(f"{data} {'is no file' if data.exists() else 'does not exist'}; name a labelled file")
        self._labelled = data, _source(data)
        if self._record:
            self._refuse_mixing(self._labelled[1])

    def run(self, advance: Advance) -> Scores:
        """Score all; what cannot be scored or recorded says so and stops no other.

        Raises:
            UsageError, TrainingFailed: Configuration, device or memory: nothing more can be scored.
        """
        known: dict[object, Score] = {}
        scores = list(self._unknown)
        for place, file in enumerate(self._files):
            score = known.get(_bytes_of(file)) or self._scored(file, place, advance)
            if score.values:
                known[_bytes_of(file)] = score
            scores.append(self._recorded(replace(score, file=file)))
            advance((place + 1) / len(self._files))
        full, mode = self._metric or self._task.metric
        metric = full.partition("/")[2]
        return Scores(
            name=self.name, metric=metric, mode=mode, samples=self._samples,
            data_sets=len({key[:2] for key in self._parts}),
            scores=sorted(scores, key=lambda score: _rank(score, metric, mode)),
        )  # fmt: skip

    def _scored(self, file: ModelFile, place: int, advance: Advance) -> Score:
        try:
            trained = load_trained(file, self._task, self._inference)
            loader, data = self._data(trained)
        except (NotFound, Damaged, DataError) as error:
            return Score(file=file, problem=error)
        self._metric = self._metric or choose_metric(self._task, trained.config)
        self._samples, batches, done = loader.batches.sample_count, loader.batches.batch_count, 0

        def on_batch() -> None:
            nonlocal done
            done += 1
            advance((place + done / batches) / len(self._files))

        with memory_is_told(trained.config.batch_size):
            found = evaluate(self._task, trained.model, loader, trained.device, self.name, on_batch)
        return Score(file=file, data=data, values={k.removeprefix(f"{self.name}/"): v for k, v in found.items()})

    def _data(self, trained: Trained) -> tuple[EpochLoader, DataSource]:
        """The batches to score on, and where they are from; read once for all models that share them."""
        config = trained.config
        path = None if self._labelled is not None else _data_path(trained.file)
        seed = None if self._labelled is not None else config.seed
        own = _bound_by(trained.task)
        key = (path, seed, config.batch_size, config.workers, trained.device, own)
        if key not in self._parts:
            if self._labelled is not None:
                file, source = self._labelled
                samples = self._read or _filled(trained.task.read_labelled(file), str(file))
            else:
                data = trained.task.load(path, config.seed)
                samples = _filled(getattr(data, _PART_OF[self._part]), f"the {self._part} part of {data.path}")
                source = DataSource(path=data.path, hash=data.hash)
            self._parts[key] = trained.loader(samples), source
        loader, source = self._parts[key]
        if self._labelled is None and trained.data_hash not in (None, source.hash):
            raise DataError(
                f"the data in {source.path} has changed since {trained.file.label} was trained, and so has its "
                f"{self._part} part; name a labelled file with --data"
            )
        return loader, source

    def _recorded(self, score: Score) -> Score:
        """The score, written into the manifest of a live checkpoint."""
        file = score.file
        if not self._record or not score.values or score.data is None or file.view is None or file.info is None:
            return score
        try:
            record_evaluation(file.view, file.info, self.name, score.values, score.data)
        except (CkptopError, OSError) as error:
            return replace(score, problem=error)
        return replace(score, recorded=True)

    def _refuse_mixing(self, data: DataSource) -> None:
        """One name must mean one set of data among the live checkpoints of a run, or ranking by it means nothing."""
        views = {file.view.root: file.view for file in self._files if file.view is not None}
        ours = {(file.view.root, file.info.key) for file in self._files if file.view and file.info}
        for view in views.values():
            others = [
                info for info in made_on_other_data(view, self.name, data.hash) if (view.root, info.key) not in ours
            ]
            if others:
                more = f" and {len(others) - 1} more" if len(others) > 1 else ""
                raise UsageError(
                    f"eval/{self.name} of {others[0].key}{more} was made on other data; score all of {view.name} anew, "
                    f"or call this data otherwise with --as NAME"
                )


def _all_described(files: Sequence[ModelFile]) -> tuple[list[ModelFile], list[Score]]:
    """Each file once; those of which too little is known to score them apart, unless they are all there is."""
    known, unknown = [], []
    first: Exception = UsageError("there is nothing to score")
    for file in {file.path: file for file in files}.values():
        try:
            known.append(described(file))
        except (NotFound, Damaged) as error:
            unknown.append(Score(file=file, problem=error))
            first = error
    if not known:
        raise first
    return known, unknown


def _common_task(files: Sequence[ModelFile], inference: Inference) -> Task[Any]:
    tasks = [(file, task_of(file, inference)) for file in files]
    first_file, first = tasks[0]
    for file, task in tasks:
        if type(task) is not type(first):
            raise UsageError(
                f"{first_file.label} is of task {first.name}, {file.label} of {task.name}; one table ranks one task"
            )
    return first


def _filled(samples: Samples, what: str) -> Samples:
    if not count_samples(samples):
        raise DataError(f"{what} holds no samples")
    return samples


def _bound_by(task: Task[Any]) -> bytes | None:
    """What of a task decides how it reads data; nothing where all models of it read alike."""
    return msgspec.json.encode([task.options, task.fitted]) if isinstance(task, BoundTask) else None


def _source(path: Path) -> DataSource:
    return DataSource(path=str(path.resolve()), hash=xxh3_128_of(path))


def _data_path(file: ModelFile) -> Path | None:
    return recorded_data_path(file.view.record if file.view is not None else None)


def _bytes_of(file: ModelFile) -> object:
    """Equal for names of the same bytes, as their manifests have it."""
    manifest = file.info.manifest if file.info is not None else None
    return (file.info.inode, manifest.xxh3_128) if file.info is not None and manifest is not None else file.path


def _rank(score: Score, metric: str, mode: Mode) -> tuple[bool, float, int, int]:
    """Best first, ties to the earlier; NaN behind every number."""
    value = score.values.get(metric, math.nan)
    worth = math.inf if math.isnan(value) else value if mode == "min" else -value
    return math.isnan(value), worth, score.file.epoch or 0, score.file.step or 0
