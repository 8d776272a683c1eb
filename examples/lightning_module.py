"""A Lightning module with curves, checkpoints, control and resume: run it, then `ckptop`."""

from __future__ import annotations

import lightning.pytorch as pl
import torch
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from ckptop.trainer.hooks.lightning import CkptopCallback

CONFIG = {"lr": 0.01, "epochs": 12}


class Quadrants(pl.LightningModule):
    """Tells whether two numbers have the same sign."""

    def __init__(self, lr: float) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.lr = lr
        self.network = torch.nn.Sequential(torch.nn.Linear(4, 64), torch.nn.ReLU(), torch.nn.Linear(64, 2))

    def training_step(self, batch: list[torch.Tensor], _index: int) -> torch.Tensor:
        """One batch."""
        loss = cross_entropy(self.network(batch[0]), batch[1])
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: list[torch.Tensor], _index: int) -> None:
        """One batch."""
        self.log("val/loss", cross_entropy(self.network(batch[0]), batch[1]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW."""
        return torch.optim.AdamW(self.parameters(), lr=self.lr)


with CkptopCallback("runs", name="lightning", task="quadrants", config=CONFIG, metric=("val/loss", "min")) as ckptop:
    pl.seed_everything(1, verbose=False)
    inputs = torch.randn(2048, 4)
    data = TensorDataset(inputs, (inputs[:, 0] * inputs[:, 1] > 0).long())
    train, validation = torch.utils.data.random_split(data, [0.75, 0.25])
    trainer = pl.Trainer(
        max_epochs=ckptop.run.config["epochs"],
        callbacks=[ckptop],
        log_every_n_steps=5,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    loaders = DataLoader(train, batch_size=32, shuffle=True), DataLoader(validation, batch_size=512)
    trainer.fit(Quadrants(ckptop.run.config["lr"]), *loaders, ckpt_path=ckptop.checkpoint)
    print(f"Trained to step {trainer.global_step}.")
