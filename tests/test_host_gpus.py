"""GPUs, read through the real NVML binding from a driver library of our own making."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from nvml_stub import build_nvml_stub

GIB = 1 << 30

PRELUDE = """
import dataclasses, json, os
from ckptop.host.gpus import GpuReader
def show(reader):
    samples = reader.read()
    print(json.dumps({"samples": [dataclasses.asdict(s) for s in samples], "problem": reader.problem}))
"""

READ_ONCE = "with GpuReader() as reader:\n    show(reader)\n"


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the stub library."""
    try:
        return build_nvml_stub(tmp_path_factory.mktemp("nvml"))
    except FileNotFoundError:
        pytest.skip("gcc is not installed, and the stub of the NVIDIA driver is written in C")


def read(library: Path, script: str = READ_ONCE, **settings: str) -> list[dict[str, Any]]:
    """What each `show(reader)` of `script` saw; LD_LIBRARY_PATH only counts before Python starts."""
    env = os.environ | settings | {"LD_LIBRARY_PATH": str(library)}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PRELUDE + script],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_every_figure_of_a_gpu_is_read(driver: Path) -> None:
    (seen,) = read(driver, NVML_STUB_PID="4321")

    assert seen["problem"] is None
    assert seen["samples"][0] == {
        "index": 0,
        "uuid": "GPU-stub-0",
        "name": "NVIDIA Stub 80GB",
        "memory_used_bytes": 61 * GIB,
        "memory_total_bytes": 80 * GIB,
        "utilization_percent": 98,
        "temperature_celsius": 71,
        "power_watts": 412.5,
        "processes": [{"pid": 4321, "memory_bytes": 60 * GIB}, {"pid": 4712, "memory_bytes": None}],
        "problem": None,
    }


def test_a_figure_the_card_does_not_offer_is_missing_and_no_problem(driver: Path) -> None:
    (seen,) = read(driver)

    second = seen["samples"][1]
    assert second["power_watts"] is None
    assert second["problem"] is None
    assert (second["utilization_percent"], second["processes"]) == (7, [])


def test_an_old_driver_is_asked_for_memory_the_old_way(driver: Path) -> None:
    (seen,) = read(driver, NVML_STUB_MEMORY="1")

    assert seen["samples"][0]["memory_used_bytes"] == 62 * GIB
    assert seen["samples"][0]["problem"] is None


@pytest.mark.parametrize("gone", ["0", "1"], ids=["every-question-fails", "no-handle-either"])
def test_a_gpu_that_gets_lost_keeps_its_name_and_the_others_still_show(driver: Path, gone: str) -> None:
    script = """
with GpuReader() as reader:
    show(reader)
    os.environ["NVML_STUB_LOST"] = "1"
    show(reader)
    del os.environ["NVML_STUB_LOST"]
    show(reader)
"""
    before, lost, after = read(driver, script, NVML_STUB_GONE=gone)

    assert lost["samples"][0] == before["samples"][0]
    assert lost["samples"][1] | {"processes": []} == {
        "index": 1,
        "uuid": "GPU-stub-1",
        "name": "NVIDIA Stub 80GB",
        "memory_used_bytes": None,
        "memory_total_bytes": None,
        "utilization_percent": None,
        "temperature_celsius": None,
        "power_watts": None,
        "processes": [],
        "problem": "lost",
    }
    assert lost["problem"] is None
    assert after == before


def test_a_gpu_lost_from_the_start_shows_without_a_name(driver: Path) -> None:
    (seen,) = read(driver, NVML_STUB_LOST="0", NVML_STUB_GONE="1")

    first, second = seen["samples"]
    assert (first["name"], first["uuid"], first["problem"]) == ("GPU", "", "lost")
    assert second["problem"] is None


def test_no_driver_library_means_no_gpu(tmp_path: Path) -> None:
    if any(Path(folder, "libnvidia-ml.so.1").exists() for folder in ("/usr/lib/x86_64-linux-gnu", "/usr/lib64")):
        pytest.skip("this machine has an NVIDIA driver")

    (seen,) = read(tmp_path)

    assert seen == {"samples": [], "problem": "no NVIDIA GPU"}


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        (4, "no permission to use the NVIDIA driver"),
        (9, "the NVIDIA driver is not loaded"),
        (18, "NVIDIA driver and library versions differ; reboot"),
        (999, "NVIDIA driver: unknown error"),
        (12345, "NVIDIA driver: "),
    ],
)
def test_a_driver_that_does_not_start_is_told_in_one_line(driver: Path, code: int, problem: str) -> None:
    (seen,) = read(driver, NVML_STUB_INIT=str(code))

    assert seen["samples"] == []
    assert seen["problem"].startswith(problem)
    assert "\n" not in seen["problem"]


def test_a_driver_without_a_card_means_no_gpu(driver: Path) -> None:
    (seen,) = read(driver, NVML_STUB_DEVICES="0")

    assert seen == {"samples": [], "problem": "no NVIDIA GPU"}


def test_a_failed_start_is_tried_again_once_a_minute(driver: Path, tmp_path: Path) -> None:
    script = """
now = 1000.0
with GpuReader(clock=lambda: now) as reader:
    show(reader)
    os.environ["NVML_STUB_INIT"] = "0"
    now += 59
    show(reader)
    now += 1
    show(reader)
"""
    calls = tmp_path / "calls"

    first, too_early, later = read(driver, script, NVML_STUB_INIT="9", NVML_STUB_CALLS=str(calls))

    assert first == too_early == {"samples": [], "problem": "the NVIDIA driver is not loaded"}
    assert len(later["samples"]) == 2
    assert later["problem"] is None
    assert calls.read_text().split() == ["start", "start", "shutdown"]


def test_leaving_the_reader_shuts_nvml_down_once(driver: Path, tmp_path: Path) -> None:
    calls = tmp_path / "calls"

    read(driver, READ_ONCE + "reader.close()\n", NVML_STUB_CALLS=str(calls))

    assert calls.read_text().split() == ["start", "shutdown"]


def test_a_reader_that_never_read_never_starts_nvml(driver: Path, tmp_path: Path) -> None:
    calls = tmp_path / "calls"

    read(driver, "with GpuReader() as reader:\n    assert reader.problem is None\n", NVML_STUB_CALLS=str(calls))

    assert not calls.exists()


def test_a_hostile_name_is_cleaned(driver: Path) -> None:
    (seen,) = read(driver, NVML_STUB_NAME="H100\x1b]52;c;ZXZpbA==\x07\x1b[31m PCIe")

    assert seen["samples"][0]["name"] == "H100 PCIe"


def test_a_name_that_is_no_text_does_not_end_the_read(driver: Path) -> None:
    script = "os.environb[b'NVML_STUB_NAME'] = b'H\\xff100'\n" + READ_ONCE

    (seen,) = read(driver, script)

    assert seen["samples"][0]["name"] == "GPU"
    assert seen["samples"][0]["utilization_percent"] == 98


def test_a_sample_cannot_be_changed() -> None:
    from ckptop.host.gpus import GpuProcess

    process = GpuProcess(1, None)

    with pytest.raises(dataclasses.FrozenInstanceError):
        process.pid = 2  # type: ignore[misc]  # that is the point
