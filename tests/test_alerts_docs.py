"""docs/alerts.md says what there is: kinds, variables, fields, numbers; and its first script runs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from trainer_runs import child_environment

from ckptop.store import alert_channels, alert_outbox, filling
from ckptop.store.alert_settings import INTERVAL_SECONDS, VARIABLES
from ckptop.store.alerts import KINDS, Alert
from ckptop.store.state import FOREIGN_SECONDS, STALLED_SECONDS, STALLED_STEPS

PAGE = (Path(__file__).parent.parent / "docs" / "alerts.md").read_text()
ALERT = Alert(0.5, "nan", "digits", "/data/runs", "box", "the loss is nan", "ckptop resume digits", 310)


def test_the_page_has_every_kind_variable_and_field_and_no_other() -> None:
    (sent,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)

    assert re.findall(r"^\| `([a-z]+)` \|", PAGE, re.MULTILINE) == list(KINDS)
    assert set(re.findall(r"^\| `(CKPTOP_\w+)` \|", PAGE, re.MULTILINE)) == VARIABLES
    assert list(json.loads(sent)) == list(ALERT.fields())
    for name in ALERT.fields():
        assert f"_{name.upper()}`" in PAGE


def test_the_numbers_of_the_page_are_those_of_the_code() -> None:
    numbers = (
        alert_outbox.QUEUE_LENGTH, alert_outbox.DRAIN_SECONDS, alert_channels.WEBHOOK_SECONDS,
        alert_channels.COMMAND_SECONDS, INTERVAL_SECONDS, STALLED_SECONDS, STALLED_STEPS, FOREIGN_SECONDS,
        filling.LOW_BYTES, filling.LOW_SAVES,
    )  # fmt: skip

    assert numbers == (32, 5, 4, 30, 60, 30, 20, 60, 512 << 20, 3)
    for said in ("a queue of 32", "given 5 seconds", "given 4 seconds", "a command 30 seconds", "60 by default",
                 "30 seconds and 20 step times", "for a minute", "512 MiB or three saves"):  # fmt: skip
        assert said in " ".join(PAGE.split())


def test_the_first_script_keeps_a_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "tell.sh"
    script.write_text(re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)[0])
    script.chmod(0o755)
    monkeypatch.setattr("os.environ", child_environment() | {"HOME": str(tmp_path)})

    alert_channels.run_command([str(script)], ALERT)

    assert (tmp_path / "alerts.txt").read_text() == "nan  digits: the loss is nan\n$ ckptop resume digits\n"
