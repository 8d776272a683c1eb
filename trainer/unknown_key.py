"""What is said of a configuration key that there is not: its name here, or the nearest that there is.

Who comes from another trainer types that one's words, which no distance between strings leads to: `save_total_limit`
is near to nothing here, `gradient_accumulation_steps` to the wrong thing. So the common ones are listed.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence

OTHER_NAMES = {
    "learning_rate": "lr",
    "max_lr": "lr",
    "base_lr": "lr",
    "num_train_epochs": "epochs",
    "num_epochs": "epochs",
    "max_epochs": "epochs",
    "n_epochs": "epochs",
    "per_device_train_batch_size": "batch_size",
    "train_batch_size": "batch_size",
    "micro_batch_size": "batch_size",
    "bs": "batch_size",
    "gradient_accumulation_steps": "accumulate",
    "gradient_accumulation": "accumulate",
    "accumulation_steps": "accumulate",
    "accumulate_grad_batches": "accumulate",
    "grad_accum": "accumulate",
    "max_grad_norm": "clip_norm",
    "clip_grad_norm": "clip_norm",
    "grad_clip": "clip_norm",
    "gradient_clip_val": "clip_norm",
    "optim": "optimizer",
    "wd": "weight_decay",
    "lr_scheduler": "scheduler",
    "lr_scheduler_type": "scheduler",
    "num_warmup_steps": "warmup_steps",
    "gamma": "decay_factor",
    "monitor": "metric_for_best",
    "metric_for_best_model": "metric_for_best",
    "patience": "patience_epochs",
    "early_stopping_patience": "patience_epochs",
    "early_stopping_threshold": "min_delta",
    "save_steps": "save_every_steps",
    "every_n_train_steps": "save_every_steps",
    "every_n_epochs": "save_every_epochs",
    "save_total_limit": "keep_training",
    "max_to_keep": "keep_training",
    "save_top_k": "keep_best",
    "logging_steps": "log_every_steps",
    "log_every_n_steps": "log_every_steps",
    "bf16": "precision",
    "fp16": "precision",
    "amp": "precision",
    "mixed_precision": "precision",
    "torch_compile": "compile",
    "num_workers": "workers",
    "dataloader_num_workers": "workers",
    "num_threads": "threads",
    "random_seed": "seed",
}
"""Names of transformers, Lightning, Keras and common scripts, lower case, and the keys they are here."""


def unknown_key(key: str, known: Sequence[str]) -> str:
    """One line about `key`, which is none of `known`; all are dotted, as `model.dropout`."""
    return f"unknown configuration key {key!r}; {_hint(key, known)}"


def _hint(key: str, known: Sequence[str]) -> str:
    names = {name.rpartition(".")[2]: name for name in known}
    word = key.rpartition(".")[2]
    other = OTHER_NAMES.get(key.lower().replace("-", "_"))
    if word not in names and other in known:
        return f"here it is {other}"
    near = difflib.get_close_matches(key, known, 1, 0.5) or [
        names[name] for name in difflib.get_close_matches(word, names, 1)
    ]
    return f"did you mean {near[0]}?" if near else f"known here: {', '.join(known)}"
