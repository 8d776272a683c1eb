"""Samples of the machine while a training runs."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest
from trainer_runs import run_training

from ckptop.host.gpus import GpuReader, GpuSample
from ckptop.trainer.system import SystemSampler


def test_a_training_samples_host_and_itself(tmp_path: Path) -> None:
    run_training(tmp_path, name="run", system_interval_seconds="0.02")

    lines = [json.loads(line) for line in (tmp_path / "run" / "system.jsonl").read_text().splitlines()]
    samples = [line for line in lines if "cpu_percent" in line]
    assert len(samples) >= 2
    assert 0 < samples[0]["process_memory_bytes"] < samples[0]["memory_total_bytes"]
    assert samples[0]["memory_used_bytes"] < samples[0]["memory_total_bytes"]
    assert samples[0]["step"] <= samples[-1]["step"]


def test_each_gpu_has_its_names_and_only_what_it_offers(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = GpuSample(1, "uuid", "H100", 5, 80, 97, None, 350.5, (), None)
    monkeypatch.setattr(GpuReader, "read", lambda _: (gpu,))
    samples: list[Mapping[str, float]] = []
    arrived = threading.Event()

    def log(sample: Mapping[str, float]) -> None:
        samples.append(sample)
        arrived.set()

    sampler = SystemSampler(log, 60)
    assert arrived.wait(30)
    sampler.close()

    gpu_values = {name: value for name, value in samples[0].items() if name.startswith("gpu")}
    assert gpu_values == {
        "gpu1/memory_used_bytes": 5.0,
        "gpu1/memory_total_bytes": 80.0,
        "gpu1/utilization_percent": 97.0,
        "gpu1/power_watts": 350.5,
    }


def test_a_disk_that_refuses_a_sample_ends_nothing() -> None:
    calls = 0
    again = threading.Event()

    def log(sample: Mapping[str, float]) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise OSError("No space left on device")
        again.set()

    sampler = SystemSampler(log, 0.01)
    assert again.wait(30)
    sampler.close()
