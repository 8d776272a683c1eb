"""SMAPE of `ckptop train price` on a table, beside scikit-learn's gradient boosting on the very same split.

    python benchmarks/prices.py --data diamonds.csv [--set KEY=VALUE …]

Without --data it looks into $CKPTOP_DATA, and says so where there is nothing.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.model_selection import train_test_split

from ckptop.store.store import Store
from ckptop.trainer.config import split_assignment
from ckptop.trainer.options import TrainOptions
from ckptop.trainer.tasks.price import Price
from ckptop.trainer.tasks.price_columns import encode_rows, fit_columns, kinds_of, prices
from ckptop.trainer.tasks.read_rows import read_rows
from ckptop.trainer.train import train

SHARE = Price().defaults().model.validation_share


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(os.environ.get("CKPTOP_DATA", "../shared/data")) / "diamonds" / "diamonds.csv"
    parser.add_argument("--data", type=Path, default=default)
    parser.add_argument("--target", default="price")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    if not options.data.exists():
        print(f"{options.data} is not there; name a table with --data")
        return
    settings = [split_assignment(text) for text in options.set]
    settings += [("target", options.target), ("seed", str(options.seed))]
    ours, seconds = train_ours(options.data, settings)
    theirs, their_seconds = train_boosting(options.data, options.target, options.seed)
    print(f"{'':34}{'val SMAPE':>10}{'seconds':>9}")
    print(f"{'ckptop train price':34}{ours:>9.2f}%{seconds:>9.1f}")
    print(f"{'HistGradientBoosting on log price':34}{theirs:>9.2f}%{their_seconds:>9.1f}")


def train_ours(data: Path, settings: list[tuple[str, str]]) -> tuple[float, float]:
    """Best validation SMAPE, and how long it took: data, training, checkpoints and the report."""
    with tempfile.TemporaryDirectory() as store:
        began = time.perf_counter()
        train(
            TrainOptions(
                task="price", store=Path(store), data=data, name="price", assignments=settings, argv=["-c", ""]
            )
        )
        seconds = time.perf_counter() - began
        return Store.open(Path(store)).run("price").result["val/smape"], seconds


def train_boosting(data: Path, target: str, seed: int) -> tuple[float, float]:
    """scikit-learn's defaults on the same rows and columns."""
    began = time.perf_counter()
    rows = read_rows(data)
    kinds = {name: kind for name, kind in kinds_of(rows, target, (), ()).items() if kind != "text"}
    truth = prices(rows, target)
    training, validation = train_test_split(np.arange(len(truth)), test_size=SHARE, random_state=seed)
    columns = fit_columns(rows, target, kinds, training.tolist(), 0)
    features = encode_rows(rows, columns)
    is_category = np.arange(features.shape[1]) >= columns.number_width
    model = HistGradientBoostingRegressor(categorical_features=is_category, random_state=seed)
    model.fit(features[training], np.log(truth[training]))
    answers = np.exp(model.predict(features[validation]))
    smape = 200 * np.mean(np.abs(answers - truth[validation]) / (answers + truth[validation]))
    return float(smape), time.perf_counter() - began


if __name__ == "__main__":
    main()
