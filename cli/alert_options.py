"""`--on-alert` and `--alert-on`: put into the environment, which every trainer started from here inherits.

So there is one way to say it, and restarts by a supervisor and plain scripts go by it too. There is no option for a
webhook: a command line is recorded in run.json and shown by ps, and the address is the secret.
"""

from __future__ import annotations

import os
from collections.abc import Callable, MutableMapping
from typing import Any, TypeVar

import click

from ckptop.store.alert_settings import (
    COMMAND_VARIABLE,
    KINDS_VARIABLE,
    WEBHOOK_VARIABLE,
    AlertSettings,
    alert_settings,
)
from ckptop.store.errors import UsageError
from ckptop.store.resume import RESUME_VARIABLE

F = TypeVar("F", bound=Callable[..., Any])


def alert_options(function: F) -> F:
    """`--on-alert` and `--alert-on`."""
    for option in (
        click.option("--alert-on", metavar="KIND,…", help="Only of these, such as nan,crash,end (default: of all)."),
        click.option("--on-alert", metavar="COMMAND", help="Start this on NaN, crash, stall, …; see docs/alerts.md."),
    ):
        function = option(function)
    return function


def take_alert_options(
    on_alert: str | None, alert_on: str | None, environ: MutableMapping[str, str] = os.environ
) -> AlertSettings | None:
    """Whom to tell of alerts, by the options and else by the environment, which has it from then on.

    In a trainer that `ckptop resume` or a supervisor started, the options are the recorded ones, and what the
    environment says is newer.

    Raises:
        UsageError: A setting cannot be meant.
    """
    is_recorded = bool(environ.get(RESUME_VARIABLE))
    for name, value in ((COMMAND_VARIABLE, on_alert), (KINDS_VARIABLE, alert_on)):
        if value is not None and not (is_recorded and environ.get(name)):
            environ[name] = value
    settings = alert_settings(environ)
    if alert_on is not None and settings is None:
        raise UsageError(
            f"--alert-on chooses what is told, and nobody is told: add --on-alert COMMAND or set ${WEBHOOK_VARIABLE}"
        )
    return settings
