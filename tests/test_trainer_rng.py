"""The random state survives a checkpoint that is loaded without running code."""

from __future__ import annotations

import io
import random

import numpy as np
import torch

from ckptop.trainer import rng


def draw() -> tuple[float, float, float, float]:
    return random.gauss(0, 1), random.random(), float(np.random.normal()), float(torch.rand(()))  # noqa: S311 - no secret


def test_what_is_drawn_after_a_restore_is_what_was_drawn_after_the_capture() -> None:
    rng.seed_everything(7)
    draw()  # leaves half a pair of Gaussians in Python's and NumPy's state
    file = io.BytesIO()
    torch.save(rng.capture(), file)
    expected = draw()
    draw()

    file.seek(0)
    rng.restore(torch.load(file, weights_only=True))

    assert draw() == expected


def test_the_configuration_s_threads_win_over_the_checkpoint_s() -> None:
    before = torch.get_num_threads()
    try:
        rng.restore_threads({"threads": 2}, None)
        assert torch.get_num_threads() == 2
        rng.restore_threads({"threads": 2}, 1)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
