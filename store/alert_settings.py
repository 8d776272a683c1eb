"""Who is told of alerts, by the environment alone: it is inherited by whatever starts a trainer, and is in no file.

The address of a webhook is itself the secret. Nothing here, and no error, ever says more of it than its host.
"""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from ckptop.store.errors import UsageError

COMMAND_VARIABLE = "CKPTOP_ALERT_COMMAND"
KINDS_VARIABLE = "CKPTOP_ALERT_ON"
WEBHOOK_VARIABLE = "CKPTOP_ALERT_WEBHOOK"
HEADER_VARIABLE = "CKPTOP_ALERT_WEBHOOK_HEADER"
FORMAT_VARIABLE = "CKPTOP_ALERT_WEBHOOK_FORMAT"
INTERVAL_VARIABLE = "CKPTOP_ALERT_INTERVAL"
VARIABLES = frozenset(
    {COMMAND_VARIABLE, KINDS_VARIABLE, WEBHOOK_VARIABLE, HEADER_VARIABLE, FORMAT_VARIABLE, INTERVAL_VARIABLE}
)

INTERVAL_SECONDS = 60.0
"""Of one kind and run no more than one alert is told in this time."""

Format = Literal["json", "text"]


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where alerts are posted to."""

    address: str = field(repr=False)
    header: tuple[str, str] | None = field(repr=False, default=None)
    """Sent along, such as `Authorization` and a token."""
    format: Format = "json"

    @property
    def host(self) -> str:
        """All that may be said of the address."""
        return urlsplit(self.address).hostname or ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertSettings:
    """Whom to tell of what."""

    command: tuple[str, ...] = ()
    """Started for each alert, without a shell; empty for none."""
    webhook: Webhook | None = None
    kinds: frozenset[str]
    interval_seconds: float = INTERVAL_SECONDS


def alert_settings(environ: Mapping[str, str] = os.environ) -> AlertSettings | None:
    """What the environment asks for; None where nobody is to be told.

    Raises:
        UsageError: A variable holds what it cannot mean; the message quotes no address and no header.
    """
    if not any(environ.get(name) for name in VARIABLES):
        return None
    command, address = environ.get(COMMAND_VARIABLE, ""), environ.get(WEBHOOK_VARIABLE, "")
    kinds, interval = _kinds(environ.get(KINDS_VARIABLE, "")), _interval(environ.get(INTERVAL_VARIABLE, ""))
    if not command.strip() and not address.strip():
        return None
    return AlertSettings(
        command=_command(command) if command.strip() else (),
        webhook=_webhook(address.strip(), environ) if address.strip() else None,
        kinds=kinds,
        interval_seconds=interval,
    )


def _command(text: str) -> tuple[str, ...]:
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UsageError(f"the alert command ({COMMAND_VARIABLE}) cannot be read: {error}") from None
    found = shutil.which(words[0]) if words else None
    if found is None:
        raise UsageError(
            f"the alert command {words[0] if words else text!r} is not found or not executable; it is started without "
            "a shell: name a program and its arguments"
        )
    return (str(Path(found).absolute()), *words[1:])


def _kinds(text: str) -> frozenset[str]:
    from ckptop.store.alerts import KINDS

    wanted = [word.strip() for word in text.split(",") if word.strip()]
    for word in wanted:
        if word not in KINDS:
            import difflib

            near = difflib.get_close_matches(word, KINDS, 1, 0.4)
            hint = f"did you mean {near[0]}? " if near else ""
            raise UsageError(f"{word!r} is no kind of alert; {hint}There are: {', '.join(KINDS)}")
    return frozenset(wanted or KINDS)


def _interval(text: str) -> float:
    if not text.strip():
        return INTERVAL_SECONDS
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise UsageError(f"{INTERVAL_VARIABLE}={text!r} is no number of seconds; write it like 60")
    return seconds


def _webhook(address: str, environ: Mapping[str, str]) -> Webhook:
    problem = _problem_of(address)
    if problem is not None:
        raise UsageError(f"{WEBHOOK_VARIABLE} {problem}; write it like https://host/path")
    chosen = environ.get(FORMAT_VARIABLE, "").strip() or "json"
    if chosen not in ("json", "text"):
        raise UsageError(f"{FORMAT_VARIABLE}={chosen!r} is neither json nor text")
    return Webhook(address, _header(environ.get(HEADER_VARIABLE, "")), "text" if chosen == "text" else "json")


def _problem_of(address: str) -> str | None:
    if not address.isascii() or not address.isprintable() or " " in address:
        return "holds a space or a character that no address has"
    try:
        parts = urlsplit(address)
        _ = parts.port  # raises where it is no number
    except ValueError:
        return "is no address"
    if parts.scheme not in ("http", "https"):
        return "begins with neither http:// nor https://"
    if not parts.hostname:
        return "names no host"
    if parts.username is not None or parts.password is not None:
        return f"holds a user or password: put them into {HEADER_VARIABLE}"
    return None


def _header(text: str) -> tuple[str, str] | None:
    if not text.strip():
        return None
    name, colon, value = text.partition(":")
    name, value = name.strip(), value.strip()
    if not colon or not value or not (text.isascii() and text.isprintable()) or not name.replace("-", "").isalnum():
        raise UsageError(f"{HEADER_VARIABLE} is no header; write it like 'Authorization: Bearer TOKEN'")
    return name, value
