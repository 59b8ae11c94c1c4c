"""Builds the hook of a channel."""

from collections.abc import Callable
from typing import Any

from app.alerts.hook import AlertHook
from app.core.errors import HookError
from app.settings.alerts import (
    AppriseChannel,
    Channel,
    CommandChannel,
    MqttChannel,
    PluginChannel,
    SoundChannel,
    WebhookChannel,
)


def build_hook(channel: Channel) -> AlertHook:
    """Builds the hook of ``channel``.

    Raises SettingsError if a secret cannot be read, HookError if a package or plugin is missing.
    """
    make = _MAKERS.get(type(channel))
    if make is None:
        raise HookError(f"channel {channel.name!r}: no hook for kind {channel.kind!r}")
    return make(channel)


def _command(channel: CommandChannel) -> AlertHook:
    from app.alerts.hooks.command_hook import CommandHook

    return CommandHook(channel)


def _webhook(channel: WebhookChannel) -> AlertHook:
    from app.alerts.hooks.webhook_hook import WebhookHook

    return WebhookHook(channel)


def _mqtt(channel: MqttChannel) -> AlertHook:
    from app.alerts.hooks.mqtt_hook import MqttHook

    return MqttHook(channel)


def _apprise(channel: AppriseChannel) -> AlertHook:
    from app.alerts.hooks.apprise_hook import AppriseHook

    return AppriseHook(channel)


def _sound(channel: SoundChannel) -> AlertHook:
    from app.alerts.hooks.sound_hook import SoundHook

    return SoundHook(channel)


def _plugin(channel: PluginChannel) -> AlertHook:
    from app.alerts.hooks.plugin_hook import load_plugin

    return load_plugin(channel)


_MAKERS: dict[type, Callable[[Any], AlertHook]] = {
    CommandChannel: _command,
    WebhookChannel: _webhook,
    MqttChannel: _mqtt,
    AppriseChannel: _apprise,
    SoundChannel: _sound,
    PluginChannel: _plugin,
}
