"""The truth about a run's state: its status file, checked against the process itself."""

from __future__ import annotations

import msgspec
import pytest
from store_fixture import dead_process, live_process

from ckptop.store.records import Phase, Process, Status
from ckptop.store.state import FOREIGN_SECONDS, STALLED_SECONDS, derive_state

NOW = 1_763_683_200.0


def status(phase: Phase = "running", process: Process | None = None, **changes: float) -> Status:
    base = Status(phase=phase, heartbeat=NOW, last_step_time=NOW, step_seconds=0.1, process=process or live_process())
    return msgspec.structs.replace(base, **changes)


def elsewhere() -> Process:
    return msgspec.structs.replace(live_process(), host="another-box")


@pytest.mark.parametrize("phase", ["starting", "running", "paused"])
def test_a_live_process_is_what_it_says(phase: Phase) -> None:
    assert derive_state(status(phase), now=NOW) == phase


@pytest.mark.parametrize("phase", ["starting", "running", "paused"])
def test_a_dead_process_has_crashed_whatever_it_said(phase: Phase) -> None:
    assert derive_state(status(phase, dead_process()), now=NOW) == "crashed"


@pytest.mark.parametrize("phase", ["stopped", "finished", "failed"])
def test_an_end_that_was_said_stands(phase: Phase) -> None:
    assert derive_state(status(phase, dead_process()), now=NOW + 1e6) == phase


def test_a_recycled_pid_is_not_the_trainer() -> None:
    recycled = msgspec.structs.replace(live_process(), start_ticks=live_process().start_ticks - 1)

    assert derive_state(status(process=recycled), now=NOW) == "crashed"


def test_a_process_of_before_the_reboot_is_gone() -> None:
    before = msgspec.structs.replace(live_process(), boot_id="00000000-0000-0000-0000-000000000000")

    assert derive_state(status(process=before), now=NOW) == "crashed"


def test_no_status_is_unknown() -> None:
    assert derive_state(None) == "unknown"


def test_no_step_for_long_is_a_stall_though_the_heart_beats() -> None:
    assert derive_state(status(heartbeat=NOW + STALLED_SECONDS + 1), now=NOW + STALLED_SECONDS + 1) == "stalled"
    assert derive_state(status(), now=NOW + STALLED_SECONDS - 1) == "running"


def test_long_steps_are_waited_for() -> None:
    assert derive_state(status(step_seconds=10.0), now=NOW + 199) == "running"
    assert derive_state(status(step_seconds=10.0), now=NOW + 201) == "stalled"


def test_a_pause_is_no_stall() -> None:
    assert derive_state(status("paused"), now=NOW + 1e5) == "paused"


def test_another_hosts_silence_is_unknown_and_its_beat_is_believed() -> None:
    assert derive_state(status(process=elsewhere()), now=NOW + 5) == "running"
    assert derive_state(status(process=elsewhere()), now=NOW + FOREIGN_SECONDS + 1) == "unknown"


def test_the_observers_own_clock_wins_over_a_wrong_one() -> None:
    """A heartbeat that moved under our eyes is alive, however wrong its clock."""
    late = status(process=elsewhere(), last_step_time=NOW + 3600)

    assert derive_state(late, now=NOW + 3600, heartbeat_age_seconds=1.0) == "running"
    assert derive_state(late, now=NOW, heartbeat_age_seconds=FOREIGN_SECONDS + 1) == "unknown"


@pytest.mark.parametrize("set_by_seconds", [-7200.0, 0.0, 7200.0])
def test_a_hang_is_seen_whatever_somebody_sets_the_clock(set_by_seconds: float) -> None:
    """The loop took its last step before the clock was set, and has hung since; the heartbeat is of after that."""
    now = NOW + set_by_seconds
    hung = status(last_step_time=NOW, step_age_seconds=STALLED_SECONDS + 1, heartbeat=now)
    at_work = status(last_step_time=NOW, step_age_seconds=0.1, heartbeat=now)

    assert derive_state(hung, now=now + 0.5) == "stalled"
    assert derive_state(at_work, now=now + 0.5) == "running"


def test_a_process_whose_heartbeat_stands_still_is_stalled() -> None:
    """As one that SIGSTOP holds."""
    held = status(step_age_seconds=0.1)

    assert derive_state(held, now=NOW + STALLED_SECONDS - 1) == "running"
    assert derive_state(held, now=NOW + STALLED_SECONDS + 1) == "stalled"
