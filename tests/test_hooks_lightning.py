"""Lightning's real Trainer on a tiny module: shown, saved, stopped, resumed to the bit."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from ckptop.store import tensors
from ckptop.store.control import send_request
from ckptop.store.errors import UsageError
from ckptop.store.views import RunView, read_run
from ckptop.trainer.hooks.lightning import CkptopCallback

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*smaller than the logging interval:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.:FutureWarning"),  # Lightning's own
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.:DeprecationWarning"),  # Lightning's own
    pytest.mark.filterwarnings("ignore:.*ended before the epoch ended:UserWarning"),  # which is what is tested
]


class Tiny(pl.LightningModule):
    """A linear model with dropout."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.network = torch.nn.Sequential(torch.nn.Dropout(0.2), torch.nn.Linear(width, 1))
        self.at: dict[int, Any] = {}

    def training_step(self, batch: list[torch.Tensor], _index: int) -> torch.Tensor:
        self.at.get(self.trainer.global_step + 1, lambda: None)()
        loss: torch.Tensor = (self.network(batch[0]) - batch[1]).square().mean()
        self.log("train/loss", loss, on_step=True)
        return loss

    def validation_step(self, batch: list[torch.Tensor], _index: int) -> None:
        self.log("val/loss", (self.network(batch[0]) - batch[1]).square().mean())

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=0.1)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.7)]


def hook(store: Path, **more: Any) -> CkptopCallback:
    return CkptopCallback(store, name="tiny", task="toy", metric=("val/loss", "min"), **more)


def fit(ckptop: CkptopCallback, at: dict[int, Any] | None = None, *, resume: bool = True, **more: Any) -> pl.Trainer:
    """Three epochs of four batches, shuffled."""
    pl.seed_everything(1, verbose=False)
    inputs = torch.randn(32, 4)
    data = TensorDataset(inputs, inputs.sum(1, keepdim=True))
    told: dict[str, Any] = {
        "max_epochs": 3, "log_every_n_steps": 1, "accelerator": "cpu", "logger": False, "enable_checkpointing": False,
        "enable_progress_bar": False, "enable_model_summary": False, "callbacks": [ckptop],
    }  # fmt: skip
    trainer = pl.Trainer(**(told | more))
    module = Tiny()
    module.at = at or {}
    loaders = DataLoader(data, batch_size=8, shuffle=True), DataLoader(data, batch_size=32)
    trainer.fit(module, *loaders, ckpt_path=ckptop.checkpoint if resume else None)
    return trainer


def view_of(store: Path) -> RunView:
    return read_run(store / "tiny")


def logged(store: Path) -> list[dict[str, Any]]:
    """The lines that count, without their times."""
    lines: list[dict[str, Any]] = []
    for text in (store / "tiny" / "metrics.jsonl").read_text().splitlines():
        line = json.loads(text)
        if "attempt" in line:
            lines = [one for one in lines if one["step"] <= line["from_step"]]
        else:
            lines.append({key: value for key, value in line.items() if key != "time"})
    return lines


def training_steps(store: Path) -> list[int]:
    return sorted(info.step for info in view_of(store).checkpoints if info.tier == "training")


def latest(store: Path) -> Path:
    info = view_of(store).latest
    assert info is not None
    return info.path


def assert_same(left: Any, right: Any) -> None:
    if isinstance(left, torch.Tensor):
        assert torch.equal(left, right)
    elif isinstance(left, dict):
        assert left.keys() == right.keys()
        for key in left:
            assert_same(left[key], right[key])
    elif isinstance(left, list | tuple):
        assert len(left) == len(right)
        for one, other in zip(left, right, strict=True):
            assert_same(one, other)
    else:
        assert left == right


def test_a_fit_is_shown_with_its_curves_and_checkpoints(tmp_path: Path) -> None:
    with hook(tmp_path) as ckptop:
        fit(ckptop)

    view = view_of(tmp_path)
    assert (view.state, view.status and view.status.step, view.status and view.status.total_steps) == (
        "finished", 12, 12,
    )  # fmt: skip
    lines = logged(tmp_path)
    assert [line["step"] for line in lines if "train/loss" in line] == list(range(1, 13))
    validated = [(line["step"], line["epoch"]) for line in lines if "val/loss" in line]
    assert validated == [(4, 1), (8, 2), (12, 3)]
    saved = [(info.epoch, info.step, info.metric("val/loss")) for info in view.checkpoints if info.tier == "training"]
    expected = [(line["epoch"], line["step"], line["val/loss"]) for line in lines if "val/loss" in line]
    assert sorted(saved) == expected


class Killed(BaseException):
    """Ends a fit at once."""


def die() -> None:
    raise Killed


def test_a_fit_that_died_goes_on_from_its_last_epoch_to_the_bit(tmp_path: Path) -> None:
    with hook(tmp_path / "straight") as ckptop:
        fit(ckptop)
    with pytest.raises(Killed), hook(tmp_path / "cut") as ckptop:
        fit(ckptop, {7: die})
    assert training_steps(tmp_path / "cut") == [4]

    with hook(tmp_path / "cut") as ckptop:
        assert ckptop.checkpoint == str(latest(tmp_path / "cut"))
        fit(ckptop)

    straight, cut = (tensors.read_state(latest(tmp_path / name)) for name in ("straight", "cut"))
    for key in ("state_dict", "optimizer_states", "lr_schedulers", "rng"):
        assert_same(straight[key], cut[key])
    assert logged(tmp_path / "cut") == logged(tmp_path / "straight")


def test_a_stop_saves_its_step_and_the_fit_goes_on_from_there(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended, hook(tmp_path) as ckptop:
        fit(ckptop, {6: lambda: ckptop.run.request_stop("the test")})
    assert ended.value.code == 3
    assert view_of(tmp_path).state == "stopped"
    assert training_steps(tmp_path) == [4, 6]

    with hook(tmp_path) as ckptop:
        trainer = fit(ckptop)

    assert (trainer.global_step, trainer.current_epoch) == (12, 3)
    assert view_of(tmp_path).state == "finished"
    steps = [line["step"] for line in logged(tmp_path) if "train/loss" in line]
    assert steps == list(range(1, 13))


def test_a_finished_fit_has_nothing_left_to_do(tmp_path: Path) -> None:
    with hook(tmp_path) as ckptop:
        fit(ckptop)

    with hook(tmp_path) as ckptop:
        trainer = fit(ckptop)

    assert trainer.global_step == 12
    assert view_of(tmp_path).state == "finished"


def test_accumulated_gradients_count_as_one_step(tmp_path: Path) -> None:
    with hook(tmp_path, save_every_steps=2) as ckptop:
        fit(ckptop, accumulate_grad_batches=2)

    assert training_steps(tmp_path) == [2, 4, 6]


def test_a_save_that_is_asked_for_is_there_when_it_is_answered(tmp_path: Path) -> None:
    with hook(tmp_path, save_every_steps=100) as ckptop:

        def ask() -> None:
            send_request(ckptop.run.paths, "save")
            ckptop.run.inbox.look()

        fit(ckptop, {3: ask})

    assert training_steps(tmp_path) == [3, 12]


def test_a_rate_that_is_set_holds_from_the_next_step_on(tmp_path: Path) -> None:
    with hook(tmp_path, save_every_steps=100) as ckptop:

        def ask() -> None:
            send_request(ckptop.run.paths, "set", {"lr": "0.001"})
            ckptop.run.inbox.look()

        trainer = fit(ckptop, {3: ask})

    group = trainer.optimizers[0].param_groups[0]
    assert group.get("initial_lr", group["lr"]) == pytest.approx(0.001)


def test_our_file_is_lightning_s_file_too_and_holds_the_weights_once(tmp_path: Path) -> None:
    with hook(tmp_path) as ckptop:
        trainer = fit(ckptop)

    module = Tiny.load_from_checkpoint(latest(tmp_path), weights_only=True)

    assert trainer.lightning_module is not None
    assert_same(module.state_dict(), trainer.lightning_module.state_dict())
    state = tensors.read_state(latest(tmp_path))
    name = "network.1.weight"
    assert state["model_state_dict"][name].data_ptr() == state["state_dict"][name].data_ptr()


def test_fitting_on_from_nowhere_is_refused(tmp_path: Path) -> None:
    with hook(tmp_path) as ckptop:
        fit(ckptop)

    with pytest.raises(UsageError, match="pass ckpt_path="), hook(tmp_path) as ckptop:
        fit(ckptop, resume=False)

    assert view_of(tmp_path).state == "finished", "nothing was begun"


def test_without_a_block_the_run_ends_with_the_fit(tmp_path: Path) -> None:
    fit(hook(tmp_path))

    assert view_of(tmp_path).state == "finished"


def test_without_a_block_an_exception_ends_the_run_as_failed(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        fit(hook(tmp_path), {2: die})

    assert view_of(tmp_path).state == "failed"


def test_the_older_name_pytorch_lightning_works_too(tmp_path: Path) -> None:
    script = """
import sys, torch
import pytorch_lightning as pl
from pytorch_lightning.demos.boring_classes import BoringModel
from ckptop.trainer.hooks.lightning import CkptopCallback
assert issubclass(CkptopCallback, pl.Callback)
with CkptopCallback("runs", name="old", task="boring") as ckptop:
    pl.Trainer(
        callbacks=[ckptop], max_epochs=1, limit_train_batches=3, limit_val_batches=1, accelerator="cpu", logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    ).fit(BoringModel(), ckpt_path=ckptop.checkpoint)
assert "lightning.pytorch" not in sys.modules
"""

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, check=False)

    assert done.returncode == 0, done.stderr[-2000:]
    assert read_run(tmp_path / "runs" / "old").state == "finished"


def test_neither_hook_loads_the_rest_of_the_trainer(tmp_path: Path) -> None:
    code = """
import sys
import ckptop.trainer.hooks.lightning, ckptop.trainer.hooks.huggingface
ours = {name for name in sys.modules if name.startswith("ckptop.trainer.")}
print(*sorted(ours))
"""

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True)

    assert done.stdout.split() == [
        "ckptop.trainer.hooks", "ckptop.trainer.hooks.huggingface", "ckptop.trainer.hooks.lightning",
        "ckptop.trainer.hooks.run_hook",
    ]  # fmt: skip
