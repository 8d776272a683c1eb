"""A checkpoint's weights as a file that other tools read: every bit, whole or not at all, and nothing overwritten."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from power_cut import HastyFileSystem
from safetensors import safe_open
from safetensors.torch import load_file
from tiny_model import HASTY, find, make_run

from ckptop.cli.main import run
from ckptop.store.errors import UsageError
from ckptop.store.exporting import export_safetensors


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    make_run(tmp_path / "runs")
    monkeypatch.delenv("CKPTOP_STORE", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def weights_of(path: Path) -> dict[str, torch.Tensor]:
    loaded: dict[str, torch.Tensor] = torch.load(path, weights_only=True)["model_state_dict"]
    return loaded


@pytest.mark.parametrize("name", ["w.safetensors", "w.pt"])
def test_the_weights_of_a_checkpoint_come_out_bit_for_bit(
    here: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    wanted = weights_of(find(here / "runs" / "mine", "training", 3).path)

    assert run(["export", "mine:epoch=3", "--to", name, "--json"]) == 0

    told = json.loads(capsys.readouterr().out)
    found = load_file(name) if name.endswith("safetensors") else torch.load(name, weights_only=True)
    assert told["tensors"] == len(wanted)
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[key], tensor) for key, tensor in wanted.items())
    assert run(["export", "mine:epoch=3", "--to", name]) == 2, "nothing is overwritten"


def test_tensors_of_every_kind_keep_their_dtype_shape_and_elements(tmp_path: Path) -> None:
    """Transposed, tied, empty, scalar, and narrow ones between wide ones; of a stranger's plain state dict."""
    line = torch.arange(12, dtype=torch.float32)
    state = {
        "t": line.view(3, 4).t(), "tied": line, "again": line, "half": line.half()[:3], "bf16": line.bfloat16(),
        "flag": torch.tensor([True, False, True]), "count": torch.tensor(7), "none": torch.empty(0, 3),
    }  # fmt: skip
    torch.save(state, tmp_path / "theirs.pt")

    export_safetensors(tmp_path / "theirs.pt", tmp_path / "a.safetensors", {"epoch": "3"}, HASTY)

    found = load_file(tmp_path / "a.safetensors")
    assert found.keys() == state.keys()
    for name, tensor in state.items():
        assert (found[name].dtype, found[name].shape) == (tensor.dtype, tensor.shape), name
        assert torch.equal(found[name], tensor), name
    with safe_open(tmp_path / "a.safetensors", "pt") as opened:
        assert opened.metadata() == {"epoch": "3"}


def test_a_dtype_without_a_name_and_a_file_without_tensors_are_refused(tmp_path: Path) -> None:
    for name, state in (("complex", {"c": torch.zeros(1, dtype=torch.complex64)}), ("empty", {"a": 1})):
        torch.save(state, tmp_path / name)
        with pytest.raises(UsageError):
            export_safetensors(tmp_path / name, tmp_path / "out", {}, HASTY)
    assert sorted(os.listdir(tmp_path)) == ["complex", "empty"]


class FullDisk(HastyFileSystem):
    """Takes the header, and no more."""

    def write(self, fd: int, data: bytes | memoryview) -> int:
        if os.fstat(fd).st_size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(fd, data)


def test_a_full_disk_leaves_no_half_file(tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(10)}, tmp_path / "theirs.pt")

    with pytest.raises(OSError, match="No space left"):
        export_safetensors(tmp_path / "theirs.pt", tmp_path / "out.safetensors", {}, FullDisk())

    assert os.listdir(tmp_path) == ["theirs.pt"]


def test_a_flipped_byte_is_not_exported(here: Path) -> None:
    path = find(here / "runs" / "mine", "training", 3).path
    data = bytearray(path.read_bytes())
    data[-200] ^= 1
    path.write_bytes(data)

    assert run(["export", "mine:epoch=3", "--to", "w.safetensors"]) == 12

    assert not (here / "w.safetensors").exists()


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["mine:epoch=3", "--to", "w.onnx"], 2), (["mine:epoch=77", "--to", "w.pt"], 11), (["mine:epoch=3"], 2),
        (["mine:epoch=3", "--to", "nowhere/w.safetensors"], 2), (["mine@1.0.0", "--to", "w.pt"], 11),
    ],
)  # fmt: skip
def test_wrong_words_are_one_line(here: Path, capsys: pytest.CaptureFixture[str], words: list[str], code: int) -> None:
    assert run(["export", *words]) == code

    assert len(capsys.readouterr().err.splitlines()) == 1


def test_safetensors_are_exported_and_files_compared_without_torch(here: Path) -> None:
    code = (
        "import sys; from ckptop.cli.main import run; "
        "assert run(['export', 'mine:epoch=3', '--to', 'w.safetensors']) == 0; "
        "assert run(['diff', 'mine:epoch=3', 'mine:epoch=4']) == 1; assert 'torch' not in sys.modules"
    )

    subprocess.run([sys.executable, "-c", code], check=True, cwd=here)
