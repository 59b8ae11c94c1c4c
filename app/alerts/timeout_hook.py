"""Builds the hook of a channel, and makes hooks safe to call that may hang, fail or lack a package. The only thread
here runs one ``send``."""

import threading
import time
from collections.abc import Mapping
from importlib import import_module

from app.alerts.hook import Alert, AlertHook, SessionHook
from app.core.errors import HookError, MaskwatchError
from app.core.secrets import scrub
from app.settings.alerts import Channel

ABORT_GRACE_S = 0.2
ABORT_EVERY_S = 0.02
_HOOKS = {
    "command": ("command_hook", "CommandHook"),
    "webhook": ("webhook_hook", "WebhookHook"),
    "mqtt": ("mqtt_hook", "MqttHook"),
    "apprise": ("apprise_hook", "AppriseHook"),
    "sound": ("sound_hook", "SoundHook"),
    "nats": ("nats_hook", "NatsHook"),
    "push": ("push_hook", "PushHook"),
    "plugin": ("plugin_hook", "load_plugin"),
}
"""By kind: the module in ``app/alerts/hooks``, and what makes the hook from its channel."""


def build_hook(channel: Channel) -> AlertHook:
    """Builds the hook of ``channel``. A hook's package is imported only when a channel needs it.

    Raises SettingsError if a secret cannot be read, HookError if a package or plugin is missing.
    """
    module, name = _HOOKS[channel.kind]
    hook: AlertHook = getattr(import_module(f"app.alerts.hooks.{module}"), name)(channel)
    return hook


class LazyHook:
    """Builds its hook when it is first needed, and retries after a failure. A missing package, secret or plugin thus
    delays only its own channel."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._hook: AlertHook | None = None

    def build(self) -> AlertHook:
        """Raises HookError, which names what is missing."""
        if self._hook is None:
            try:
                self._hook = build_hook(self._channel)
            except HookError:
                raise
            except MaskwatchError as error:
                raise HookError(str(error)) from error
            except Exception as error:  # third-party code: it also reads proxies and certificates of the environment
                what = f"channel {self._channel.name!r} cannot be set up"
                raise HookError(f"{what}: {type(error).__name__}: {scrub(str(error), ())}") from None
        return self._hook

    def send(self, alert: Alert) -> None:
        self.build().send(alert)

    def abort(self) -> None:
        if self._hook is not None:
            self._hook.abort()

    def refresh(self, cameras: Mapping[str, bool]) -> None:
        if isinstance(self._hook, SessionHook):
            self._hook.refresh(cameras)

    def close(self) -> None:
        if isinstance(self._hook, SessionHook):
            self._hook.close()


def send_now(channel: Channel, alert: Alert) -> str:
    """Sends one alert beside any delivery. Returns why it was not accepted, or ''."""
    try:
        TimeoutHook(LazyHook(channel), channel.timeout_s).send(alert)
    except HookError as error:
        return str(error)
    return ""


class _Attempt:
    """One ``send`` in its own thread, so that the caller can stop waiting for it."""

    def __init__(self, hook: AlertHook, alert: Alert) -> None:
        self.key = alert.idempotency_key
        self.wake = threading.Event()  # set when ``send`` has ended or the caller must stop waiting
        self.ended = False
        self.error: HookError | None = None
        self._hook, self._alert = hook, alert
        self.thread = threading.Thread(target=self._run, name=f"alert-send:{alert.channel}", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            self._hook.send(self._alert)
        except HookError as error:
            self.error = error
        except Exception as error:  # the hook loop: third-party code may raise anything
            self.error = HookError(f"{type(error).__name__}: {error}")
        finally:
            self.ended = True
            self.wake.set()


class TimeoutHook:
    """A hook with a time limit for each ``send``. If an attempt exceeds the limit and cannot be aborted, the next one
    waits for it instead of running in parallel; its late result counts."""

    def __init__(self, hook: AlertHook, timeout_s: float) -> None:
        self._hook = hook
        self._timeout_s = timeout_s
        self._attempt: _Attempt | None = None
        self._is_aborted = False

    @property
    def stuck(self) -> threading.Thread | None:
        """The thread of an attempt that still runs, or None."""
        attempt = self._attempt
        return attempt.thread if attempt is not None and attempt.thread.is_alive() else None

    def send(self, alert: Alert) -> None:
        """Raises only HookError."""
        if self._await_late_attempt(alert.idempotency_key):
            return
        attempt = self._attempt = _Attempt(self._hook, alert)
        if self._is_aborted:
            attempt.wake.set()
        attempt.wake.wait(self._timeout_s)
        in_time = attempt.ended
        if not in_time:
            self._abort_until_ended(attempt)
        if not attempt.ended:
            raise HookError(f"no answer within {self._timeout_s:g} s")
        self._attempt = None
        if attempt.error is not None:
            raise attempt.error if in_time else HookError(f"no answer within {self._timeout_s:g} s")

    def _abort_until_ended(self, attempt: _Attempt) -> None:
        """Aborts repeatedly: an abort has no effect before the hook has opened its connection or process."""
        end_s = time.monotonic() + ABORT_GRACE_S
        self._hook.abort()
        attempt.thread.join(ABORT_EVERY_S)
        while attempt.thread.is_alive() and time.monotonic() < end_s:
            self._hook.abort()
            attempt.thread.join(ABORT_EVERY_S)

    def _await_late_attempt(self, key: str) -> bool:
        """Waits for an attempt that exceeded its limit. Returns whether it delivered the alert ``key`` after all."""
        late = self._attempt
        if late is None:
            return False
        late.wake.wait(self._timeout_s)
        if not late.ended:
            raise HookError(
                f"an earlier attempt still hangs after {self._timeout_s:g} s; no other alert is sent until it ends"
            )
        self._attempt = None
        return late.key == key and late.error is None

    def refresh(self, cameras: Mapping[str, bool]) -> None:
        """Called every few seconds while the channel is idle; see ``SessionHook``."""
        if isinstance(self._hook, SessionHook):
            self._hook.refresh(cameras)

    def close(self) -> None:
        """Ends the session of a ``SessionHook``. Does not wait for an attempt that still runs."""
        if isinstance(self._hook, SessionHook):
            self._hook.close()

    def abort(self) -> None:
        """Ends a running attempt and makes later ones fail."""
        self._is_aborted = True
        self._hook.abort()
        attempt = self._attempt
        if attempt is not None:
            attempt.wake.set()
