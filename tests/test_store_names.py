"""Names of runs, checkpoints and releases: what is written is read back, whatever it is."""

from __future__ import annotations

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ckptop.store.errors import UsageError
from ckptop.store.layout import manifest_path, release_config_path, tensors_path
from ckptop.store.names import (
    RESERVED_RUN_NAMES,
    Version,
    check_run_name,
    file_safe_metric,
    is_link_name,
    is_run_name,
    milestone_name,
    parse_checkpoint_name,
    production_name,
    training_name,
)

COPIES = st.integers(1, 9_999)
EPOCHS = st.integers(0, 10**9)
STEPS = st.integers(0, 10**12)
VALUES = st.one_of(st.floats(-1e307, 1e307), st.sampled_from([math.nan, math.inf, -math.inf]))
VERSIONS = st.builds(Version, *[st.integers(0, 10**6)] * 3)


def test_names_are_those_of_the_design() -> None:
    assert training_name(1, 100) == "checkpoint_epoch_0001_step_00000100.pt"
    assert training_name(1, 100, 2) == "checkpoint_epoch_0001_step_00000100_2.pt"
    assert milestone_name("val/accuracy", 0.85, 7) == "best_accuracy_0.8500_epoch_0007.pt"
    assert production_name("cnn", Version(1, 0, 0)) == "cnn_v1.0.0.pt"


@given(EPOCHS, STEPS, COPIES)
def test_a_training_name_is_read_back(epoch: int, step: int, copy: int) -> None:
    parsed = parse_checkpoint_name(training_name(epoch, step, copy))

    assert parsed is not None
    assert (parsed.tier, parsed.epoch, parsed.step, parsed.metric, parsed.value) == (
        "training",
        epoch,
        step,
        None,
        None,
    )


@given(st.text(max_size=300), VALUES, EPOCHS, COPIES)
@example("x_1.0000_epoch_0001", -0.5, 2, 1)
@example("nan", math.nan, 1, 2)
@example("", 1e300, 1, 1)
@example("a" * 300, -1e15, 1, 1)
@example("..", math.inf, 1, 1)
@example("top_-inf", -math.inf, 1, 1)
def test_a_milestone_name_is_read_back(metric: str, value: float, epoch: int, copy: int) -> None:
    name = milestone_name(metric, value, epoch, copy)

    parsed = parse_checkpoint_name(name)

    assert parsed is not None
    assert (parsed.tier, parsed.epoch, parsed.metric) == ("milestone", epoch, file_safe_metric(metric))
    assert parsed.value is not None
    assert (
        math.isnan(parsed.value) if math.isnan(value) else math.isclose(parsed.value, value, rel_tol=1e-3, abs_tol=1e-4)
    )
    assert len(name) <= 148, "with 107 bytes of staging around it a name must fit into 255"
    assert name.isascii()
    assert "/" not in name


@given(st.text())
def test_reading_any_other_name_says_nothing_and_never_fails(name: str) -> None:
    parsed = parse_checkpoint_name(name)

    assert parsed is None or name.endswith(".pt")


@pytest.mark.parametrize(
    "name",
    ["latest.pt", "checkpoint_epoch_1_step_2.pt", "checkpoint_epoch_0001_step_00000100.pt\n", "best_.pt",
     "checkpoint_epoch_0001_step_00000100.json", "best_a_0.85_epoch_0001.pt", "x.pt",
     "checkpoint_epoch_\u0661\u0661\u0661\u0661_step_00000100.pt"],
)  # fmt: skip
def test_strangers_names_are_not_ours(name: str) -> None:
    assert parse_checkpoint_name(name) is None


@pytest.mark.parametrize(
    ("metric", "safe"),
    [("val/accuracy", "accuracy"), ("accuracy", "accuracy"), ("val/top-5 acc@1", "top-5_acc_1"), ("test/f1", "test_f1"),
     ("../../etc", "etc"), ("\u00e9", "metric"), ("val/", "metric"), ("v.1", "v.1")],
)  # fmt: skip
def test_a_metric_is_made_safe_for_a_file_name(metric: str, safe: str) -> None:
    assert file_safe_metric(metric) == safe


@pytest.mark.parametrize("name", ["a", "9", "digits-cnn", "A.b_c-d", "x" * 100])
def test_run_names_that_are_taken(name: str) -> None:
    assert check_run_name(name) == name
    assert is_run_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        ".hidden",
        "-x",
        "_x",
        "a/b",
        "a b",
        "x" * 101,
        "a\n",
        "caf\u00e9",
        "\u0661",
        *sorted(RESERVED_RUN_NAMES),
    ],
)
def test_run_names_that_are_refused_with_what_to_do(name: str) -> None:
    assert not is_run_name(name)
    with pytest.raises(UsageError, match=r"use letters|choose another"):
        check_run_name(name)


@given(st.text())
def test_checking_and_asking_agree(name: str) -> None:
    try:
        accepted = check_run_name(name) == name
    except UsageError:
        accepted = False

    assert accepted == is_run_name(name)
    assert not accepted or ("/" not in name and not name.startswith("."))


@given(VERSIONS, VERSIONS)
@example(Version(1, 10, 0), Version(1, 9, 0))
def test_versions_are_ordered_as_numbers(one: Version, other: Version) -> None:
    assert Version.parse(str(one)) == one
    assert (one < other) == ((one.major, one.minor, one.patch) < (other.major, other.minor, other.patch))


@given(VERSIONS, st.sampled_from(["major", "minor", "patch"]))
def test_a_bumped_version_is_higher(version: Version, part: str) -> None:
    assert version.bump(part) > version


def test_bumping_clears_what_is_below() -> None:
    version = Version(1, 2, 3)

    assert [str(version.bump(part)) for part in ("major", "minor", "patch")] == ["2.0.0", "1.3.0", "1.2.4"]
    with pytest.raises(UsageError, match="major, minor or patch"):
        version.bump("micro")


@pytest.mark.parametrize(
    "text", ["", "1", "1.2", "1.2.3.4", "01.2.3", "1.2.x", "1.2.3-rc1", "-1.0.0", "1.2.3\n", "1.\u0662.3"]
)
def test_what_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not a version"):
        Version.parse(text)


def test_a_leading_v_is_forgiven() -> None:
    assert Version.parse("v1.2.3") == Version(1, 2, 3)


@pytest.mark.parametrize(
    ("name", "is_link"),
    [
        ("latest.pt", True),
        ("best_accuracy.pt", True),
        ("best_accuracy_0.5000_epoch_0001.pt", False),
        ("mine.pt", False),
    ],
)
def test_links_of_ours_are_told_from_a_persons(name: str, is_link: bool) -> None:
    assert is_link_name(name) == is_link


def test_neighbours_of_a_name_with_dots_keep_all_of_it(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "best_accuracy_0.8500_epoch_0007.pt"

    assert manifest_path(path).name == "best_accuracy_0.8500_epoch_0007.json"
    assert tensors_path(path).name == "best_accuracy_0.8500_epoch_0007.tensors.json"
    assert release_config_path(path.with_name("cnn_v1.0.0.pt")).name == "cnn_v1.0.0.config.json"
