"""A hook for all services that Apprise supports: mail, chat, push."""

import logging
import re
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from app.alerts.hook import ENDS, Alert, require
from app.alerts.report import report_html
from app.core.errors import HookError, SettingsError
from app.core.secrets import HIDDEN, read_secret, redact_url, scrub, url_secrets
from app.core.types import EventKind
from app.settings.alerts import AppriseChannel

MAX_ERROR_CHARS = 300


_WITH_HOST = frozenset(
    f"{name}{end}" for name in ("form", "gotify", "json", "mailto", "matrix", "mqtt", "xml") for end in ("", "s")
)
"""The services whose URL has a host first; that of others begins with a token."""
_SMTP_REPLY = re.compile(r"\((\d{3}), b['\"](.*?)['\"]\)")
"""The answer of a mail server in an exception of smtplib, which Apprise only logs for debugging."""


class _LogCollector(logging.Filter):
    """Collects the warnings that the current thread logs, and why a mail server refused. No log gets these records."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []
        self._thread = threading.get_ident()

    def filter(self, record: logging.LogRecord) -> bool:
        if record.thread != self._thread:
            return True
        if record.levelno >= logging.WARNING:
            self.messages.append(record.getMessage())
        elif reply := _SMTP_REPLY.search(record.getMessage()):  # all else may contain secrets
            self.messages.append(f"The server answered {reply[1]}: {reply[2]}.")
        return False


@contextmanager
def _collect_log() -> Iterator[_LogCollector]:
    """Collects what Apprise logs and keeps it out of our log, because it may contain the URL."""
    logger = logging.getLogger("apprise")
    logger.propagate = False
    logger.setLevel(logging.DEBUG)
    collector = _LogCollector()
    logger.addFilter(collector)
    try:
        yield collector
    finally:
        logger.removeFilter(collector)


class AppriseHook:
    """Sends to one Apprise URL. Our errors contain the messages of Apprise without the secrets of the URL."""

    def __init__(self, channel: AppriseChannel) -> None:
        """Raises HookError if Apprise is not installed, SettingsError if it does not support the URL."""
        what = f"channel {channel.name!r}"
        require("apprise", "apprise", what, "alerts")
        import apprise

        url = read_secret(f"{what} url", channel.url, channel.url_env, channel.url_file) or ""
        scheme, _, rest = url.partition("://")
        self._hidden = url_secrets(what, url)
        if scheme.lower() in _WITH_HOST:
            self._redacted_url = redact_url(url)
        else:
            self._redacted_url = f"{scheme[:20]}://{HIDDEN}" if rest else HIDDEN
            self._hidden += [piece for piece in re.split("[/?#@:]", rest) if len(piece) >= 4]
        with _collect_log():
            # Not the Apprise object: it sends from a thread pool, which the interpreter joins at exit, so a hanging
            # service would block our shutdown.
            self._service: Any = apprise.Apprise.instantiate(url)
        if self._service is None:
            raise SettingsError(
                f"{what}: Apprise does not know {self._redacted_url}; see its list of services for the URL format"
            )

    def send(self, alert: Alert) -> None:
        import apprise

        is_resolved = alert.event.kind in ENDS
        kind = apprise.NotifyType.SUCCESS if is_resolved else apprise.NotifyType.WARNING
        is_report = alert.event.kind is EventKind.REPORT
        if alert.is_test or is_report:
            kind = apprise.NotifyType.INFO
        with ExitStack() as stack:
            attach: Any = None
            if alert.snapshot_jpeg is not None:
                folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="maskwatch-"))
                snapshot = Path(folder, "snapshot.jpg")
                snapshot.write_bytes(alert.snapshot_jpeg)
                attach = apprise.AppriseAttachment(str(snapshot))
            collector = stack.enter_context(_collect_log())
            body = f"{alert.text}\n\nkey: {alert.idempotency_key}"
            more: dict[str, str] = {}
            if is_report and self._sends_html_mail():
                body, more = report_html(alert.event.reason), {"body_format": "html"}
            sent = self._service.notify(title=alert.title, body=body, notify_type=kind, attach=attach, **more)
        if not sent:
            reason = scrub(" ".join(collector.messages), self._hidden)[-MAX_ERROR_CHARS:]
            raise HookError(f"{self._redacted_url} did not accept the alert{f': {reason}' if reason else ''}")

    def _sends_html_mail(self) -> bool:
        """Whether the service is mail; Apprise adds a part of plain text."""
        formats = self._service.notify_format  # one or, in later versions of Apprise, several
        is_mail: bool = self._service.protocol == "mailto"
        return is_mail and "html" in ((formats,) if isinstance(formats, str) else formats)

    def abort(self) -> None:
        """Apprise cannot be interrupted; its own time limits end the send later."""
