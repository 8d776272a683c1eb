"""The two ways an alert leaves: a command that is started, a webhook that is called. Each is given up after seconds.

What went wrong is said in words of ours: an error of urllib or of http.client may quote the address.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from ckptop.store.alert_settings import Webhook
from ckptop.store.alerts import Alert
from ckptop.store.lines import to_json

if TYPE_CHECKING:
    from urllib.request import OpenerDirector

COMMAND_SECONDS = 30.0
"""A mail server may take its time."""
WEBHOOK_SECONDS = 4.0

_LONGEST_TEXT = 1900
"""Discord takes 2,000 characters."""
_MORE_NAMES = ("KIND", "RUN", "STORE", "HOST", "MESSAGE", "NEXT", "STEP", "TIME", "MISSED", "TEXT")


class NotDelivered(Exception):
    """An alert did not arrive; the message says why and holds no secret."""

    may_pass: bool
    """Whether another try may go better."""

    def __init__(self, message: str, *, may_pass: bool = False) -> None:
        super().__init__(message)
        self.may_pass = may_pass


def run_command(command: Sequence[str], alert: Alert, seconds: float | None = None) -> None:
    """Start a command, the alert as JSON on its stdin and in `CKPTOP_ALERT_…`, and wait for its end.

    What it prints goes nowhere. It is killed, with whatever it started, when its time is up.

    Raises:
        NotDelivered: It could not be started, failed, or took too long.
    """
    name = os.path.basename(command[0])  # noqa: PTH119 - a word of a command line
    seconds = COMMAND_SECONDS if seconds is None else seconds
    fields = alert.fields()
    told = {f"CKPTOP_ALERT_{key}": str(value) for key in _MORE_NAMES if (value := fields[key.lower()]) is not None}
    try:
        child = subprocess.Popen(
            command, env=os.environ | told, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        raise NotDelivered(f"{name} could not be started: {error.strerror}") from None
    try:
        child.communicate(_json(fields) + b"\n", timeout=seconds)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(OSError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        raise NotDelivered(f"{name} did not end within {seconds:g} s and was killed") from None
    if child.returncode != 0:
        raise NotDelivered(f"{name} ended with exit code {child.returncode}")


def post(webhook: Webhook, alert: Alert, seconds: float | None = None) -> None:
    """Post an alert; any answer of 200 to 299 will do. A redirect is not followed: the header must reach one host only.

    Raises:
        NotDelivered: It was refused, or there was no answer in time.
    """
    import http.client
    import urllib.error
    import urllib.request

    seconds = WEBHOOK_SECONDS if seconds is None else seconds
    body, headers = _letter(webhook, alert)
    request = urllib.request.Request(  # noqa: S310 - the settings allow http and https alone
        webhook.address, data=body, headers=headers, method="POST"
    )
    try:
        _opener().open(request, timeout=seconds).close()
    except urllib.error.HTTPError as error:
        error.close()
        raise NotDelivered(f"{webhook.host} answered {error.code}", may_pass=error.code >= 500) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise NotDelivered(f"{webhook.host} {_reason(error, seconds)}", may_pass=True) from None


def _reason(error: Exception, seconds: float) -> str:
    """Why there was no answer, without what the error quotes."""
    import ssl

    cause = getattr(error, "reason", error)
    if isinstance(cause, TimeoutError):
        return f"did not answer within {seconds:g} s"
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"has a certificate that is not trusted: {cause.verify_message}"
    if isinstance(cause, OSError) and cause.errno and cause.strerror:
        return f"could not be reached: {cause.strerror}"
    return f"could not be reached: {type(cause).__name__}"


def _letter(webhook: Webhook, alert: Alert) -> tuple[bytes, dict[str, str]]:
    own = dict([webhook.header]) if webhook.header is not None else {}
    agent = {"User-Agent": "ckptop"}
    if webhook.format == "text":
        return alert.text.encode(), {**agent, "Content-Type": "text/plain; charset=utf-8", **own}
    text = alert.text if len(alert.text) <= _LONGEST_TEXT else alert.text[:_LONGEST_TEXT] + "…"
    # Slack and Mattermost show `text`, Discord `content`; nobody's error message may call a whole channel.
    fields = {**alert.fields(), "text": text, "content": text, "allowed_mentions": {"parse": []}}
    return _json(fields), {**agent, "Content-Type": "application/json", **own}


def _json(fields: dict[str, Any]) -> bytes:
    return msgspec.json.encode(to_json(fields))


def _opener() -> OpenerDirector:
    """What `build_opener` makes, without redirects, files and FTP; proxies of the environment are used."""
    import urllib.request as of

    opener = of.OpenerDirector()
    for handler in (of.ProxyHandler(), of.HTTPHandler(), of.HTTPSHandler(), of.HTTPDefaultErrorHandler(),
                    of.HTTPErrorProcessor()):  # fmt: skip
        opener.add_handler(handler)
    return opener


Channel = Callable[[Alert], None]
"""Delivers an alert or raises NotDelivered."""
