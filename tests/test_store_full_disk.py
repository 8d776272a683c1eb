"""A disk that is truly full, as small as a few checkpoints, with the real calls and a real trainer."""

from __future__ import annotations

import errno
from pathlib import Path

from full_disk import run_on_small_disk


def test_a_full_disk_refuses_early_tears_nothing_and_takes_the_next_save_once_there_is_room(tmp_path: Path) -> None:
    facts = run_on_small_disk(tmp_path, "full")

    assert facts["saved"] == 5
    assert {number for number, _ in facts["refusals"]} == {errno.ENOSPC}
    assert all("cannot hold" in words for _, words in facts["refusals"][:2])
    assert facts["torn"] == []
    assert (facts["checked"], facts["damaged"]) == (5, 0)
    assert facts["epochs"] == [2, 3, 4, 5, 10]


def test_a_trainer_whose_disk_fills_up_goes_on_and_its_last_save_is_not_lost(tmp_path: Path) -> None:
    facts = run_on_small_disk(tmp_path, "trainer")

    assert (facts["code"], facts["state"], facts["damaged"]) == (0, "finished", 0)
    assert facts["steps"] == 40
    assert any("was not saved" in alert and "training goes on" in alert for alert in facts["alerts"])
    assert any("No room: the last checkpoint is" in alert for alert in facts["alerts"])
    assert facts["spilled"] == ["checkpoint_epoch_0008_step_00000040.pt"]
    assert facts["code_of_resume"] == 0
    assert facts["home"][-1] == 9
    assert facts["left"] == []


def test_logging_on_a_full_disk_loses_lines_counts_them_and_stops_nothing(tmp_path: Path) -> None:
    facts = run_on_small_disk(tmp_path, "logs")

    assert "lines lost" in facts["problem"]
    assert facts["last"]["step"] == 400
    assert facts["bad"] <= 1
    assert facts["damaged"] == 0


def test_a_store_that_became_read_only_can_be_looked_at_and_says_why_it_cannot_be_changed(tmp_path: Path) -> None:
    facts = run_on_small_disk(tmp_path, "read_only")

    looking = ("ls", "ls mine", "verify", "trash", "prune mine --dry-run")
    assert {words: facts["codes"][words] for words in looking} == dict.fromkeys(looking, 0)
    changing = {words: code for words, code in facts["codes"].items() if words not in looking}
    assert changing == dict.fromkeys(changing, 14)
    for words in changing:
        assert facts["errors"][words].startswith("ckptop: "), words
        assert "Read-only file system" in facts["errors"][words]
        assert facts["errors"][words].count("\n") == 1
    assert facts["saved"] == "OSError"
    assert not facts["changed"]
