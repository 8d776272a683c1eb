"""Samples of the machine while a training runs."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from trainer_runs import run_training

from ckptop.host.gpus import NO_GPU, GpuReader, GpuSample
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


def gpu_of(index: int, uuid: str, used: int, percent: int | None) -> GpuSample:
    return GpuSample(index, uuid, "H100", used, 80 << 30, percent, 64, 350.0, (), None)


def sampled(
    monkeypatch: pytest.MonkeyPatch, reads: Sequence[tuple[GpuSample, ...]], device: torch.device
) -> SystemSampler:
    """A sampler that has read all of `reads`, with what it said in `said`."""
    remaining, done = iter(reads), threading.Event()

    def read(_: GpuReader) -> tuple[GpuSample, ...]:
        sample = next(remaining, None)
        if sample is None:
            done.set()
            return ()
        return sample

    monkeypatch.setattr(GpuReader, "read", read)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(uuid="aa-bb"))
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 1 << 30)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 2 << 30)
    sampler = SystemSampler(samples.append, 0.001, device=device, say=said.append)
    assert done.wait(30)
    sampler.close()
    return sampler


samples: list[Mapping[str, float]] = []
said: list[str] = []


@pytest.fixture(autouse=True)
def nothing_said() -> None:
    samples.clear()
    said.clear()


def test_of_the_gpus_the_one_in_use_is_sampled_said_and_summed_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch numbers GPUs in its own way: the uuid tells which it is."""
    reads = [
        (gpu_of(0, "GPU-other", 1, 1), gpu_of(1, "GPU-aa-bb", 10 << 30, 90)),
        (gpu_of(0, "GPU-other", 1, 1), gpu_of(1, "GPU-aa-bb", 30 << 30, None)),
    ]

    sampler = sampled(monkeypatch, reads, torch.device("cuda", 0))

    assert said == ["GPU 1: 10.0 GiB of 80.0 GiB used (2.0 GiB reserved by torch), 90 %, 64 °C, 350 W"]
    assert {name for name in samples[0] if name.startswith("gpu")} == {
        "gpu1/memory_used_bytes", "gpu1/memory_total_bytes", "gpu1/utilization_percent", "gpu1/temperature_celsius",
        "gpu1/power_watts", "gpu1/allocated_bytes", "gpu1/reserved_bytes",
    }  # fmt: skip
    usage = sampler.usage.as_dict()
    assert usage["gpu1/memory_used_bytes"] == {"peak": 30 << 30, "mean": 20 << 30}
    assert usage["gpu1/utilization_percent"] == {"peak": 90, "mean": 90}
    (line,) = sampler.usage.lines()
    assert line == (
        "gpu1: 30.0 GiB used at most, 20.0 GiB mean · 2.0 GiB reserved by torch at most, 2.0 GiB mean · "
        "90 % at most, 90 % mean · 64 °C at most, 64 °C mean · 350 W at most, 350 W mean"
    )


def test_a_training_on_the_cpu_uses_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    sampler = sampled(monkeypatch, [(gpu_of(0, "GPU-other", 1, 1),)], torch.device("cpu"))

    assert said == ["GPU memory: no GPU used"]
    assert not [name for name in samples[0] if name.startswith("gpu")]
    assert sampler.usage.lines() == ["no GPU used"]


def test_a_machine_without_a_gpu_says_so_on_the_console_and_in_the_summary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(reader: GpuReader) -> tuple[GpuSample, ...]:
        reader.problem = NO_GPU
        return ()

    monkeypatch.setattr(GpuReader, "read", read)

    run_training(tmp_path, name="run", system_interval_seconds="0.02")

    log = (tmp_path / "run" / "train.log").read_text()
    assert log.count("GPU memory: no NVIDIA GPU\n") == 2  # at the beginning, and summed up
    assert json.loads((tmp_path / "run" / "reports" / "summary.json").read_text())["gpus"] == "no NVIDIA GPU"


def test_a_driver_that_goes_away_costs_samples_and_not_the_sampler(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = GpuSample(0, "uuid", "H100", 5, 80, 97, None, 350.5, (), None)
    reads = 0
    arrived = threading.Event()

    def read(_: GpuReader) -> tuple[GpuSample, ...]:
        nonlocal reads
        reads += 1
        if reads < 3:
            raise RuntimeError("CUDA error: unspecified launch failure")
        return (gpu,)

    monkeypatch.setattr(GpuReader, "read", read)
    sampler = SystemSampler(lambda _: arrived.set(), 0.001)

    assert arrived.wait(30)
    sampler.close()
