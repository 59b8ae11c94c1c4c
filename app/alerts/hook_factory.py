"""Builds the hook of a channel. A hook's package is imported only when a channel needs it."""

from app.alerts.hook import AlertHook
from app.core.errors import HookError
from app.settings.alerts import (
    AppriseChannel,
    Channel,
    CommandChannel,
    MqttChannel,
    NatsChannel,
    PluginChannel,
    PushChannel,
    SoundChannel,
    WebhookChannel,
)


def build_hook(channel: Channel) -> AlertHook:
    """Builds the hook of ``channel``.

    Raises SettingsError if a secret cannot be read, HookError if a package or plugin is missing.
    """
    match channel:
        case CommandChannel():
            from app.alerts.hooks.command_hook import CommandHook

            return CommandHook(channel)
        case WebhookChannel():
            from app.alerts.hooks.webhook_hook import WebhookHook

            return WebhookHook(channel)
        case MqttChannel():
            from app.alerts.hooks.mqtt_hook import MqttHook

            return MqttHook(channel)
        case AppriseChannel():
            from app.alerts.hooks.apprise_hook import AppriseHook

            return AppriseHook(channel)
        case SoundChannel():
            from app.alerts.hooks.sound_hook import SoundHook

            return SoundHook(channel)
        case NatsChannel():
            from app.alerts.hooks.nats_hook import NatsHook

            return NatsHook(channel)
        case PushChannel():
            from app.alerts.hooks.push_hook import PushHook

            return PushHook(channel)
        case PluginChannel():
            from app.alerts.hooks.plugin_hook import load_plugin

            return load_plugin(channel)
    raise HookError(f"channel {channel.name!r}: no hook for kind {channel.kind!r}")
