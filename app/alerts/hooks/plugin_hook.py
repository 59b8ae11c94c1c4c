"""Python hooks of other packages, found by entry point."""

from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any

from app.alerts.hook import Alert, AlertHook
from app.core.errors import HookError
from app.settings.alerts import PluginChannel

GROUP = "maskwatch.alert_hooks"


class FunctionHook:
    """A plain function as a hook: it is called with each alert, and whatever it raises means: try again."""

    def __init__(self, function: Callable[[Alert], object]) -> None:
        self._function = function

    def send(self, alert: Alert) -> None:
        self._function(alert)

    def abort(self) -> None:
        """A function cannot be ended from outside; the delivery goes on without it."""


def load_plugin(channel: PluginChannel) -> AlertHook:
    """Calls the entry point's factory with the channel's options; it returns an object with ``send`` or a function.

    Raises HookError where there is no such plugin or its factory fails.
    """
    found = {point.name: point for point in entry_points(group=GROUP)}
    if channel.plugin not in found:
        known = ", ".join(sorted(found)) or "none is installed"
        raise HookError(f"channel {channel.name!r}: no plugin {channel.plugin!r} in {GROUP} (known: {known})")
    try:
        made: Any = found[channel.plugin].load()(**channel.options)
    except Exception as error:  # foreign code: anything may come, and nothing may stop the watching
        raise HookError(f"channel {channel.name!r}: plugin {channel.plugin!r} failed to start: {error!r}") from error
    function = getattr(made, "send", made)
    if callable(function):
        return FunctionHook(function)
    raise HookError(
        f"channel {channel.name!r}: plugin {channel.plugin!r} gave {type(made).__name__}, which cannot send"
    )
