"""Builds the hook of a channel. A hook's package is imported only when a channel needs it."""

from importlib import import_module

from app.alerts.hook import AlertHook
from app.settings.alerts import Channel

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
    """Builds the hook of ``channel``.

    Raises SettingsError if a secret cannot be read, HookError if a package or plugin is missing.
    """
    module, name = _HOOKS[channel.kind]
    hook: AlertHook = getattr(import_module(f"app.alerts.hooks.{module}"), name)(channel)
    return hook
