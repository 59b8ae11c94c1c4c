"""Loads hooks of other Python packages by entry point."""

from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any

from app.alerts.hook import Alert, AlertHook
from app.core.errors import HookError
from app.settings.alerts import PluginChannel

GROUP = "maskwatch.alert_hooks"


class FunctionHook:
    """Calls a function with each alert. Any exception means that the alert is retried."""

    def __init__(self, function: Callable[[Alert], object]) -> None:
        self._function = function

    def send(self, alert: Alert) -> None:
        self._function(alert)

    def abort(self) -> None:
        """A function cannot be interrupted; the delivery stops waiting for it."""


def load_plugin(channel: PluginChannel) -> AlertHook:
    """Calls the entry point's factory with the channel's options; it returns an object with ``send`` or a function.

    Raises HookError if the plugin is not installed or its factory fails.
    """
    found = {point.name: point for point in entry_points(group=GROUP)}
    if channel.plugin not in found:
        names = ", ".join(sorted(found)) or "none"
        raise HookError(f"channel {channel.name!r}: no plugin {channel.plugin!r} in {GROUP} (installed: {names})")
    try:
        made: Any = found[channel.plugin].load()(**channel.options)
    except Exception as error:  # third-party code may raise anything; monitoring must go on
        raise HookError(f"channel {channel.name!r}: plugin {channel.plugin!r} failed to start: {error!r}") from error
    function = getattr(made, "send", made)
    if callable(function):
        return FunctionHook(function)
    raise HookError(
        f"channel {channel.name!r}: plugin {channel.plugin!r} returned {type(made).__name__}, which has no send"
    )
