"""What a hub may set at a node, and what it never can."""

from pathlib import Path

import pytest

from app.core.errors import SettingsError
from app.settings.monitor import CameraSettings, MonitorSettings, PolicySettings
from app.settings.pushed import NOT_ALLOWED, PushedCamera, PushedSettings, read_pushed, with_pushed
from app.settings.root import Settings
from app.settings.vision import TrackingSettings

DOOR = CameraSettings.model_validate({"uri": "demo", "name": "door", "policy": {"min_face_px": 50}})


def test_what_is_given_replaces_the_settings_of_the_node_and_nothing_else() -> None:
    local = Settings(camera=(DOOR,), policy=PolicySettings(dwell_s=3, cooldown_s=7))
    text = """
        policy = {dwell_s = 9}
        monitor = {max_restarts = 5}
        [[camera]]
        name = "door"
        policy = {grace_s = 2}
        tracking = {recheck_s = 2}
        [[camera]]
        name = "of another node"
    """
    settings = with_pushed(local, read_pushed(text))
    (camera,) = settings.camera
    policy = camera.policy_over(settings.policy)
    assert (policy.dwell_s, policy.cooldown_s, policy.min_face_px, policy.grace_s) == (9, 7, 50, 2)
    assert (camera.tracking.recheck_s, settings.monitor.max_restarts) == (2, 5)
    assert with_pushed(local, PushedSettings()) == local
    kept = {"camera", "policy", "monitor"}
    assert settings.model_dump(exclude=kept) == local.model_dump(exclude=kept)


@pytest.mark.parametrize(
    "text",
    [
        'alerts.channels = [{kind = "command", name = "x", argv = ["reboot"]}]',
        'alerts.channels = [{kind = "plugin", name = "x", plugin = "evil"}]',
        'alerts.store = "/etc/passwd"',
        'classifier.model = "/tmp/model.tflite"',
        'detector.model = "/tmp/model.tflite"',
        'clips.folder = "/tmp"',
        "view.blur = false",
        'web.host = "0.0.0.0"',
        'fleet.hub = "tls://other:7422"',
        "fleet.accept_models = true",
        'policy.command = "reboot"',
        *(f'[[camera]]\nname = "door"\n{line}' for line in ('uri = "x"', "blackout = []", 'detector.model = "x"')),
    ],
)
def test_commands_plugins_paths_addresses_and_models_are_refused(text: str) -> None:
    with pytest.raises(SettingsError, match=NOT_ALLOWED):
        read_pushed(text)


def test_no_setting_that_a_hub_may_send_can_hold_a_path_or_a_command() -> None:
    """Also none that somebody adds to these tables later."""
    for model in (PushedSettings, PushedCamera, PolicySettings, TrackingSettings, MonitorSettings):
        for name, field in model.model_fields.items():
            assert Path.__name__ not in str(field.annotation), name
            assert not any(
                word in name for word in ("file", "path", "argv", "command", "plugin", "model", "url", "uri")
            )


@pytest.mark.parametrize(
    ("text", "reason"), [("policy.dwell_s = -1", "policy.dwell_s: "), ("nonsense", "not valid TOML")]
)
def test_the_place_and_reason_of_an_error_are_named(text: str, reason: str) -> None:
    with pytest.raises(SettingsError, match=reason):
        read_pushed(text)


def test_a_text_that_is_too_deep_is_refused() -> None:
    with pytest.raises(SettingsError, match="not valid TOML"):
        read_pushed("x = " + "[" * 20_000)
