"""Changes of the settings file by the web view: what is allowed, how it is written, and the way back."""

import os
import stat
import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import BaseModel

from app.core.errors import SettingsError
from app.settings.alerts import AppriseChannel, CommandChannel, NatsChannel, PluginChannel, WebhookChannel
from app.settings.change import MAX_VERSIONS, Change, ConflictError, SettingsFile, changed_text, editable, revision_of
from app.settings.error_messages import models_in
from app.settings.load import load_settings
from app.settings.root import Settings

FILE = """\
# Our settings
[policy]   # when a face alerts
dwell_s = 2.0   # two seconds

# The door
[[camera]]
name = "door"
uri = "rtsp://viewer:${DOOR_PASSWORD}@10.0.0.7:554/live"   # by the entrance
[camera.policy]
cooldown_s = 9

# The yard
[[camera]]
uri = "rtsp://10.0.0.8/live"
username = "viewer"
password = "s3cret"

# Channels
[[alerts.channels]]
name = "desk"
kind = "command"
argv = ["notify", "{camera}"]

# The next one
[[alerts.channels]]
name = "hook"
kind = "webhook"
url = "https://desk.example/hook"
secret_env = "HOOK_SECRET"
"""


def test_two_changes_at_the_same_time_are_not_mixed(tmp_path: Path) -> None:
    """A user saves while another one turns a camera: the later change sees the first one, and is refused."""
    path = tmp_path / "settings.toml"
    path.write_text("[policy]\ndwell_s = 2.0\n")
    is_loading, goes_on = threading.Event(), threading.Event()

    def load(text: str) -> Settings:
        if "3.0" in text:
            is_loading.set()
            goes_on.wait(60)
        return load_settings(path, {}, text=text)

    file, outcomes = SettingsFile(path, load), list[str]()
    revision = revision_of(file.read())

    def change(dwell_s: float) -> None:
        try:
            file.change(revision, [Change("policy.dwell_s", dwell_s)])
            outcomes.append(f"{dwell_s}")
        except ConflictError:
            outcomes.append(f"{dwell_s} refused")

    first, second = (threading.Thread(target=change, args=(dwell_s,)) for dwell_s in (3.0, 4.0))
    first.start()
    assert is_loading.wait(60)
    second.start()
    second.join(0.3)  # it waits for the first
    goes_on.set()
    first.join(60)
    second.join(60)
    assert outcomes == ["3.0", "4.0 refused"]
    assert path.read_text() == "[policy]\ndwell_s = 3.0\n"


@pytest.fixture(autouse=True)
def door_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOOR_PASSWORD", "p")


def change(path: str, value: Any, text: str = FILE) -> str:
    return changed_text(text, [Change(path, value)])


def settings_file(path: Path, text: str | None = FILE) -> SettingsFile:
    if text is not None:
        path.write_text(text)
    return SettingsFile(path, lambda text: load_settings(path, text=text))


@pytest.mark.parametrize(
    ("path", "value", "line"),
    [
        ("policy.dwell_s", 3.5, "dwell_s = 3.5   # two seconds"),
        ("camera.door.policy.cooldown_s", 1, "cooldown_s = 1"),
        ("camera.10.0.0.8.rotate", 180, "rotate = 180"),
        ("camera.door.policy.regions", [[[0, 0], [1, 0], [1, 1]]], "regions = [[[0, 0], [1, 0], [1, 1]]]"),
        ("camera.10.0.0.8.detector.region", [0, 0, 1, 0.5], "region = [0, 0, 1, 0.5]"),
        ("view.sentences.idle", "Hello", 'idle = "Hello"'),
        ("alerts.channels.hook.cameras", ["door"], 'cameras = ["door"]'),
        (
            "camera.door.uri",
            "rtsp://10.0.0.7:554/sub",
            'uri = "rtsp://viewer:${DOOR_PASSWORD}@10.0.0.7:554/sub"   # by',
        ),
    ],
)
def test_a_setting_is_changed_and_all_else_stays(path: str, value: Any, line: str) -> None:
    text = change(path, value)
    assert any(each.startswith(line) for each in text.splitlines()), text
    before = [each for each in FILE.splitlines() if each and each.split(" =")[0] != line.split(" =")[0]]
    assert [each for each in text.splitlines() if each in before] == before
    load_settings(None, text=text)


def test_a_camera_is_added_whatever_its_name_contains() -> None:
    for name in ("10.0.0.9", "door.2", "Gate 'a' \"b\"", "ÄÖ", "x" * 80):
        text = change(f"camera.{name}", {"uri": "rtsp://10.0.0.9/", "detector": {"min_face_px": 40}})
        assert [each.name for each in load_settings(None, text=text).camera] == ["door", "10.0.0.8", name]
        assert load_settings(None, text=change(f"camera.{name}.rotate", 90, text)).camera[2].rotate == 90
        assert change(f"camera.{name}", None, text).rstrip() == FILE.rstrip()


@pytest.mark.parametrize(
    ("path", "kept"),
    [
        ("camera.door", ["# The yard", "# The door"]),
        ("camera.10.0.0.8", ["# Channels", "# The yard"]),
        ("alerts.channels.hook", ["# The next one"]),
    ],
)
def test_what_is_removed_takes_no_comment_of_others_with_it(path: str, kept: list[str]) -> None:
    text = change(path, None)
    assert all(line in text for line in kept)
    assert tomllib.loads(text) != tomllib.loads(FILE)


def test_cameras_in_one_line_are_changed_too() -> None:
    text = "camera = [{uri = '0'}, {uri = '1'}]  # two\n"
    text = change("camera.Camera 1.rotate", 90, text)
    text = change("camera.gate", {"uri": "rtsp://10.0.0.9/"}, text)
    text = change("camera.Camera 2", None, text)
    assert tomllib.loads(text)["camera"] == [
        {"uri": "0", "rotate": 90}, {"name": "gate", "uri": "rtsp://10.0.0.9/"}
    ]  # fmt: skip
    assert "# two" in text


def test_a_login_never_goes_to_another_host() -> None:
    for path, uri in (
        ("camera.door.uri", "rtsp://10.0.0.77:554/live"),
        ("camera.10.0.0.8.uri", "http://10.0.0.8/live"),
    ):
        camera = next(each for each in tomllib.loads(change(path, uri))["camera"] if each["uri"] == uri)
        assert not {"username", "password"} & camera.keys()
    with_login = [Change("camera.10.0.0.8.uri", "rtsp://10.0.0.9/"), Change("camera.10.0.0.9.username", "new")]
    camera = tomllib.loads(changed_text(FILE, with_login))["camera"][1]
    assert camera == {"uri": "rtsp://10.0.0.9/", "username": "new"}


def test_a_main_stream_is_on_the_host_that_gets_the_login() -> None:
    text = change("camera.10.0.0.8.main_uri", "rtsp://10.0.0.8/main")
    assert tomllib.loads(text)["camera"][1]["main_uri"] == "rtsp://10.0.0.8/main"
    for uri in ("rtsp://10.0.0.9/main", "rtsp://10.0.0.8:99/", "rtsp://10.0.0.8@10.0.0.9/", "rtmp://10.0.0.8/", "/x"):
        with pytest.raises(SettingsError, match="give an address with the scheme, host and port of uri"):
            change("camera.10.0.0.8.main_uri", uri)
        with pytest.raises(SettingsError, match="give an address with the scheme, host and port of uri"):
            change("camera.new", {"uri": "rtsp://10.0.0.8/live", "main_uri": uri})
    moved = tomllib.loads(change("camera.10.0.0.8.uri", "rtsp://10.0.0.9/live", text))["camera"][1]
    assert "main_uri" not in moved, "clips would show the old camera, which would get the new login"
    kept = tomllib.loads(change("camera.10.0.0.8.uri", "rtsp://new:pw@10.0.0.8/other", text))["camera"][1]
    assert kept == {"uri": "rtsp://new:pw@10.0.0.8/other", "main_uri": "rtsp://10.0.0.8/main"}
    assert "main_uri" not in change("camera.10.0.0.8.main_uri", None, text)


def paths(model: type[BaseModel], before: str = "") -> Iterator[tuple[str, Any]]:
    """Every setting with its type; '*' stands for a name."""
    for name, field in model.model_fields.items():
        star = "*." if f"{before}{name}" in ("camera", "alerts.channels") else ""
        for inner in models_in(field.annotation):
            yield from paths(inner, f"{before}{name}.{star}")
        yield f"{before}{name}", field.annotation


def opens_a_file(annotation: Any) -> bool:
    return annotation is Path or any(map(opens_a_file, get_args(annotation)))


REFUSED = sorted(
    {path for path, annotation in paths(Settings) if opens_a_file(annotation)}
    | {
        path
        for path, _ in paths(Settings)
        if path.endswith(("_env", "_file", ".backend", ".allow_private", ".argv", ".plugin", ".options"))
    }
    | {path for path, _ in paths(Settings) if path.split(".")[0] in ("web", "fleet", "classifier")}
)


def test_the_list_of_what_is_refused_is_complete() -> None:
    """The settings that were dangerous when this was written: a mistake of the search above would be seen."""
    known = {
        "alerts.store", "alerts.channels.*.argv", "alerts.channels.*.plugin", "alerts.channels.*.options",
        "alerts.channels.*.file", "alerts.channels.*.url_file", "alerts.channels.*.url_env",
        "alerts.channels.*.ca_file",
        "alerts.channels.*.headers_env", "alerts.channels.*.secret_env", "alerts.channels.*.secret_file",
        "alerts.channels.*.password_env", "alerts.channels.*.password_file", "alerts.channels.*.creds_file",
        "camera.*.tls_ca_file", "camera.*.detector.model", "camera.*.backend", "camera.*.detector.backend",
        "detector.model", "detector.backend", "classifier.model", "classifier.backend", "clips.folder",
        "collect.folder",
        "view.snapshots", "web.token_file", "web.token_env", "web.tls_cert", "web.tls_key", "web.scan", "web.host",
        "web.allowed_hosts", "fleet.hub", "fleet.creds_file", "fleet.accept_models",
    }  # fmt: skip
    assert known <= set(REFUSED)
    assert not set(editable()) & set(REFUSED)
    assert {"policy.dwell_s", "camera.*.uri", "alerts.channels.*.url", "camera.*.policy.regions"} <= set(editable())


@pytest.mark.parametrize("path", REFUSED)
@pytest.mark.parametrize("value", ["/bin/sh", ["/bin/sh"], {"a": "b"}, None, 1])
def test_what_runs_programs_or_opens_files_cannot_be_changed(path: str, value: Any) -> None:
    channels = path.startswith("alerts.channels")
    for name in ("desk", "hook") if channels else ("door",):
        with pytest.raises(SettingsError):
            change(path.replace("*", name), value)
    section, _, setting = path.partition("*.")
    if setting and value is not None:
        table: Any = value
        for part in reversed(setting.split(".")):
            table = {part: table}
        kinds = ("webhook", "mqtt", "apprise", "sound", "nats", "command", "plugin")
        news = [{"kind": kind, **table} for kind in kinds] if channels else [{"uri": "0", **table}]
        for new in news:
            with pytest.raises(SettingsError):
                change(f"{section}new", new)


@pytest.mark.parametrize(
    "path", ["camera", "alerts.channels", "alerts", "detector", "camera.door.detector", "", ".", "camera."]
)
@pytest.mark.parametrize("value", [None, {}, [], {"model": "/x"}, [{"uri": "/x"}], ""])
def test_whole_tables_are_not_replaced(path: str, value: Any) -> None:
    with pytest.raises(SettingsError):
        change(path, value)


@pytest.mark.parametrize("kind", [CommandChannel, PluginChannel, NatsChannel])
def test_channels_of_programs_are_neither_added_nor_changed_nor_removed(kind: Any) -> None:
    name = get_args(kind.model_fields["kind"].annotation)[0]
    text = FILE.replace('"command"', f'"{name}"')
    for path, value in (("desk", None), ("desk.cameras", ["door"]), ("desk.kind", "webhook"), ("new", {"kind": name})):
        with pytest.raises(SettingsError, match="edit the file"):
            change(f"alerts.channels.{path}", value, text)


@pytest.mark.parametrize("field", ["url", "kind", "name", "secret_env"])
def test_a_channel_with_a_secret_keeps_its_address(field: str) -> None:
    with pytest.raises(SettingsError, match="edit the file"):
        change(f"alerts.channels.hook.{field}", "https://evil.example/")


def test_the_headers_of_a_channel_are_not_sent_to_another_address() -> None:
    text = FILE.replace('secret_env = "HOOK_SECRET"', 'headers = { Authorization = "Bearer geheim" }')
    with pytest.raises(SettingsError, match="edit the file"):
        change("alerts.channels.hook.url", "https://other.example/", text)
    without = change("alerts.channels.hook.headers", None, text)
    assert "geheim" not in without
    assert "other.example" in change("alerts.channels.hook.url", "https://other.example/", without)


@pytest.mark.parametrize(
    "uri",
    ["/etc/passwd", "file:///etc/passwd", "/dev/video0", "demo", "~/a.mp4", "a.mp4", "videos", "udp://:5000", "100",
     "rtsp://${HOME}/", "concat:a|b", "rtsp://h/ a", "pipe:0", "", None, ["0"], True, -1, "\\\\host\\share", "x.sdp"],
)  # fmt: skip
def test_a_camera_is_an_address_and_no_file(uri: Any) -> None:
    for path, value in (("camera.door.uri", uri), ("camera.new", {"uri": uri})):
        with pytest.raises(SettingsError):
            change(path, value)


@pytest.mark.parametrize(
    "url",
    ["dbus://", "windows://", "syslog://", "exec://x", "json://h/?+X=y", "slack://a/b/c?template=/etc/passwd",
     "mailto://u:p@h?pgpkey=/x", "fcm://p@k/?keyfile=/x", "ntfys://h/t?attach=/etc/passwd", "ntfys://h/t?to=a&attach=/x",
     "ntfys://h/t?to=a;attach=/x", "ntfys://h/t#x", "ntfys://h/t ntfys://h/u", "ntfys://h/${HOME}", "file:///x", ""],
)  # fmt: skip
def test_an_apprise_address_names_no_program_and_no_file(url: str) -> None:
    with pytest.raises(SettingsError):
        change("alerts.channels.new", {"kind": "apprise", "url": url})


def test_hidden_values_and_environment_variables_are_not_written() -> None:
    for path, value in (
        ("camera.door.username", "${AWS_SECRET}"), ("camera.door.password", "***"),
        ("alerts.channels.new", {"kind": "webhook", "url": "http://h/", "headers": {"x": "${AWS_SECRET}"}}),
    ):  # fmt: skip
        with pytest.raises(SettingsError):
            change(path, value)


def test_the_file_keeps_its_mode_and_each_change_can_be_undone(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    file = settings_file(path)
    path.chmod(0o640)
    texts = []
    for i in range(MAX_VERSIONS + 2):
        texts.append(path.read_text())
        file.change(revision_of(file.read()), [Change("policy.dwell_s", i + 10)])
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert stat.S_IMODE((tmp_path / "a.toml.undo").stat().st_mode) == 0o640
    for text in reversed(texts[2:]):
        assert file.can_undo
        file.undo(revision_of(file.read()))
        assert path.read_text() == text
    assert not file.can_undo
    with pytest.raises(SettingsError, match="no change"):
        file.undo(revision_of(file.read()))


def test_an_edit_by_hand_is_neither_overwritten_nor_undone(tmp_path: Path) -> None:
    file = settings_file(tmp_path / "a.toml")
    old = revision_of(file.read())
    file.change(old, [Change("policy.dwell_s", 3)])
    edited = file.path.read_text() + "# by hand\n"
    file.path.write_text(edited)
    with pytest.raises(ConflictError):
        file.change(old, [Change("policy.dwell_s", 4)])
    with pytest.raises(SettingsError, match="edited after it"):
        file.undo(revision_of(file.read()))
    (tmp_path / "a.toml.undo").write_text('[{"revision": 3}, 4]')
    assert not file.can_undo
    assert file.path.read_text() == edited


def test_a_flag_for_all_cameras_does_not_prevent_a_new_one(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text(FILE)
    file = SettingsFile(path, lambda text: load_settings(path, each_camera={"fps": 5}, text=text))
    change = Change("camera.gate", {"uri": "rtsp://10.0.0.9/live"})
    assert file.change(revision_of(FILE), [change]).camera[2].fps == 5
    with pytest.raises(SettingsError, match="a flag"):
        file.change(revision_of(file.read()), [Change("camera.gate.fps", 9)])


def test_a_push_channel_is_added_to_a_run_with_an_event_file_of_its_own(tmp_path: Path) -> None:
    """The file of its devices belongs to the event file, which a flag sets."""
    path = tmp_path / "a.toml"
    path.write_text(FILE)
    file = SettingsFile(path, lambda text: load_settings(path, {"alerts": {"store": tmp_path / "e.db"}}, text=text))
    change = Change("alerts.channels.phones", {"kind": "push", "contact": "mailto:anna@example.org"})
    assert file.change(revision_of(FILE), [change]).alerts.channels[-1].name == "phones"


def test_an_error_of_the_settings_changes_nothing_and_names_the_place(tmp_path: Path) -> None:
    file = settings_file(tmp_path / "a.toml")
    changes = [Change("policy.cooldown_s", 1), Change("camera.door.rotate", 45)]
    with pytest.raises(SettingsError, match=r"camera\[0\].rotate \(line \d+\)") as caught:
        file.change(revision_of(FILE), changes)
    assert "\n" not in str(caught.value)
    assert file.path.read_text() == FILE
    assert not list(tmp_path.glob(".*"))


@pytest.mark.skipif(not hasattr(os, "chown"), reason="files have no such modes here")
def test_a_read_only_file_is_refused_politely(tmp_path: Path) -> None:
    file = settings_file(tmp_path / "a.toml")
    file.path.chmod(0o444)
    with pytest.raises(SettingsError, match="is read-only; check the permissions"):
        file.change(revision_of(FILE), [Change("policy.dwell_s", 3)])
    folder = SettingsFile(tmp_path, lambda _: Settings())
    assert "read-only" in folder.fault


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may give files to others")
def test_the_file_keeps_its_owner(tmp_path: Path) -> None:
    file = settings_file(tmp_path / "a.toml")
    os.chown(file.path, 65534, 65533)
    file.change(revision_of(FILE), [Change("policy.dwell_s", 3)])
    owned = [(path.stat().st_uid, path.stat().st_gid) for path in tmp_path.iterdir()]
    assert owned == [(65534, 65533)] * 2


def test_a_link_stays_a_link_and_line_ends_stay(tmp_path: Path) -> None:
    target = tmp_path / "real.toml"
    target.write_bytes(b"# one\r\n[policy]\r\ndwell_s = 2.0\r\n")
    link = tmp_path / "a.toml"
    link.symlink_to(target)
    file = settings_file(link, None)
    file.change(revision_of(file.read()), [Change("policy.dwell_s", 3)])
    assert link.is_symlink()
    assert target.read_bytes() == b"# one\r\n[policy]\r\ndwell_s = 3\r\n"


names = st.sampled_from(
    ["camera", "door", "10.0.0.8", "alerts", "channels", "hook", "policy", "uri", "dwell_s", "x\n", "", "0"]
)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 300) | st.floats(allow_nan=False) | st.text(max_size=8)
    | st.sampled_from(["rtsp://h/", "ntfys://h/t", "webhook", "apprise", "\ud800", "\x00"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(names | st.sampled_from(["kind", "url"]), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@given(st.lists(names, max_size=5).map(".".join), values)
@hypothesis_settings(max_examples=30, suppress_health_check=list(HealthCheck))
def test_any_change_gives_a_valid_file_or_one_line(tmp_path: Path, path: str, value: Any) -> None:
    file = settings_file(tmp_path / "a.toml")
    fault = ""
    try:
        file.change(revision_of(FILE), [Change(path, value)])
    except SettingsError as error:
        fault = str(error)
    assert "\n" not in fault
    assert not fault or file.path.read_text() == FILE
    load_settings(file.path)
    assert all(line in file.path.read_text() for line in FILE.splitlines() if line.startswith("#"))


def test_every_editable_setting_is_a_setting() -> None:
    assert set(editable()) <= {path for path, _ in paths(Settings)}
    assert get_origin(WebhookChannel.model_fields["headers"].annotation) is dict
    assert not AppriseChannel.only_in_file
