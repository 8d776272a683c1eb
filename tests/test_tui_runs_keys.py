"""The list of runs: what a filter means, which run stands under which, and the keys that fold, group, hide and mark."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from dashboard import Dashboard, open_dashboard
from store_fixture import RunPlan, build_store

from ckptop.tui.filtering import run_filter
from ckptop.tui.model import RunRow
from ckptop.tui.sorting import place_runs

TRIALS = [
    RunPlan(name=f"lrs-000{number}", phase="finished", epochs=6, peak=peak, sweep="lrs", age_seconds=1_000 + number)
    for number, peak in ((1, 0.7), (2, 0.9), (3, 0.8))
]
ALONE = RunPlan(name="alone", phase="stopped", epochs=4, shape="smape", peak=41.2, age_seconds=100)
FORK = RunPlan(name="branch", phase="stopped", epochs=3, parent="alone", age_seconds=50)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return build_store(tmp_path / "runs", [*TRIALS, ALONE, FORK])


@pytest.fixture
async def dashboard(store: Path) -> AsyncIterator[Dashboard]:
    async with open_dashboard(store) as opened:
        yield opened


def names(dashboard: Dashboard) -> list[str]:
    return [run.name for run in dashboard.runs.items]


def row(name: str, **facts: object) -> RunRow:
    return RunRow(name, name, facts.pop("state", "stopped"), **facts)  # type: ignore[arg-type]


# What a filter means.

RUN = row(
    "digits-cnn", state="crashed", task="digits", sweep="lrs", metric="val/accuracy", best=0.981, step=1488, epoch=62,
    values={"val/accuracy": 0.95, "val/loss": 0.09, "lr": 1e-3, "odd": float("nan")},
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("", True), ("CNN", True), ("digits crash", True), ("digits running", False), ("lrs", True),
        ("state:crashed", True), ("state:digits", False), ("task:dig", True), ("sweep:lrs", True), ("name:cnn", True),
        ("val/accuracy>0.98", True), ("accuracy>0.98", True), ("accuracy>=0.99", False), ("val/loss<0.1", True),
        ("loss<=0.05", False), ("lr=1e-3", True), ("lr!=1e-3", False), ("step>=1,488", True), ("epoch<62", False),
        ("f1>0", False), ("odd>0", False), ("odd<0", False), ("accuracy>", True), ("accuracy>0.", True),
        ("cnn accuracy>0.9 state:crashed", True), ("cnn accuracy>0.99", False), ("a:b", False),
    ],
)  # fmt: skip
def test_a_filter_holds_where_every_word_of_it_does(text: str, holds: bool) -> None:
    assert run_filter(text)(RUN) is holds


def test_the_best_value_is_compared_and_not_the_newest_one() -> None:
    assert run_filter("val/accuracy>0.96")(RUN)


async def test_runs_are_filtered_by_a_value_while_it_is_typed(dashboard: Dashboard) -> None:
    await dashboard.press("slash", *"accuracy>0.75")

    assert sorted(names(dashboard)) == ["branch", "lrs-0002", "lrs-0003"]
    await dashboard.press("escape")
    await dashboard.press("slash")
    assert "val/accuracy>0.9" in dashboard.screen_text()  # what one may type


# Which run stands under which.


def test_a_thousand_forks_of_forks_are_nested_and_counted() -> None:
    runs = [row(f"r{n:04}", parent=f"r{n - 1:04}" if n else None, created=float(-n)) for n in range(3_000)]

    places = place_runs(runs, 0, reverse=False)

    assert [place.depth for place in places] == list(range(3_000))
    assert places[0].below == 2_999
    assert [place.run.name for place in place_runs(runs, 0, reverse=False, folded={"r0002"})] == [
        "r0000", "r0001", "r0002",
    ]  # fmt: skip


def test_runs_that_stem_from_each_other_are_all_listed_once() -> None:
    circle = [row("a", parent="b"), row("b", parent="c"), row("c", parent="a"), row("d", parent="a")]

    assert sorted(place.run.name for place in place_runs(circle, 0, reverse=False)) == ["a", "b", "c", "d"]


async def test_b_nests_the_trials_of_a_sweep_under_its_best_one(dashboard: Dashboard) -> None:
    await dashboard.press("b")

    assert names(dashboard) == ["alone", "branch", "lrs-0002", "lrs-0001", "lrs-0003"]
    text = dashboard.text("#runs")
    assert "▾ lrs-0002" in text
    assert "└ lrs-0001" in text
    assert "by sweep" in dashboard.text("#runs") or "newest" in dashboard.text("#runs")

    await dashboard.press("b")
    assert "└ lrs" not in dashboard.text("#runs")


@pytest.mark.parametrize(("fold", "unfold"), [("h", "l"), ("left", "right")])
async def test_h_folds_what_stands_under_a_run_and_l_shows_it_again(
    dashboard: Dashboard, fold: str, unfold: str
) -> None:
    await dashboard.press("b", "G", fold)

    assert names(dashboard) == ["alone", "branch", "lrs-0002"]
    assert dashboard.runs.current is not None
    assert dashboard.runs.current.name == "lrs-0002"
    assert "▸ lrs-0002 +2" in dashboard.text("#runs")

    await dashboard.press(unfold)
    assert len(names(dashboard)) == 5


async def test_a_fork_folds_under_its_parent(dashboard: Dashboard) -> None:
    await dashboard.press("h")

    assert "branch" not in names(dashboard)
    assert "▸ alone +1" in dashboard.text("#runs")


# Hiding, marking.


async def test_H_hides_and_full_stop_shows_what_is_hidden(dashboard: Dashboard) -> None:  # noqa: N802  the key
    await dashboard.press("H")
    assert "alone" not in names(dashboard)
    assert "1 hidden" in dashboard.text("#runs")

    await dashboard.press("full_stop")
    assert "alone" in names(dashboard)
    await dashboard.press("slash", *"name:alone", "enter", "H", "escape", "full_stop")
    assert "alone" in names(dashboard)
    assert "hidden" not in dashboard.text("#runs")


async def test_when_all_runs_are_hidden_the_list_says_how_they_come_back(dashboard: Dashboard) -> None:
    await dashboard.press("asterisk", "H")

    assert "All 5 runs are hidden. . shows them." in dashboard.text("#runs")


async def test_marked_runs_have_keys_of_their_own_in_the_footer(dashboard: Dashboard) -> None:
    await dashboard.press("space", "j", "v")

    assert "r Resume 3" in dashboard.text("#footer")
    assert "d Delete" in dashboard.text("#footer")
    assert "3 marked" in dashboard.text("#runs")


async def test_best_tells_its_direction(dashboard: Dashboard) -> None:
    lines = dashboard.text("#runs").splitlines()

    assert "41.2↓" in next(line for line in lines if "alone" in line)
    assert "0.900↑" in next(line for line in lines if "lrs-0002" in line)


async def test_runs_are_sorted_by_the_disk_they_use(dashboard: Dashboard) -> None:
    await dashboard.press(*["s"] * 5)

    sizes = [run.size_bytes for run in dashboard.runs.items]
    assert sizes == sorted(sizes, reverse=True)
    assert "by size" in dashboard.text("#runs")
