"""What an evaluation gives, and that it changes nothing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.data import TensorDataset
from trainer_runs import Drawing, assert_same_bits

from ckptop.trainer.build import evaluation_loader
from ckptop.trainer.config import layered
from ckptop.trainer.device import open_device
from ckptop.trainer.evaluate import evaluate
from ckptop.trainer.loader import EpochLoader
from ckptop.trainer.tasks.digits import Digits


def test_an_evaluation_is_without_dropout_and_moves_no_buffer() -> None:
    task, device = Digits(), open_device("cpu", "fp32", deterministic=True)
    config = layered(task.defaults(), {"model": {"channels": 4, "hidden": 16, "dropout": 0.5}})
    data, model = task.load(None, 0), task.build_model(config.model)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.train()

    results = [
        evaluate(task, model, evaluation_loader(data.test, config, device), device, "test", lambda: None)
        for _ in range(2)
    ]

    assert results[0] == results[1]
    assert any(name.endswith("running_mean") for name in before)
    assert_same_bits(dict(model.state_dict()), before)
    assert model.training
    assert isinstance(data.test, TensorDataset)
    images, labels = data.test.tensors
    with torch.no_grad():
        loss = task.loss(model.eval()(images), labels)
    assert results[0]["test/loss"] == pytest.approx(float(loss), rel=1e-5)


@pytest.mark.parametrize("is_in_memory", [True, False])
def test_data_in_memory_is_evaluated_without_workers(monkeypatch: pytest.MonkeyPatch, is_in_memory: bool) -> None:
    """To hand over a batch costs more than to index it."""
    started: list[int] = []
    monkeypatch.setattr(EpochLoader, "_start", lambda loader, workers: started.append(workers))
    task: Any = Digits()
    config = layered(task.defaults(), {"workers": 2})
    samples = TensorDataset(torch.zeros(4, 1), torch.zeros(4)) if is_in_memory else Drawing()

    evaluation_loader(samples, config, open_device("cpu", "fp32", deterministic=True))

    assert started == ([] if is_in_memory else [2])
