"""Batches from a dataset, in this process or in workers, the same bits either way.

The sampler hands out whole batches with their epoch; what is random about a sample comes from (seed, epoch,
index). Workers are forked from a small server process: forking this one, whose threads may hold locks at
that moment, could deadlock.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from multiprocessing import forkserver, resource_tracker
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from typing import Any, cast

import torch
from torch.utils.data import DataLoader, Dataset, TensorDataset, default_collate

from ckptop.trainer.config import TaskOptions
from ckptop.trainer.sample_random import SampleRandom, mix, seeded
from ckptop.trainer.sampler import Batches, BatchKey, EpochSampler
from ckptop.trainer.task import BatchedSamples, Samples, Task

_AUGMENT, _SAMPLE = 2, 3
"""Keep these streams apart from other uses of (seed, epoch)."""

_OF_THE_TRAINER = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1})
"""Signals that mean something to the trainer alone."""


class _Batched(Dataset[tuple[torch.Tensor, ...]]):
    """A dataset indexed by `BatchKey`; travels to the workers."""

    def __init__(self, samples: Samples, seed: int, task: Task[Any] | None, options: TaskOptions) -> None:
        self._samples, self._options = samples, options
        self._task = task if task is not None and type(task).augment is not Task.augment else None
        """None where nothing changes the samples."""
        self._augment_seed, self._sample_seed = mix(seed, _AUGMENT), mix(seed, _SAMPLE)

    def __getitem__(self, key: BatchKey) -> tuple[torch.Tensor, ...]:
        inputs, *targets = self._collect(key)
        if self._task is not None:
            random = SampleRandom(self._augment_seed, key.epoch, key.indices)
            inputs = self._task.augment(self._options, inputs, random)
        return inputs, *targets

    def _collect(self, key: BatchKey) -> tuple[torch.Tensor, ...]:
        if isinstance(self._samples, TensorDataset):
            return cast(tuple[torch.Tensor, ...], self._samples[key.indices])
        if isinstance(self._samples, BatchedSamples):
            return self._samples.batch(key.indices)
        return tuple(default_collate([self._sample(key.epoch, index) for index in key.indices.tolist()]))

    def _sample(self, epoch: int, index: int) -> tuple[torch.Tensor, ...]:
        """Whatever global generator the dataset draws from, it draws what belongs to this sample."""
        with seeded(mix(self._sample_seed, epoch, index)):
            return self._samples[index]


class EpochLoader:
    """The batches of one part of the data, epoch by epoch, from any position."""

    def __init__(
        self,
        samples: Samples,
        batches: Batches,
        *,
        seed: int,
        task: Task[Any] | None = None,
        options: TaskOptions | None = None,
        workers: int = 0,
        pin_memory: bool = False,
    ) -> None:
        """`task` augments and shuffles; without one the dataset comes in its own order, as it is."""
        self.batches = batches
        self._sampler = EpochSampler(batches, seed if task is not None else None)
        self._dataset = _Batched(samples, seed, task, options or TaskOptions())
        self._pin_memory = pin_memory
        self._workers = self._start(workers) if workers else None

    def epoch(self, epoch: int, batch: int = 0) -> Iterator[tuple[torch.Tensor, ...]]:
        """The batches of `epoch` (from 1), beginning with micro-batch `batch` (from 0)."""
        self._sampler.seek(epoch, batch)
        if self._workers is not None:
            return iter(self._workers)
        return self._load_here()

    def _load_here(self) -> Iterator[tuple[torch.Tensor, ...]]:
        """Without workers a DataLoader adds nothing but 0.1 ms a batch."""
        for key in self._sampler:
            tensors = self._dataset[key]
            yield tuple(tensor.pin_memory() for tensor in tensors) if self._pin_memory else tensors

    def _start(self, workers: int) -> DataLoader[tuple[torch.Tensor, ...]]:
        return DataLoader(
            self._dataset,
            sampler=self._sampler,
            batch_size=None,  # a key is a batch already
            num_workers=workers,
            persistent_workers=True,
            multiprocessing_context=_worker_context(),
            worker_init_fn=_end_with_the_trainer,
            pin_memory=self._pin_memory,
            # Else making an iterator would draw a number from the global generator.
            generator=torch.Generator().manual_seed(0),
        )


@functools.cache
def _worker_context() -> BaseContext:
    """A fork server whose children never see the signals that ask the trainer to stop.

    A terminal, systemd and Slurm signal every process of the group: a worker that died of it would take the
    step with it that is to be finished. A mask set here passes through fork and exec.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _OF_THE_TRAINER)
    try:
        resource_tracker.ensure_running()  # else it is started below; it lifts part of the mask when it has been
        signal.pthread_sigmask(signal.SIG_BLOCK, _OF_THE_TRAINER)
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return context


def _end_with_the_trainer(_worker: int) -> None:
    """In a worker: end when the trainer does, however it dies.

    torch's own watchdog looks at the parent process, which is the fork server here, and that one lives as long as a
    worker does: after a SIGKILL of the trainer the two would keep each other alive for ever.
    """
    trainer = multiprocessing.parent_process()
    if trainer is not None:
        threading.Thread(target=_end_after, args=(trainer,), name="ckptop-parent", daemon=True).start()


def _end_after(process: BaseProcess) -> None:
    process.join()
    os._exit(1)


def count_samples(samples: Samples) -> int:
    """How many samples a map-style dataset has."""
    return len(cast(Any, samples))
