"""Small models that really were trained, and files of inputs for them; a copy costs milliseconds."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
from sklearn.datasets import load_diabetes, load_digits
from trainer_runs import run_training

ROWS = 200
MODEL = {"channels": 16, "hidden": 64}
"""Of `digits`."""


def train_store(root: Path) -> Path:
    """Runs `digits`, of four epochs, the best above 0.9, and `diabetes`; returns `root`."""
    model = {f"model__{key}": str(value) for key, value in MODEL.items()}
    run_training(root, "digits", epochs="4", keep_training="10", keep_milestones="none", **model)
    run_training(root, "diabetes")
    return root


def copy_store(source: Path, target: Path) -> Path:
    """A copy in which names of the same bytes still share them."""
    subprocess.run(["cp", "-a", str(source), str(target)], check=True)
    return target


def write_digits(directory: Path) -> None:
    """`photos.csv` without labels and `labelled.csv` with them, the first 200 images."""
    images, labels = load_digits(return_X_y=True)
    images, labels = images[:ROWS], labels[:ROWS]
    np.savetxt(directory / "photos.csv", images, fmt="%d", delimiter=",")
    np.savetxt(directory / "labelled.csv", np.column_stack([images, labels]), fmt="%d", delimiter=",")


def write_patients(directory: Path) -> None:
    """`patients.csv` and `answers.csv`, with a line of names."""
    features, progression = load_diabetes(return_X_y=True, scaled=False)
    names = "age,sex,bmi,bp,s1,s2,s3,s4,s5,s6"
    np.savetxt(directory / "patients.csv", features, delimiter=",", header=names, comments="")
    table = np.column_stack([features, progression])
    np.savetxt(directory / "answers.csv", table, delimiter=",", header=f"{names},progression", comments="")
