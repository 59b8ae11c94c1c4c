"""Everything that Apprise speaks (mail, chat, push) as a hook."""

import logging
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from app.alerts.hook import Alert
from app.core.errors import HookError, SettingsError
from app.core.secrets import read_secret, redact_url, scrub, url_secrets
from app.core.types import EventKind
from app.settings.alerts import AppriseChannel

MAX_ERROR_CHARS = 300


class _Told(logging.Handler):
    """Keeps what is logged in the thread that made it."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []
        self._thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self._thread:
            self.messages.append(record.getMessage())


@contextmanager
def _listening() -> Iterator[_Told]:
    """What Apprise logs meanwhile. It goes nowhere else: it may hold the URL."""
    logger = logging.getLogger("apprise")
    logger.propagate = False
    logger.setLevel(logging.WARNING)
    told = _Told()
    logger.addHandler(told)
    try:
        yield told
    finally:
        logger.removeHandler(told)


class AppriseHook:
    """One Apprise URL. Apprise's own words go into our error, without the secrets of the URL."""

    def __init__(self, channel: AppriseChannel) -> None:
        """Raises HookError where Apprise is not installed, SettingsError where it does not know the URL."""
        try:
            import apprise
        except ImportError as error:
            raise HookError(
                f"channel {channel.name!r} needs the package apprise; install it: pip install 'maskwatch[alerts]'"
            ) from error
        what = f"channel {channel.name!r}"
        url = read_secret(f"{what} url", channel.url, channel.url_env, channel.url_file) or ""
        self._where = redact_url(url)
        self._hidden = url_secrets(what, url)
        with _listening():
            # The service itself, not the Apprise object around it: that one sends from a pool of threads which the
            # interpreter waits for at its end, so a service that hangs would hold up our shutdown.
            self._service: Any = apprise.Apprise.instantiate(url)
        if self._service is None:
            raise SettingsError(f"{what}: Apprise does not know {self._where}; see its list of services for the form")

    def send(self, alert: Alert) -> None:
        import apprise

        good = alert.event.kind in (EventKind.RESOLVED, EventKind.CAMERA_RECOVERED)
        kind = apprise.NotifyType.SUCCESS if good else apprise.NotifyType.WARNING
        if alert.is_test:
            kind = apprise.NotifyType.INFO
        with ExitStack() as stack:
            attach: Any = None
            if alert.snapshot_jpeg is not None:
                folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="maskwatch-"))
                picture = Path(folder, "snapshot.jpg")
                picture.write_bytes(alert.snapshot_jpeg)
                attach = apprise.AppriseAttachment(str(picture))
            told = stack.enter_context(_listening())
            body = f"{alert.text}\n\nkey: {alert.idempotency_key}"
            sent = self._service.notify(title=alert.title, body=body, notify_type=kind, attach=attach)
        if not sent:
            words = scrub(" ".join(told.messages), self._hidden)[-MAX_ERROR_CHARS:]
            raise HookError(f"{self._where} did not take it{f': {words}' if words else ''}")

    def abort(self) -> None:
        """Apprise cannot be interrupted; its own time limits end a send that was left behind."""
