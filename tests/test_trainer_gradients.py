"""Our clipping and clearing against torch's own: the same bits."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from ckptop.trainer.gradients import clear_gradients, clip_gradients


def tiny_model(scale: float = 1.0, dtype: torch.dtype = torch.float32) -> torch.nn.Module:
    """A model with gradients; the same each time."""
    torch.manual_seed(3)
    model = torch.nn.Sequential(torch.nn.Linear(7, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3)).to(dtype)
    (model(torch.randn(4, 7, dtype=dtype)).square().sum() * scale).backward()
    return model


def gradients(model: torch.nn.Module) -> list[torch.Tensor]:
    return [parameter.grad for parameter in model.parameters() if parameter.grad is not None]


def mixed() -> torch.nn.Module:
    """Half of it in another dtype, as a model with an fp32 head on a bf16 trunk."""
    return torch.nn.ModuleList([tiny_model(), tiny_model(dtype=torch.bfloat16)])


def with_frozen_part() -> torch.nn.Module:
    model = tiny_model()
    first = next(model.parameters())
    first.grad = None
    return model


MODELS: dict[str, Callable[[], torch.nn.Module]] = {
    "large gradient": lambda: tiny_model(1e3),
    "small gradient": lambda: tiny_model(1e-6),
    "bf16": lambda: tiny_model(dtype=torch.bfloat16),
    "mixed dtypes": mixed,
    "frozen part": with_frozen_part,
    "infinite": lambda: tiny_model(float("inf")),
}


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS.keys())
def test_clipping_gives_the_bits_of_torch(make: Callable[[], torch.nn.Module]) -> None:
    ours, theirs = make(), make()

    norm = clip_gradients(list(ours.parameters()), 0.25)

    expected = torch.nn.utils.clip_grad_norm_(theirs.parameters(), 0.25)
    assert torch.equal(norm.nan_to_num(), expected.nan_to_num())
    assert (norm.dtype, norm.shape) == (expected.dtype, expected.shape)
    for one, other in zip(gradients(ours), gradients(theirs), strict=True):
        assert torch.equal(one.nan_to_num(), other.nan_to_num())


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS.keys())
def test_without_a_limit_the_norm_is_told_and_nothing_changes(make: Callable[[], torch.nn.Module]) -> None:
    model = make()
    before = [gradient.clone() for gradient in gradients(model)]

    norm = clip_gradients(list(model.parameters()), None)

    assert torch.equal(norm.nan_to_num(), torch.nn.utils.get_total_norm(before).nan_to_num())
    for gradient, was in zip(gradients(model), before, strict=True):
        assert torch.equal(gradient.nan_to_num(), was.nan_to_num())


def test_no_gradient_at_all_has_the_norm_0() -> None:
    model = torch.nn.Linear(2, 1)

    assert clip_gradients(list(model.parameters()), 1.0) == 0
    assert clip_gradients(list(model.parameters()), None) == 0


def test_cleared_gradients_are_gone() -> None:
    model = tiny_model()

    clear_gradients(list(model.parameters()))

    assert gradients(model) == []
