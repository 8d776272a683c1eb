"""Settings of alerts in the environment: what is taken, what is refused, and that no error says a secret."""

from __future__ import annotations

import sys

import pytest
from alert_ends import SECRET

from ckptop.store.alert_settings import alert_settings
from ckptop.store.alerts import KINDS
from ckptop.store.errors import UsageError


def test_nobody_is_told_where_nothing_is_set() -> None:
    assert alert_settings({}) is None
    assert alert_settings({"CKPTOP_ALERT_COMMAND": " ", "CKPTOP_ALERT_WEBHOOK": ""}) is None
    assert alert_settings({"CKPTOP_ALERT_ON": "nan"}) is None


def test_a_command_is_words_and_no_shell() -> None:
    found = alert_settings({"CKPTOP_ALERT_COMMAND": f"{sys.executable} -c 'a b' $HOME;x"})

    assert found is not None
    assert found.command == (sys.executable, "-c", "a b", "$HOME;x")
    assert found.kinds == set(KINDS)
    assert found.interval_seconds == 60


def test_a_webhook_has_a_header_a_format_and_says_no_more_than_its_host() -> None:
    found = alert_settings(
        {
            "CKPTOP_ALERT_WEBHOOK": f"https://Hooks.example:8443/{SECRET}",
            "CKPTOP_ALERT_WEBHOOK_HEADER": f"Authorization: Bearer {SECRET}",
            "CKPTOP_ALERT_WEBHOOK_FORMAT": "text",
            "CKPTOP_ALERT_ON": "nan, crash",
            "CKPTOP_ALERT_INTERVAL": "0.5",
        }
    )

    assert found is not None
    assert found.webhook is not None
    assert found.webhook.header == ("Authorization", f"Bearer {SECRET}")
    assert (found.webhook.host, found.webhook.format) == ("hooks.example", "text")
    assert (found.kinds, found.interval_seconds) == (frozenset({"nan", "crash"}), 0.5)
    assert SECRET not in repr(found)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("CKPTOP_ALERT_COMMAND", "no-such-program-here --x", "'no-such-program-here' is not found"),
        ("CKPTOP_ALERT_COMMAND", "mail 'unclosed", "cannot be read: No closing quotation"),
        ("CKPTOP_ALERT_ON", "nan,krash", "'krash' is no kind of alert; did you mean crash?"),
        ("CKPTOP_ALERT_ON", "zzz", "There are: nan, failed, crash"),
        ("CKPTOP_ALERT_INTERVAL", "soon", "is no number of seconds"),
        ("CKPTOP_ALERT_INTERVAL", "-1", "is no number of seconds"),
        ("CKPTOP_ALERT_INTERVAL", "inf", "is no number of seconds"),
        ("CKPTOP_ALERT_WEBHOOK", f"ftp://host/{SECRET}", "begins with neither http:// nor https://"),
        ("CKPTOP_ALERT_WEBHOOK", f"file:///etc/{SECRET}", "begins with neither http:// nor https://"),
        ("CKPTOP_ALERT_WEBHOOK", SECRET, "begins with neither http:// nor https://"),
        ("CKPTOP_ALERT_WEBHOOK", f"https:///{SECRET}", "names no host"),
        ("CKPTOP_ALERT_WEBHOOK", f"https://host:{SECRET}/x", "is no address"),
        ("CKPTOP_ALERT_WEBHOOK", f"https://[{SECRET}/x", "is no address"),
        ("CKPTOP_ALERT_WEBHOOK", f"https://me:{SECRET}@host/x", "holds a user or password"),
        ("CKPTOP_ALERT_WEBHOOK", f"https://host/{SECRET} x", "holds a space or a character"),
        ("CKPTOP_ALERT_WEBHOOK", f"https://host/{SECRET}\r\nX: y", "holds a space or a character"),
        ("CKPTOP_ALERT_WEBHOOK_HEADER", f"Bearer {SECRET}", "is no header"),
        ("CKPTOP_ALERT_WEBHOOK_HEADER", f"A: {SECRET}\r\nB: c", "is no header"),
        ("CKPTOP_ALERT_WEBHOOK_FORMAT", "xml", "neither json nor text"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_a_line_without_a_secret(name: str, value: str, said: str) -> None:
    environ = {"CKPTOP_ALERT_WEBHOOK": f"https://host/{SECRET}", name: value}

    with pytest.raises(UsageError) as refused:
        alert_settings(environ)

    assert said in str(refused.value)
    assert SECRET not in str(refused.value)
    assert "\n" not in str(refused.value)
    assert refused.value.exit_code == 2
    assert refused.value.__suppress_context__ or refused.value.__context__ is None
