"""From what was asked for to a run: names, layers, resuming with changes, the answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from trainer_runs import at_step, logged, newest_state, run_training

from ckptop.store.errors import DataError, Held, NotFound, UsageError
from ckptop.store.events import last_event
from ckptop.store.resume import RESUME_VARIABLE, ResumeRequest, encode_request
from ckptop.store.run import Run
from ckptop.store.store import Store
from ckptop.trainer.options import TrainOptions
from ckptop.trainer.sampler import BatchKey, EpochSampler
from ckptop.trainer.task import TaskData
from ckptop.trainer.tasks.diabetes import Diabetes, DiabetesOptions
from ckptop.trainer.tasks.tables import subset
from ckptop.trainer.train import train


def stop(run: Run) -> None:
    run.request_stop("the test")


def test_runs_without_a_name_are_numbered(tmp_path: Path) -> None:
    for _ in range(3):
        run_training(tmp_path, epochs="1")

    assert Store.open(tmp_path).run_names() == ["diabetes", "diabetes-2", "diabetes-3"]


def test_a_directory_with_only_a_log_is_no_run_yet(tmp_path: Path) -> None:
    """A launcher redirects our output there before we make the run."""
    (tmp_path / "diabetes").mkdir()
    (tmp_path / "diabetes" / "train.log").write_text("started\n")

    run_training(tmp_path, epochs="1")

    assert Store.open(tmp_path).run_names() == ["diabetes"]
    assert (tmp_path / "diabetes" / "train.log").read_text().startswith("started\nRun diabetes:")


def test_a_name_that_is_taken_is_refused(tmp_path: Path) -> None:
    run_training(tmp_path, name="mine", epochs="1")

    with pytest.raises(UsageError, match="--resume auto"):
        run_training(tmp_path, name="mine", epochs="1")


def test_a_run_that_is_held_is_refused(tmp_path: Path) -> None:
    with Run.create(tmp_path, name="mine", task="diabetes"), pytest.raises(Held):
        run_training(tmp_path, name="mine", resume="auto")


def test_a_wrong_key_makes_no_run(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean epochs"):
        run_training(tmp_path, name="mine", epoch="1")

    assert not (tmp_path / "mine").exists()


def test_run_json_says_what_was_trained_and_how(tmp_path: Path) -> None:
    run_training(tmp_path, name="mine", epochs="1", seed="4")

    record = Store.open(tmp_path).run("mine").record
    assert record is not None
    assert (record.task, record.seed, record.config["epochs"], record.config["model"]) == (
        "diabetes", 4, 1, {"hidden": [8], "dropout": 0.2},
    )  # fmt: skip
    assert record.metric is not None
    assert (record.metric.name, record.metric.mode) == ("val/smape", "min")
    assert record.data is not None
    assert record.data.path == "sklearn:diabetes"
    assert record.command is not None
    assert record.command.argv == ["-c", ""]


def test_the_result_is_that_of_the_best_checkpoint_on_the_test_part(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_training(tmp_path, name="mine")

    view = Store.open(tmp_path).run("mine")
    assert view.result.keys() >= {"val/smape", "test/smape", "test/loss", "val/smape_median", "test/smape_median"}
    assert view.result["val/smape"] == view.best_value
    assert view.best is not None
    answer = capsys.readouterr().out.splitlines()[-1]
    assert answer.startswith(f"Best val/smape {view.best_value:.4f} at epoch {view.best.epoch} · ")
    assert answer.endswith(f" · test smape {view.result['test/smape']:.4f}")


def test_a_complete_run_is_left_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_training(tmp_path, name="mine", epochs="2")
    before = logged(tmp_path / "mine"), (tmp_path / "mine" / "run.json").read_bytes()
    capsys.readouterr()

    assert run_training(tmp_path, name="mine", resume="auto") == 0

    assert capsys.readouterr().out == "mine is complete: 2 epochs done; --epochs 4 would train on\n"
    assert before == (logged(tmp_path / "mine"), (tmp_path / "mine" / "run.json").read_bytes())


def test_more_epochs_extend_a_complete_run_and_stretch_the_cosine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_training(tmp_path, name="short", epochs="2", warmup_steps="0")
    run_training(tmp_path, name="long", epochs="4", warmup_steps="0")

    assert run_training(tmp_path, name="short", resume="auto", epochs="4") == 0

    assert "epochs was 2, now 4; the cosine schedule now ends at step 68" in capsys.readouterr().out
    short, long = logged(tmp_path / "short"), logged(tmp_path / "long")
    assert [short[step, "lr"] for step in range(35, 69)] == [long[step, "lr"] for step in range(35, 69)]
    record = Store.open(tmp_path).run("short").record
    assert record is not None
    assert record.config["epochs"] == 4
    assert record.attempts[-1].overrides == {"epochs": 4}


def test_a_changed_rate_holds_from_the_first_resumed_step_and_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with at_step(20, stop):
        run_training(tmp_path, name="mine", scheduler="constant", warmup_steps="0")

    run_training(tmp_path, name="mine", resume="auto", lr="0.25", weight_decay="0.5")

    said = capsys.readouterr().out
    assert "\nlr was 0.001, now 0.25\n" in said
    assert said.count("\nthe next step has lr 0.25 (was 0.001)\n") == 1
    assert logged(tmp_path / "mine")[21, "lr"] == "0.25"
    group = newest_state(tmp_path / "mine")["optimizer_state_dict"]["param_groups"][0]
    assert (group["lr"], group["weight_decay"]) == (0.25, 0.5)


def test_a_changed_rate_scales_the_restored_schedule_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_training(tmp_path, name="straight", warmup_steps="0")
    with at_step(20, stop):
        run_training(tmp_path, name="mine", warmup_steps="0")
    capsys.readouterr()

    run_training(tmp_path, name="mine", resume="auto", lr="0.002")

    before = float(logged(tmp_path / "straight")[21, "lr"])
    assert float(logged(tmp_path / "mine")[21, "lr"]) == pytest.approx(2 * before)
    said = capsys.readouterr().out
    assert "\nlr was 0.001, now 0.002; the cosine schedule goes on, times 2\n" in said
    assert f"\nthe next step has lr {2 * before:.4g} (was {before:.4g})\n" in said


@pytest.mark.parametrize(
    ("scheduler", "key", "value"),
    [("cosine", "epochs", "5"), ("cosine", "scheduler", "constant"), ("step", "decay_every_epochs", "1"),
     ("constant", "warmup_steps", "40")],
)  # fmt: skip
def test_whatever_changes_the_next_rate_says_what_it_would_have_been(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], scheduler: str, key: str, value: str
) -> None:
    settings = {"scheduler": scheduler, "warmup_steps": "0"}
    run_training(tmp_path, name="straight", **settings)
    with at_step(20, stop):
        run_training(tmp_path, name="mine", **settings)
    capsys.readouterr()

    run_training(tmp_path, name="mine", resume="auto", **{key: value})

    before, now = (float(logged(tmp_path / name)[21, "lr"]) for name in ("straight", "mine"))
    assert now != before
    assert f"\nthe next step has lr {now:.4g} (was {before:.4g})\n" in capsys.readouterr().out


def test_going_back_past_a_change_says_what_the_checkpoint_was_trained_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The run goes on as it was changed since, so the same steps are not trained again."""
    run_training(tmp_path, name="mine", epochs="2", scheduler="constant", warmup_steps="0")
    run_training(tmp_path, name="mine", resume="auto", epochs="3", lr="0.25", batch_size="8")
    capsys.readouterr()

    run_training(tmp_path, name="mine", resume="epoch=2")

    said = capsys.readouterr().out
    assert "\nepochs was 2, now 3\n" in said
    assert "\nlr was 0.001, now 0.25\n" in said
    assert "\nbatch_size was 16, now 8; an epoch now has 33 steps\n" in said
    assert "\nthe next step has lr 0.25 (was 0.001)\n" in said


@pytest.mark.parametrize("scheduler", ["cosine", "step"])
def test_another_batch_size_on_resume_does_not_make_the_rate_jump(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], scheduler: str
) -> None:
    settings = {"scheduler": scheduler, "decay_every_epochs": "1", "epochs": "3", "warmup_steps": "3"}
    run_training(tmp_path, name="straight", **settings)
    with at_step(2 * 17, stop):
        run_training(tmp_path, name="mine", **settings)
    capsys.readouterr()

    run_training(tmp_path, name="mine", resume="auto", batch_size="4")

    assert logged(tmp_path / "mine")[35, "lr"] == logged(tmp_path / "straight")[35, "lr"]
    assert "the next step has lr" not in capsys.readouterr().out


def test_another_precision_is_told_with_the_scaler_that_begins_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Python's own warnings are errors here: there is none."""
    with at_step(20, stop):
        run_training(tmp_path, name="mine")

    assert run_training(tmp_path, name="mine", resume="auto", precision="fp16") == 0

    assert "\nprecision was fp32, now fp16; a gradient scaler begins anew\n" in capsys.readouterr().out


def test_a_stopped_early_run_is_complete_until_patience_changes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_training(tmp_path, name="mine", epochs="4", patience_epochs="1", min_delta="1000") == 0
    assert "Stopped early: val/smape has not improved for 1 epochs" in capsys.readouterr().out

    assert run_training(tmp_path, name="mine", resume="auto") == 0
    assert capsys.readouterr().out == (
        "mine is complete: stopped early after 2 epochs; --set patience_epochs=none would train on\n"
    )
    assert run_training(tmp_path, name="mine", resume="auto", patience_epochs="none") == 0
    assert newest_state(tmp_path / "mine")["global_step"] == 4 * 17


@pytest.mark.parametrize(
    ("key", "value"), [("metric_for_best", "val/loss"), ("seed", "3"), ("optimizer", "sgd"), ("model__hidden", "[4]")]
)
def test_what_the_saved_state_depends_on_cannot_change(tmp_path: Path, key: str, value: str) -> None:
    with at_step(20, stop):
        run_training(tmp_path, name="mine")

    with pytest.raises(UsageError, match=f"^{key.replace('__', '.')} cannot change"):
        run_training(tmp_path, name="mine", resume="auto", **{key: value})


def fork(store: Path, of: str, monkeypatch: pytest.MonkeyPatch, **overrides: str) -> int:
    """What `ckptop resume RUN --fork child` starts."""
    request = ResumeRequest(store=str(store), run="child", checkpoint="auto", fork_of=of, overrides=overrides)
    with monkeypatch.context() as patch:
        patch.setenv(RESUME_VARIABLE, encode_request(request))
        return train(TrainOptions(task="diabetes", store=store))


def test_a_fork_may_have_another_seed_and_another_metric(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_training(tmp_path, name="mine")
    capsys.readouterr()

    assert fork(tmp_path, "mine:epoch=2", monkeypatch, seed="3", metric_for_best="val/loss") == 0

    said = capsys.readouterr().out
    assert "\nseed was 0, now 3; order, augmentation and dropout are drawn anew, and the split of the data" in said
    assert "\nmetric_for_best was None, now val/loss; best, patience and plateau begin anew\n" in said
    parent, child = (newest_state(tmp_path / name) for name in ("mine", "child"))
    assert (child["loader"]["seed"], child["global_step"]) == (3, parent["global_step"])
    assert child["loop"]["best"]["epoch"] == 3  # of losses there was none before
    view = Store.open(tmp_path).run("child")
    assert view.record is not None
    assert view.record.metric is not None
    assert (view.record.metric.name, view.record.seed) == ("val/loss", 3)
    assert logged(tmp_path / "child")[40, "train/loss"] != logged(tmp_path / "mine")[40, "train/loss"]


def test_a_fork_within_an_epoch_keeps_its_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with at_step(20, stop):
        run_training(tmp_path, name="mine")

    with pytest.raises(UsageError, match="was saved within epoch 2, whose order another seed makes another"):
        fork(tmp_path, "mine:latest", monkeypatch, seed="3")


@pytest.mark.parametrize(("key", "value"), [("optimizer", "sgd"), ("model.hidden", "[4]")])
def test_what_does_not_fit_what_was_saved_cannot_change_in_a_fork_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, value: str
) -> None:
    run_training(tmp_path, name="mine", epochs="1")

    with pytest.raises(UsageError, match=f"{key} cannot change: .*; begin a new run with `ckptop train`"):
        fork(tmp_path, "mine:latest", monkeypatch, **{key: value})

    assert not (tmp_path / "child").exists()


@pytest.mark.parametrize("place", ["mine:best", "mine:step=17", "path", "link"])
def test_a_checkpoint_to_resume_from_may_be_named_as_everywhere_else(tmp_path: Path, place: str) -> None:
    """Also without --name: the checkpoint says of which run it is."""
    run_training(tmp_path, name="mine", epochs="2")
    best = Store.open(tmp_path).run("mine").best
    assert best is not None
    link = tmp_path / "mine" / "checkpoints" / "milestone" / "best_smape.pt"
    assert link.is_symlink()
    named = {"path": str(best.path), "link": str(link)}.get(place, place)

    assert run_training(tmp_path, name=None if place == "path" else "mine", resume=named, epochs="3") == 0

    attempt = Store.open(tmp_path).run("mine").record.attempts[-1]  # type: ignore[union-attr]  # it was just written
    assert attempt.from_step == (17 if place == "mine:step=17" else best.step)


def test_a_checkpoint_of_another_run_is_no_place_to_resume_from(tmp_path: Path) -> None:
    run_training(tmp_path, name="mine", epochs="1")

    with pytest.raises(UsageError, match=r"mine:best is of run mine, not of other; .*--fork other"):
        run_training(tmp_path, name="other", resume="mine:best")
    with pytest.raises(NotFound, match="mine has not a checkpoint of epoch 9"):
        run_training(tmp_path, name="mine", resume="mine:epoch=9")


def test_a_batch_size_changes_at_an_epoch_s_end(tmp_path: Path) -> None:
    run_training(tmp_path, name="mine", epochs="1")

    assert run_training(tmp_path, name="mine", resume="auto", epochs="3", batch_size="88") == 0

    said = "batch_size was 16, now 88; an epoch now has 3 steps and the cosine schedule now ends at step 23"
    assert said in (tmp_path / "mine" / "train.log").read_text()
    assert newest_state(tmp_path / "mine")["global_step"] == 17 + 3 + 3


@pytest.mark.parametrize(
    ("changes", "steps"),
    [({"batch_size": "8", "accumulate": "2"}, 14), ({"batch_size": "4", "accumulate": "3"}, 18),
     ({"batch_size": "24"}, 9), ({"batch_size": "48", "accumulate": "9"}, 1)],
)  # fmt: skip
def test_a_batch_size_changes_within_an_epoch_where_a_batch_begins_at_the_same_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, str], steps: int
) -> None:
    """48 samples into the second epoch. Each sample of it is trained on once, whatever the batches."""
    seen: list[torch.Tensor] = []
    original = EpochSampler.__iter__

    def record(sampler: EpochSampler) -> Iterator[BatchKey]:
        for key in original(sampler):
            if sampler._seed is not None and key.epoch == 2:
                seen.append(key.indices)
            yield key

    monkeypatch.setattr(EpochSampler, "__iter__", record)
    with at_step(20, stop):
        run_training(tmp_path, name="mine", epochs="2")

    assert run_training(tmp_path, name="mine", resume="auto", **changes) == 0

    assert torch.cat(seen).sort().values.tolist() == list(range(265))
    assert newest_state(tmp_path / "mine")["global_step"] == 20 + steps
    status = Store.open(tmp_path).run("mine").status
    assert status is not None
    assert status.total_steps == 20 + steps


def test_half_the_batch_and_twice_the_accumulation_keep_every_step(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is advised where memory ran out, in the middle of an epoch."""
    run_training(tmp_path, name="straight", model__dropout="0")
    with at_step(20, stop):
        run_training(tmp_path, name="mine", model__dropout="0")
    capsys.readouterr()

    run_training(tmp_path, name="mine", resume="auto", batch_size="8", accumulate="2")

    straight, mine = logged(tmp_path / "straight"), logged(tmp_path / "mine")
    assert "the next step has lr" not in capsys.readouterr().out
    for step in range(21, 52):
        assert mine[step, "lr"] == straight[step, "lr"]
        assert float(mine[step, "train/loss"]) == pytest.approx(float(straight[step, "train/loss"]), rel=1e-3)


def test_a_batch_size_that_no_batch_begins_with_is_refused_with_where_it_can_change(tmp_path: Path) -> None:
    with at_step(20, stop):
        run_training(tmp_path, name="mine")

    with pytest.raises(UsageError, match=r"was saved within epoch 2, 48 samples into it.*88; .*--resume step=17"):
        run_training(tmp_path, name="mine", resume="auto", batch_size="88")
    assert run_training(tmp_path, name="mine", resume="step=17", batch_size="88") == 0


def test_fewer_epochs_than_are_done_are_refused(tmp_path: Path) -> None:
    with at_step(40, stop):
        run_training(tmp_path, name="mine")

    with pytest.raises(UsageError, match="has done 2 epochs; --epochs 1 is behind it"):
        run_training(tmp_path, name="mine", resume="auto", epochs="1")


def test_fewer_epochs_than_a_complete_run_has_are_refused_to_a_person_and_not_to_a_job_script(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A script that is started again says what it said before the run was extended; a person means it."""
    run_training(tmp_path, name="mine", epochs="2")

    assert run_training(tmp_path, name="mine", resume="auto", epochs="1") == 0
    request = ResumeRequest(store=str(tmp_path), run="mine", overrides={"epochs": "1"})
    monkeypatch.setenv(RESUME_VARIABLE, encode_request(request))
    with pytest.raises(UsageError, match="mine has done 2 epochs; --epochs 1 is behind it"):
        run_training(tmp_path, name="mine")


def test_a_run_of_another_task_is_not_resumed(tmp_path: Path) -> None:
    run_training(tmp_path, name="mine", epochs="1")

    with pytest.raises(UsageError, match="run mine trains diabetes, not digits"):
        run_training(tmp_path, "digits", name="mine", resume="auto")


def test_resume_auto_begins_a_run_that_is_not_there(tmp_path: Path) -> None:
    options = [("epochs", "1"), ("model.hidden", "[4]")]

    assert train(TrainOptions(task="diabetes", store=tmp_path, name="new", resume="auto", assignments=options)) == 0

    assert Store.open(tmp_path).run("new").state == "finished"


def test_a_viewer_s_request_wins_over_the_recorded_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command is replayed as it was; only the request's changes count."""
    with at_step(20, stop):
        run_training(tmp_path, name="mine", lr="0.002")
    request = ResumeRequest(store=str(tmp_path), run="mine", overrides={"epochs": "4"})
    monkeypatch.setenv(RESUME_VARIABLE, encode_request(request))

    code = train(TrainOptions(task="diabetes", store=Path("elsewhere"), assignments=[("lr", "0.5"), ("epochs", "1")]))

    assert code == 0
    view = Store.open(tmp_path).run("mine")
    assert view.record is not None
    assert (view.record.config["epochs"], view.record.config["lr"]) == (4, 0.002)
    assert view.record.attempts[-1].overrides == {"epochs": 4}
    assert not Path("elsewhere").exists()


def test_json_is_one_object_on_stdout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = [("epochs", "1"), ("model.hidden", "[4]"), ("system_interval_seconds", "0")]

    train(TrainOptions(task="diabetes", store=tmp_path, assignments=options, as_json=True))

    captured = capsys.readouterr()
    answer = json.loads(captured.out)
    assert (answer["run"], answer["state"], answer["exit_code"], answer["step"]) == ("diabetes", "finished", 0, 9)
    assert answer["metrics"]["test/smape"] > 0
    assert "Epoch 1/1" in captured.err


def test_the_finished_event_holds_the_final_metrics(tmp_path: Path) -> None:
    run_training(tmp_path, name="mine", epochs="1")

    event = last_event(tmp_path / "mine" / "events.jsonl", ("finished",))
    assert event is not None
    assert "test/smape" in event.details["metrics"]


@pytest.fixture
def changed_data(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Lets the task load something else from now on."""
    original = Diabetes.load

    def change(**fields: Any) -> None:
        def load(task: Diabetes, path: Path | None, seed: int) -> TaskData:
            return TaskData(**(vars(original(task, path, seed)) | fields))

        monkeypatch.setattr(Diabetes, "load", load)

    return change


def test_changed_data_is_refused_unless_it_is_accepted(
    tmp_path: Path, changed_data: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    with at_step(20, stop):
        run_training(tmp_path, name="mine")
    before = (tmp_path / "mine" / "run.json").read_bytes()
    changed_data(hash="other")

    with pytest.raises(DataError, match=r"sklearn:diabetes has changed since .*_step_00000020.pt .*--accept-new-data"):
        run_training(tmp_path, name="mine", resume="auto")
    assert (tmp_path / "mine" / "run.json").read_bytes() == before
    assert Store.open(tmp_path).run("mine").state == "stopped"

    with at_step(30, stop):
        assert run_training(tmp_path, name="mine", resume="auto", accept_new_data="true") == 3
    said = capsys.readouterr().out
    assert "accept_new_data was False, now True" in said
    assert "\nthe data was sklearn:diabetes (" in said
    assert "), now sklearn:diabetes (other): 442 patients\n" in said
    assert run_training(tmp_path, name="mine", resume="auto") == 0  # the data it was trained on last
    assert "accept_new_data" not in capsys.readouterr().out


def test_data_accepted_once_is_not_accepted_for_ever(tmp_path: Path, changed_data: Callable[..., None]) -> None:
    with at_step(20, stop):
        run_training(tmp_path, name="mine")
    changed_data(hash="other")
    with at_step(30, stop):
        run_training(tmp_path, name="mine", resume="auto", accept_new_data="true")
    changed_data(hash="a third")

    with pytest.raises(DataError, match="has changed since"):
        run_training(tmp_path, name="mine", resume="auto")


@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_an_empty_part_is_refused_before_a_run_is_made(
    tmp_path: Path, changed_data: Callable[..., None], part: str
) -> None:
    data = Diabetes().load(None, 0)
    changed_data(**{part: subset(data.train.tensors, [])})  # type: ignore[attr-defined, arg-type]  # a TensorDataset

    with pytest.raises(DataError, match=f"the {'training' if part == 'train' else part} part of the data is empty"):
        run_training(tmp_path, name="other")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("name", "hint"), [("val/smap", "did you mean val/smape"), ("smape", "val/smape"), ("x", "val/loss")]
)
def test_a_metric_that_does_not_exist_is_refused_before_a_run_is_made(tmp_path: Path, name: str, hint: str) -> None:
    with pytest.raises(UsageError, match=f"metric_for_best: diabetes has no '{name}'.*{hint}"):
        run_training(tmp_path, name="mine", metric_for_best=name)
    assert not (tmp_path / "mine").exists()


def test_a_checkpoint_of_another_shape_is_refused_with_the_first_names_that_differ(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task's code changed; its options did not."""
    with at_step(20, stop):
        run_training(tmp_path, name="mine")
    before = (tmp_path / "mine" / "run.json").read_bytes()
    original = Diabetes.build_model
    monkeypatch.setattr(
        Diabetes, "build_model", lambda task, options: original(task, DiabetesOptions(hidden=(8, 4), dropout=0.2))
    )

    with pytest.raises(UsageError) as caught:
        run_training(tmp_path, name="mine", resume="auto")

    assert str(caught.value) == (
        "checkpoint_epoch_0002_step_00000020.pt is of another model: layers.6.weight is missing in the checkpoint; "
        "layers.6.bias is missing in the checkpoint; layers.3.weight is (1, 8) in the checkpoint, (4, 8) in the model "
        "and 1 more; resume with the model it was trained with"
    )
    assert (tmp_path / "mine" / "run.json").read_bytes() == before


def test_a_checkpoint_of_another_script_is_not_gone_on_from(tmp_path: Path) -> None:
    from ckptop.store.errors import Damaged

    model = Diabetes().build_model(DiabetesOptions(hidden=(8,)))
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    with Run.create(tmp_path, name="mine", task="diabetes", config={"model": {"hidden": [8]}}) as run:
        run.checkpoints.save_training_checkpoint(model, optimizer, 1, 5, {})
        run.log(5, {"train/loss": 1.0})

    with pytest.raises(Damaged, match="does not say where `ckptop train` stood"):
        run_training(tmp_path, name="mine", resume="auto")
