"""A plain PyTorch loop with curves, checkpoints, control and resume: run it, then `ckptop`."""

from __future__ import annotations

import torch
from torch.nn.functional import cross_entropy

from ckptop.store import Run

CONFIG = {"lr": 0.01, "hidden": 64, "steps": 600}

with Run.create(
    "runs", name="plain", task="quadrants", config=CONFIG, metric=("val/loss", "min"), resume="auto"
) as run:
    config = run.config  # CONFIG, and what `ckptop resume plain --set lr=1e-3` changes of it
    torch.manual_seed(1)
    inputs = torch.randn(2048, 4)
    labels = (inputs[:, 0] * inputs[:, 1] > 0).long()
    model = torch.nn.Sequential(
        torch.nn.Linear(4, config["hidden"]),
        torch.nn.ReLU(),
        torch.nn.Dropout(0.1),
        torch.nn.Linear(config["hidden"], 2),
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=config["lr"])
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config["steps"])
    run.restore(model, optimizer, schedule)  # weights, optimizer, schedule, random state; nothing where it begins

    def save() -> None:
        """Evaluate and save."""
        model.eval()
        with torch.no_grad():
            metrics = {"val/loss": cross_entropy(model(inputs[1536:]), labels[1536:]).item()}
        model.train()
        run.log(step, metrics)
        run.checkpoints.save_training_checkpoint(model, optimizer, 1, step, metrics, config, schedule)

    for step in run.steps(config["steps"], save=save, save_every=50, optimizer=optimizer, scheduler=schedule):
        batch = torch.randint(1536, (32,))
        loss = cross_entropy(model(inputs[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        run.log(step, {"train/loss": loss.item(), "lr": optimizer.param_groups[0]["lr"]})
    print(f"Trained to step {run.step}.")
