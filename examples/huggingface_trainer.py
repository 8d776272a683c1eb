"""A Hugging Face Trainer with curves, checkpoints, control and resume: run it, then `ckptop`."""

from __future__ import annotations

import torch
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments, set_seed

from ckptop.trainer.hooks.huggingface import CkptopCallback

CONFIG = {"lr": 3e-3, "epochs": 4}


def count_up(start: int) -> dict[str, torch.Tensor]:
    """A line of numbers that count up from `start`, modulo 32."""
    ids = (torch.arange(12) + start) % 32
    return {"input_ids": ids, "labels": ids}


with CkptopCallback("runs", name="llama", task="counting", config=CONFIG, metric=("val/loss", "min")) as ckptop:
    set_seed(1)
    shape = LlamaConfig(
        vocab_size=32,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        attention_dropout=0.1,
    )
    trainer = Trainer(
        model=LlamaForCausalLM(shape),
        args=TrainingArguments(
            output_dir="runs/llama/output",
            num_train_epochs=ckptop.run.config["epochs"],
            learning_rate=ckptop.run.config["lr"],
            per_device_train_batch_size=8,
            logging_steps=1,
            eval_strategy="epoch",
            save_strategy="no",  # ckptop saves, every epoch
            report_to="none",
            use_cpu=True,
            disable_tqdm=True,
        ),
        train_dataset=[count_up(start) for start in range(256)],
        eval_dataset=[count_up(start) for start in range(32)],
        callbacks=[ckptop],
    )
    trainer.train(resume_from_checkpoint=ckptop.checkpoint)
    print(f"Trained to step {trainer.state.global_step}.")
