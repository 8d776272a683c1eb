"""What an epoch's metric decides: best, early stopping, the plateau schedule, the alert."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from trainer_runs import logged, run_training

from ckptop.store.events import read_events
from ckptop.store.store import Store
from ckptop.trainer.best import choose_metric, improves, is_out_of_patience, lost_share, note_epoch
from ckptop.trainer.config import TaskOptions, TrainConfig
from ckptop.trainer.evaluate import evaluate
from ckptop.trainer.state import Best, Progress
from ckptop.trainer.tasks.diabetes import Diabetes
from ckptop.trainer.tasks.digits import Digits


def config_with(**changes: Any) -> TrainConfig[TaskOptions]:
    return TrainConfig(model=TaskOptions(), **changes)


def follow(values: list[float], **changes: Any) -> list[tuple[float, int, int]]:
    """(best, epochs without an improvement, reductions) after each epoch of a metric to be minimised."""
    progress, config, seen = Progress(), config_with(**changes), []
    for value in values:
        note_epoch(progress, value, "min", config)
        best = progress.best.value if progress.best is not None else math.nan
        seen.append((best, progress.trend.stale_epochs, progress.trend.reductions))
    return seen


def test_an_epoch_without_improvement_is_counted_until_the_next_improvement() -> None:
    assert follow([3.0, 3.0, 4.0, 2.0, 2.5]) == [(3, 0, 0), (3, 1, 0), (3, 2, 0), (2, 0, 0), (2, 1, 0)]


def test_an_improvement_within_min_delta_is_best_and_counts_for_nothing_else() -> None:
    """Small ones add up against the last that counted."""
    assert follow([3.0, 2.75, 2.5, 2.25], min_delta=0.5) == [(3, 0, 0), (2.75, 1, 0), (2.5, 2, 0), (2.25, 0, 0)]


def test_nan_is_never_an_improvement() -> None:
    assert [stale for _, stale, _ in follow([math.nan, 2.0, math.nan])] == [1, 0, 1]
    assert not improves(math.nan, None, "max")


def test_the_plateau_schedule_lowers_the_rate_after_so_many_epochs_each_time() -> None:
    values = follow([1.0, 2.0, 2.0, 2.0, 2.0, 0.5, 2.0, 2.0], scheduler="plateau", plateau_epochs=2)

    assert [reductions for *_, reductions in values] == [0, 0, 1, 1, 2, 2, 2, 3]


def test_no_other_schedule_is_lowered() -> None:
    assert {reductions for *_, reductions in follow([1.0, 2.0, 2.0], scheduler="cosine", plateau_epochs=1)} == {0}


def test_patience_ends_after_so_many_epochs_and_never_where_none_is_set() -> None:
    progress = Progress()
    progress.trend.stale_epochs = 3

    assert is_out_of_patience(progress, config_with(patience_epochs=3))
    assert not is_out_of_patience(progress, config_with(patience_epochs=4))
    assert not is_out_of_patience(progress, config_with())


@pytest.mark.parametrize(
    ("value", "best", "mode", "share"),
    [(0.9, 1.0, "max", 0.1), (1.1, 1.0, "min", 0.1), (1.2, 1.0, "max", -0.2), (-0.9, -1.0, "min", 0.1),
     (0.1, 0.0, "min", math.inf), (0.0, 0.0, "min", 0.0), (math.nan, 1.0, "max", 0.0)],
)  # fmt: skip
def test_what_was_lost_is_a_share_of_the_best(value: float, best: float, mode: Any, share: float) -> None:
    assert lost_share(value, Best(best, 1, 1), mode) == pytest.approx(share)


def test_a_metric_of_the_evaluation_can_be_chosen_with_its_direction() -> None:
    assert choose_metric(Digits(), config_with()) == ("val/accuracy", "max")
    assert choose_metric(Digits(), config_with(metric_for_best="val/loss")) == ("val/loss", "min")
    assert choose_metric(Diabetes(), config_with(metric_for_best="val/smape")) == ("val/smape", "min")


def test_a_chosen_metric_knows_its_own_direction() -> None:
    class ByLoss(Digits):
        metric = ("val/loss", "min")  # type: ignore[assignment]  # inferred as "max" from the parent

    class ByLossToo(Diabetes):
        metric = ("val/loss", "min")

    assert choose_metric(ByLoss(), config_with(metric_for_best="val/accuracy")) == ("val/accuracy", "max")
    assert choose_metric(ByLossToo(), config_with(metric_for_best="val/smape")) == ("val/smape", "min")


def test_the_chosen_metric_names_the_milestones_and_the_best(tmp_path: Path) -> None:
    run_training(tmp_path, "digits", name="run", metric_for_best="val/loss")

    view = Store.open(tmp_path).run("run")
    losses = [float(text) for (_, name), text in sorted(logged(tmp_path / "run").items()) if name == "val/loss"]
    assert view.best_value == min(losses)
    assert view.best is not None
    assert view.best.name.startswith("best_loss_")
    assert "Val loss: " in (tmp_path / "run" / "train.log").read_text()


def test_training_ends_early_and_its_last_epoch_is_saved(tmp_path: Path) -> None:
    settings = {"patience_epochs": "2", "min_delta": "1000", "epochs": "9", "save_every_epochs": "9"}
    assert run_training(tmp_path, name="run", **settings) == 0

    view = Store.open(tmp_path).run("run")
    assert view.state == "finished"
    assert view.latest is not None
    assert (view.latest.epoch, view.latest.step) == (3, 51)
    assert "test/smape" in view.result


def test_the_plateau_schedule_is_seen_in_the_rate_of_the_next_epoch(tmp_path: Path) -> None:
    settings = {"scheduler": "plateau", "plateau_epochs": "1", "min_delta": "1000", "warmup_steps": "0"}
    run_training(tmp_path, name="run", decay_factor="0.5", lr="0.5", **settings)

    values = logged(tmp_path / "run")
    assert [values[step, "lr"] for step in (1, 17, 18, 34, 35)] == ["0.5", "0.5", "0.5", "0.5", "0.25"]
    log = (tmp_path / "run" / "train.log").read_text()
    assert log.count("val/smape is on a plateau: lr times 0.5 from the next epoch on") == 2


def test_a_metric_far_behind_the_best_raises_one_alert_that_names_the_way_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once when it falls behind, and again only after it was back."""
    values = iter([50.0, 52.4, 53.0, 60.0, 51.0, 53.0])

    def scripted(*arguments: Any) -> dict[str, float]:
        return evaluate(*arguments) | {"val/smape": next(values)}

    monkeypatch.setattr("ckptop.trainer.loop.evaluate", scripted)

    run_training(tmp_path, name="run", epochs="6")

    alerts = [event for event in read_events(tmp_path / "run" / "events.jsonl") if event.event == "alert"]
    assert [alert.step for alert in alerts] == [51, 102]
    where = f"--store {tmp_path}"
    assert alerts[0].details["message"] == (
        f"val/smape is 53.0000, 6.0% worse than the best, 50.0000 of epoch 1; to go back: "
        f"ckptop stop run {where} && ckptop resume run --from best {where}"
    )
