"""The layers of the configuration, and what is said about a wrong key or value."""

from __future__ import annotations

from pathlib import Path

import pytest

from ckptop.store.errors import UsageError
from ckptop.trainer.config import (
    TaskOptions,
    TrainConfig,
    as_dict,
    assignments,
    changes,
    layered,
    read_toml,
    split_assignment,
)
from ckptop.trainer.unknown_key import OTHER_NAMES


class Options(TaskOptions, frozen=True, kw_only=True):
    width: int = 8
    dropout: float = 0.1
    hidden: tuple[int, ...] = (4, 2)


DEFAULTS = TrainConfig(epochs=7, model=Options())


def from_text(*pairs: tuple[str, str]) -> TrainConfig[Options]:
    return layered(DEFAULTS, assignments(pairs), lax=True)


def test_later_layers_win_and_silence_keeps_what_was(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text("epochs = 9\nlr = 0.5\n[model]\nwidth = 16\n")

    config = layered(layered(DEFAULTS, read_toml(file)), assignments([("lr", "1e-4")]), lax=True)

    assert (config.epochs, config.lr, config.model.width, config.model.dropout) == (9, 1e-4, 16, 0.1)
    assert config.batch_size == DEFAULTS.batch_size


def test_text_becomes_what_the_field_wants() -> None:
    config = from_text(("epochs", "3"), ("clip_norm", "2"), ("tensorboard", "false"), ("model.hidden", "[8, 4]"))

    assert (config.epochs, config.clip_norm, config.tensorboard, config.model.hidden) == (3, 2.0, False, (8, 4))
    assert layered(config, assignments([("clip_norm", "none")]), lax=True).clip_norm is None


def test_the_last_value_of_a_repeated_key_holds() -> None:
    assert from_text(("lr", "1"), ("lr", "0.25")).lr == 0.25


@pytest.mark.parametrize(
    ("key", "nearest"),
    [("epoch", "epochs"), ("learning_rat", None), ("model.widht", "model.width"), ("dropuot", "model.dropout")],
)
def test_an_unknown_key_is_named_with_the_nearest_known_one(key: str, nearest: str | None) -> None:
    with pytest.raises(UsageError) as caught:
        from_text((key, "1"))

    assert repr(key) in str(caught.value)
    if nearest is not None:
        assert f"did you mean {nearest}?" in str(caught.value)


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("save_total_limit", "keep_training"),
        ("save_steps", "save_every_steps"),
        ("learning_rate", "lr"),
        ("learning-rate", "lr"),
        ("num_train_epochs", "epochs"),
        ("max_grad_norm", "clip_norm"),
        ("per_device_train_batch_size", "batch_size"),
        ("gradient_accumulation_steps", "accumulate"),
        ("early_stopping_patience", "patience_epochs"),
    ],
)
def test_a_key_of_another_trainer_is_told_by_its_name_here(key: str, name: str) -> None:
    with pytest.raises(UsageError) as caught:
        from_text((key, "1"))

    assert str(caught.value) == f"unknown configuration key {key!r}; here it is {name}"


def test_every_name_that_is_told_is_a_key() -> None:
    keys = TrainConfig.__struct_fields__

    assert not [name for name in OTHER_NAMES.values() if name not in keys]
    assert not [other for other in OTHER_NAMES if other in keys], "a key needs no other name"


def test_a_model_s_own_option_is_meant_before_a_key_of_another_trainer() -> None:
    class Patient(TaskOptions, frozen=True, kw_only=True):
        patience: int = 3

    assert layered(TrainConfig(model=Patient()), {"patience": 1}).model.patience == 1
    assert layered(TrainConfig(model=Patient()), {"patience": 1, "model": {"patience": 2}}).model.patience == 2
    with pytest.raises(UsageError, match="model is a section"):
        layered(TrainConfig(model=Patient()), {"model": 3, "patience": 1})


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        ("epochs", "0", "epochs: expected int >= 1, got '0'"),
        ("epochs", "99999999999999999", "epochs: expected int <= 1000000000, got '99999999999999999'"),
        ("epochs", "many", "epochs: expected int, got 'many'"),
        ("lr", "-1", "lr: expected float > 0.0, got '-1'"),
        ("lr", "inf", "lr: expected a finite number, got inf"),
        ("lr", "nan", "lr: expected float > 0.0, got 'nan'"),
        ("optimizer", "lion", "optimizer: expected one of adamw, adam, sgd, got 'lion'"),
        ("model.dropout", "x", "model.dropout: expected float, got 'x'"),
        ("model", "big", "model is a section; set one of its values, such as model.width"),
        ("lr.x", "1", "lr: expected float, got {'x': '1'}"),
    ],
)
def test_a_wrong_value_is_refused_with_its_key_and_what_is_wanted(key: str, text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        from_text((key, text))

    assert str(caught.value) == message


def test_a_file_must_have_the_field_s_type(tmp_path: Path) -> None:
    """Text for a number is a slip in a file; on a command line everything is text."""
    file = tmp_path / "config.toml"
    file.write_text('epochs = "9"\n')

    with pytest.raises(UsageError, match="epochs: expected int, got '9'"):
        layered(DEFAULTS, read_toml(file))


@pytest.mark.parametrize("text", ["epochs = ", "\xff"])
def test_a_file_that_is_not_toml_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    file = tmp_path / "config.toml"
    file.write_text(text, encoding="latin-1")

    with pytest.raises(UsageError) as caught:
        read_toml(file)

    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_refused() -> None:
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        read_toml(Path("nowhere.toml"))


@pytest.mark.parametrize("text", ["lr", "=3", ""])
def test_what_is_no_assignment_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not KEY=VALUE"):
        split_assignment(text)


def test_an_assignment_splits_at_its_first_equals_sign() -> None:
    assert split_assignment("device = cuda:1=x") == ("device", "cuda:1=x")


def test_changes_are_told_by_dotted_key_with_both_values() -> None:
    after = from_text(("lr", "0.5"), ("model.width", "9"))

    assert changes(DEFAULTS, after) == {"lr": (1e-3, 0.5), "model.width": (8, 9)}


def test_a_configuration_survives_json() -> None:
    config = from_text(("model.hidden", "[3]"))

    assert layered(DEFAULTS, as_dict(config)) == config
