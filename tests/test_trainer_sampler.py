"""Orders, positions and randomness of samples are functions of (seed, epoch, index)."""

from __future__ import annotations

import random
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import Dataset, TensorDataset
from trainer_runs import Drawing

from ckptop.trainer.loader import EpochLoader
from ckptop.trainer.sample_random import SampleRandom, mix, seeded
from ckptop.trainer.sampler import Batches, EpochSampler
from ckptop.trainer.tasks.digits import Digits, DigitsOptions

Sizes = st.integers(1, 200)


@given(samples=Sizes, batch_size=Sizes, accumulate=st.integers(1, 9))
def test_every_sample_is_in_exactly_one_batch_and_every_batch_in_one_step(
    samples: int, batch_size: int, accumulate: int
) -> None:
    batches = Batches(samples, batch_size, accumulate)

    bounds = [batches.bounds(batch) for batch in range(batches.batch_count)]
    assert bounds[0][0] == 0
    assert bounds[-1][1] == samples
    assert all(end == start for (_, end), (start, _) in pairwise(bounds))
    windows = [batches.window(first) for first in range(0, batches.batch_count, accumulate)]
    assert len(windows) == batches.step_count
    assert sum(batches.samples(window) for window in windows) == samples


@given(samples=Sizes, batch_size=st.integers(2, 200))
def test_no_batch_has_a_single_sample_unless_there_is_only_one(samples: int, batch_size: int) -> None:
    """BatchNorm fails on one; it joins the batch before it."""
    batches = Batches(samples, batch_size)

    sizes = [end - start for start, end in map(batches.bounds, range(batches.batch_count))]
    assert min(sizes) > 1 or samples == 1
    assert max(sizes) <= batch_size + 1


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    batches = Batches(100, 10)

    first, again = EpochSampler(batches, 3), EpochSampler(batches, 3)
    torch.rand(5)
    assert torch.equal(first.order(4), again.order(4))
    assert not torch.equal(first.order(4), first.order(5))
    assert not torch.equal(first.order(4), EpochSampler(batches, 2).order(4))
    assert first.order(4).sort().values.tolist() == list(range(100))


@given(position=st.integers(0, 10))
def test_a_position_is_reached_without_drawing_what_is_before_it(position: int) -> None:
    sampler = EpochSampler(Batches(101, 10), 7)
    sampler.seek(2)
    whole = [key.indices.tolist() for key in sampler]

    sampler.seek(2, position)

    assert [key.indices.tolist() for key in sampler] == whole[position:]


def test_a_sample_s_numbers_do_not_depend_on_its_batch() -> None:
    together = SampleRandom(1, 2, torch.tensor([5, 6, 7])).uniform(4)

    alone = SampleRandom(1, 2, torch.tensor([6])).uniform(4)

    assert torch.equal(together[1:2], alone)
    assert not torch.equal(alone, SampleRandom(1, 3, torch.tensor([6])).uniform(4))
    assert not torch.equal(alone, SampleRandom(2, 2, torch.tensor([6])).uniform(4))


def test_a_sample_s_numbers_are_uniform() -> None:
    numbers = SampleRandom(0, 1, torch.arange(20_000)).uniform(3)

    assert 0 <= float(numbers.min()) < float(numbers.max()) < 1
    assert numbers.mean(0) == pytest.approx([0.5] * 3, abs=0.01)
    assert numbers.var(0) == pytest.approx([1 / 12] * 3, abs=0.005)
    assert torch.corrcoef(numbers.T).fill_diagonal_(0).abs().max() < 0.03
    counts = SampleRandom(0, 1, torch.arange(30_000)).integers(1, 3).flatten().bincount()
    assert counts.tolist() == pytest.approx([10_000] * 3, rel=0.05)


def test_seeds_differ_by_every_number_and_by_order() -> None:
    seeds = {mix(0), mix(1), mix(0, 0), mix(0, 1), mix(1, 0), mix(2**40, 3), mix(3, 2**40)}

    assert len(seeds) == 7
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_global_generators_are_as_they_were_after_a_seeded_block() -> None:
    torch.manual_seed(1)
    random.seed(1)
    np.random.seed(1)
    expected = torch.rand(1), random.random(), np.random.rand()  # noqa: S311 - no secret

    torch.manual_seed(1)
    random.seed(1)
    np.random.seed(1)
    with seeded(99):
        torch.rand(3), random.random(), np.random.rand()  # noqa: S311 - no secret

    assert (torch.rand(1), random.random(), np.random.rand()) == expected  # noqa: S311 - no secret


def load(samples: Dataset[tuple[torch.Tensor, ...]], count: int, workers: int, first: int = 0) -> list[torch.Tensor]:
    loader = EpochLoader(
        samples, Batches(count, 4), seed=5, task=Digits(), options=DigitsOptions(shift_pixels=0), workers=workers
    )
    return [inputs for inputs, _ in loader.epoch(3, first)]


def test_what_a_dataset_draws_from_global_generators_belongs_to_the_sample() -> None:
    """Not to the worker, nor to what was drawn before."""
    here = load(Drawing(), 10, workers=0)
    torch.rand(7)

    there = load(Drawing(), 10, workers=2, first=1)

    assert [batch.tolist() for batch in here[1:]] == [batch.tolist() for batch in there]


def test_loading_leaves_the_trainer_s_generators_alone() -> None:
    torch.manual_seed(11)
    before = torch.get_rng_state()

    load(Drawing(), 10, workers=0)

    assert torch.equal(torch.get_rng_state(), before)


def test_augmentation_moves_an_image_and_loses_no_brightness_inside() -> None:
    """A shift by one of an image with a dark rim changes no sum."""
    images = torch.zeros(50, 1, 8, 8)
    images[:, :, 2:6, 2:6] = torch.rand(50, 1, 4, 4)

    moved = Digits().augment(DigitsOptions(), images, SampleRandom(0, 1, torch.arange(50)))

    assert moved.shape == images.shape
    assert not torch.equal(moved, images)
    assert torch.allclose(moved.sum((1, 2, 3)), images.sum((1, 2, 3)))


def test_a_table_is_indexed_a_batch_at_a_time_in_order() -> None:
    data = TensorDataset(torch.arange(9.0), torch.arange(9))
    loader = EpochLoader(data, Batches(9, 4), seed=0)

    assert [targets.tolist() for _, targets in loader.epoch(1)] == [[0, 1, 2, 3], [4, 5, 6, 7, 8]]
