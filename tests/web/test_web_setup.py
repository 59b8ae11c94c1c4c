"""Setting up in the web view: settings change with the file, cameras start and end, channels are added."""

import asyncio
import json
import re
import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from fakes_monitor import LiveCamera
from fakes_onvif import OnvifCamera
from fakes_setup import FILE, Page, key_in, make_live_or_real, running
from fakes_video import FaultyServer, RtspServer, mjpeg_server, striped_image, wait_until, write_clip
from fakes_web import serving

from app.alerts.push_store import Device, PushStore
from app.capture.onvif import find_devices
from app.core.errors import SourceError
from app.core.types import EventKind
from app.settings.alerts import push_file
from app.settings.load import load_settings
from app.settings.monitor import CameraSettings
from app.settings.web import people_file
from app.web import setup
from app.web.people import People, Role


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    with running(tmp_path / "maskwatch.toml") as page:
        yield page


def test_a_change_is_written_and_used_at_once(page: Page) -> None:
    saved = page.save(("policy.dwell_s", 7.5), ("camera.yard.rotate", 180), ("detector.min_face_px", 50))
    assert saved["applied"] == ["policy.dwell_s", "camera.yard.rotate"]
    assert saved["needs_restart"] == ["detector.min_face_px"]
    assert "dwell_s = 7.5   # two seconds" in page.text
    assert "# The yard" in page.text
    assert page.session.monitor.sources[1].applied.rotate == 180  # type: ignore[attr-defined]
    assert "start" in page.get("/setup")
    undone = page.api("/settings/undo", {})
    assert undone["needs_restart"] == []
    assert page.text == FILE


def test_a_camera_is_added_changed_and_removed_without_a_restart(page: Page) -> None:
    door, yard = page.session.monitor.sources
    page.save(("camera.gate", {"uri": "rtsp://10.0.0.9/live"}))
    wait_until(lambda: page.names() == ["door", "yard", "gate"], "the new camera starts")
    wait_until(lambda: page.session.monitor.views()[2].frame is not None, "the new camera delivers images")
    assert page.session.monitor.sources[:2] == [door, yard], "the others go on"
    page.save(("camera.yard.uri", "rtsp://10.0.0.18/live"))
    wait_until(lambda: page.session.monitor.sources[1] is not yard, "the changed camera is started again")
    page.save(("camera.door", None))
    wait_until(lambda: page.names() == ["yard", "gate"], "the removed camera ends")
    assert page.client.get("/api/v1/cameras/3").status_code == 404
    page.save(("camera.gate", None))
    assert "the last camera" in page.save(("camera.yard", None), status=400)["error"]
    assert "# The door" in page.text
    assert "# The yard" in page.text


def test_a_new_address_that_fails_does_not_end_the_program(tmp_path: Path) -> None:
    cameras: list[LiveCamera] = []

    def make(settings: CameraSettings) -> LiveCamera:
        cameras.append(LiveCamera(settings.name))
        if "broken" in settings.uri:
            cameras[-1].offline.set()
        return cameras[-1]

    text = '[[camera]]\nname = "door"\nuri = "rtsp://10.0.0.7/live"\nreconnect_s = [0.05]\n'
    with running(tmp_path / "a.toml", text, make_source=make) as page:
        page.save(("camera.door.uri", "rtsp://broken/"))
        wait_until(lambda: "no route" in page.session.monitor.views()[0].status.last_error, "the camera fails")
        cameras[-1].offline.clear()
        wait_until(lambda: page.session.monitor.views()[0].frame is not None, "the camera is tried again")


def test_a_change_for_another_state_of_the_file_is_refused(page: Page) -> None:
    old = page.revision
    page.path.write_text(FILE + "\n[monitor]\noffline_after_s = 30\n")
    change = {"revision": old, "changes": [{"path": "policy.dwell_s", "value": 1}]}
    assert "changed in the meantime" in page.api("/settings", change, 409)["error"]
    assert "load the page again" in page.post("/setup/privacy/save", {"revision": old, "alerts.keep_days": "3"}, 409)
    assert page.text.endswith("offline_after_s = 30\n")


INVALID: list[tuple[str, Any, str]] = [
    ("policy.dwell_s", -1, "dwell_s"),
    ("policy.dwel_s", 1, "did you mean dwell_s"),
    ("alerts.channels.x", {"kind": "command", "argv": ["true"]}, "edit the file"),
    ("web.host", "0.0.0.0", "edit the file"),
    ("camera.door.uri", "/etc/passwd", "stays in the settings file"),
]


def test_an_invalid_change_changes_nothing_and_says_why(page: Page) -> None:
    for path, value, words in INVALID:
        error = page.save(("policy.cooldown_s", 9), (path, value), status=400)["error"]
        assert words in error
        assert "\n" not in error
    assert page.text == FILE


UNWRITABLE = [
    ("policy.alert_on", "[" * 400 + "]" * 400),
    ("alerts.channels.new", r'{"kind": "sound", "cameras": ["\ud800"]}'),
]


@pytest.mark.parametrize(("path", "value"), UNWRITABLE, ids=["too deep", "half a surrogate pair"])
def test_a_value_that_no_file_can_contain_is_refused(page: Page, path: str, value: str) -> None:
    body = f'{{"revision": "{page.revision}", "changes": [{{"path": "{path}", "value": {value}}}]}}'
    response = page.client.post("/api/v1/settings", content=body, headers={"X-CSRF-Token": page.csrf})
    assert (response.status_code, page.text) == (400, FILE), response.text


def test_secrets_are_neither_shown_nor_lost(page: Page) -> None:
    pages = [page.get(path) for path in ("/setup", "/setup/camera?name=door", "/api/v1/settings")]
    assert not any("s3cret" in text for text in pages)
    page.save(("camera.door.uri", "rtsp://10.0.0.7/other"))
    assert "rtsp://viewer:s3cret@10.0.0.7/other" in page.text, "the same host keeps its login"
    page.save(("camera.door.uri", "rtsp://10.0.0.66/other"))
    assert "s3cret" not in page.text, "another host does not get the login"


def test_flags_that_set_the_same_are_named(tmp_path: Path) -> None:
    flags = {"camera": [{"uri": "rtsp://10.0.0.7/a", "name": "flag"}], "policy": {"dwell_s": 1}}
    with running(tmp_path / "a.toml", "", flags) as page:
        for change in (("policy.dwell_s", 5), ("camera.gate", {"uri": "rtsp://10.0.0.9/live"})):
            assert "a flag or an environment variable" in page.save(change, status=400)["error"]
    assert (tmp_path / "a.toml").read_text() == ""


def test_without_a_settings_file_the_page_says_how_to_get_one(tmp_path: Path) -> None:
    with running(tmp_path / "a.toml") as page:
        page.session.web.site.setup.file = None  # type: ignore[union-attr]
        assert "--config FILE" in page.get("/setup")
        assert page.settings["file"] is None
        assert "--config FILE" in page.save(("policy.dwell_s", 5), status=409)["error"]


def test_the_first_change_makes_the_file(tmp_path: Path) -> None:
    path = tmp_path / "config" / "maskwatch.toml"
    with running(path, None) as page:
        wait_until(lambda: page.session.monitor.views()[0].frame is not None, "the first camera works")
        page.save(("policy.dwell_s", 5))
    assert path.read_text() == "[policy]\ndwell_s = 5\n"
    assert path.stat().st_mode & 0o77 == 0


@pytest.fixture
def camera() -> Iterator[str]:
    """The address of a camera with a picture."""
    with mjpeg_server([striped_image(i) for i in range(20)]) as server:
        yield f"http://127.0.0.1:{server.port}/video.mjpg"


def test_an_address_is_tried_and_added_by_forms(tmp_path: Path, camera: str) -> None:
    with running(tmp_path / "a.toml", make_source=make_live_or_real) as page:
        address = camera.replace("//", "//root:p%40ss@")
        text = page.post("/setup/cameras/try", {"uri": address})
        assert "p%40ss" not in text
        assert "p@ss" not in text
        assert "The camera works: 64 × 48 pixels" in text
        picture = page.client.get(f"/api/v1/setup/tried/{key_in(text)}/picture.jpg")
        assert picture.content[:2] == b"\xff\xd8"
        assert "The settings are saved." in page.post("/setup/cameras/add", {"key": key_in(text), "name": "Gate 1.2"})
        assert load_settings(page.path).camera[2].password.get_secret_value() == "p@ss"  # type: ignore[union-attr]
        wait_until(lambda: page.names()[2:] == ["Gate 1.2"], "the camera starts")
        wait_until(lambda: page.session.monitor.views()[2].frame is not None, "the camera delivers images")
        assert "Gate 1.2" in page.get("/")
        options = {"camera": "Gate 1.2", "name": "Gate", "rotate": "90", "flip": "none", "detector.min_face_px": "48"}
        page.post("/setup/cameras/save", options)
        added = load_settings(page.path).camera[2]
        assert (added.name, added.rotate, added.detector.min_face_px, added.uri) == ("Gate", 90, 48, camera)
        page.post("/setup/cameras/remove", {"remove": "Gate"})
        assert [each.name for each in load_settings(page.path).camera] == ["door", "yard"]
        assert "taken back" in page.post("/setup/undo", {})
        assert len(load_settings(page.path).camera) == 3


def test_cameras_of_three_servers_are_added_one_after_the_other(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", [striped_image(i) for i in range(50)])
    with ExitStack() as stack:
        servers = [stack.enter_context(RtspServer(tmp_path)) for _ in range(3)]
        page = stack.enter_context(running(tmp_path / "a.toml", make_source=make_live_or_real))

        def states() -> dict[str, str]:
            return {camera["name"]: camera["state"] for camera in page.client.get("/api/v1/cameras").json()["cameras"]}

        for number, server in enumerate(servers, 1):
            text = page.post("/setup/cameras/try", {"uri": server.url(clip.name)})
            page.post("/setup/cameras/add", {"key": key_in(text), "name": f"Hall {number}"})
        names = ["door", "yard", "Hall 1", "Hall 2", "Hall 3"]
        wait_until(lambda: states() == dict.fromkeys(names, "live"), "all cameras are live")
        kept = page.session.monitor.sources[4]
        page.post("/setup/cameras/remove", {"remove": "Hall 1"})
        page.post("/setup/cameras/save", {"camera": "Hall 2", "name": "Ward", "rotate": "90", "flip": "horizontal"})
        names = ["door", "yard", "Ward", "Hall 3"]
        wait_until(lambda: states() == dict.fromkeys(names, "live"), "the others are live")
        assert page.session.monitor.sources[3] is kept, "a camera that is not changed goes on"
        wait_until(lambda: page.session.monitor.views()[2].frame is not None, "it delivers images")
        assert page.session.monitor.views()[2].frame.image.shape == (64, 48, 3)  # type: ignore[union-attr]
        assert page.text.startswith(FILE.rstrip()), "the file keeps what a person wrote"
        added = [(each.name, each.uri, each.rotate) for each in load_settings(page.path).camera[2:]]
        assert added == [("Ward", servers[1].url(clip.name), 90), ("Hall 3", servers[2].url(clip.name), 0)]


def test_a_failing_address_shows_the_reason_and_is_not_saved(page: Page) -> None:
    text = page.post("/setup/cameras/try", {"uri": "http://root:p4ss@127.0.0.1:9/video"})
    assert "No picture:" in text
    assert "refuses connections" in text
    assert "p4ss" not in text
    assert "stays in the settings file" in page.post("/setup/cameras/try", {"uri": "/etc/passwd"}, 400)
    answer = page.api("/setup/try", {"uri": "http://127.0.0.1:9/video"})
    assert (answer["ok"], "refuses" in answer["reason"]) == (False, True)
    assert page.text == FILE


def test_an_address_that_never_answers_delays_neither_the_pages_nor_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setup, "TRY_S", 300.0)
    with FaultyServer() as server:
        with running(tmp_path / "a.toml") as page, suppress(httpx.TransportError):
            trying = threading.Thread(target=_try_in_vain, args=(page, f"http://127.0.0.1:{server.port}/"))
            trying.start()
            wait_until(lambda: server.connections > 0, "the address is opened")
            assert "Add a camera" in page.get("/setup")
            start_s = time.monotonic()
        trying.join()
        assert time.monotonic() - start_s < 60


def _try_in_vain(page: Page, uri: str) -> None:
    with suppress(httpx.TransportError), httpx.Client(base_url=page.client.base_url, timeout=60) as client:
        csrf = client.get("/api/v1/session").json()["csrf"]
        client.post("/api/v1/setup/try", json={"uri": uri}, headers={"X-CSRF-Token": csrf})


def test_a_blurred_view_shows_a_coarse_picture(tmp_path: Path, camera: str) -> None:
    with running(tmp_path / "a.toml", FILE + "\n[view]\nblur = true\n") as page:
        text = page.post("/setup/cameras/try", {"uri": camera})
        assert "The picture is coarse" in text


def test_a_query_of_a_network_camera_ends_with_the_server() -> None:
    async def ask(silent: socket.socket) -> None:
        asked = setup.Setup()
        query = asyncio.create_task(asked.profiles(f"http://127.0.0.1:{silent.getsockname()[1]}/", "", ""))
        await asyncio.get_running_loop().run_in_executor(None, select.select, [silent], [], [], 10)
        asked.close(wait=False)
        with pytest.raises(SourceError, match="the program ends"):
            await asyncio.wait_for(query, 3)

    with socket.create_server(("127.0.0.1", 0)) as silent:
        asyncio.run(ask(silent))


def test_network_cameras_are_found_and_their_streams_offered(page: Page) -> None:
    with OnvifCamera(profiles=3, password="s3cret") as device:
        page.session.web.site.setup.find_devices = partial(find_devices, 0.2, device.discovery)  # type: ignore[union-attr]
        text = page.post("/setup/cameras/search", {})
        assert "Fake camera" in text
        assert device.address in text
        login = {"address": device.address, "username": "admin"}
        assert "rejects the login" in page.post("/setup/cameras/profiles", {**login, "password": "wrong"}, 400)
        text = page.post("/setup/cameras/profiles", {**login, "password": "s3cret"})
        assert "s3cret" not in text
        assert text.index("1920 × 1080") < text.index("1280 × 720") < text.index("Recommended") + 200


def test_a_login_in_the_address_of_a_stream_is_not_shown(page: Page) -> None:
    uri = "rtsp://10.255.255.1:554/user=admin_password=hunter2_channel=1"
    with OnvifCamera(1, uris=[uri]) as device:
        text = page.post("/setup/cameras/profiles", {"address": device.address})
    assert ":554/user=***<" in text
    assert "hunter2" not in text


def test_the_main_stream_of_a_found_camera_is_offered_for_snapshots_and_clips(tmp_path: Path) -> None:
    """A recorder has several lenses: the main stream is that of the same one. Another port would get the login too."""
    clip = write_clip(tmp_path / "sub.mp4", [striped_image(i) for i in range(50)])
    with RtspServer(tmp_path) as server, running(tmp_path / "a.toml", make_source=make_live_or_real) as page:
        large, other = (f"rtsp://127.0.0.1:{port}/{name}" for port, name in ((server.port, "main"), (1, "other")))
        uris = [large, other, server.url(clip.name), other]
        with OnvifCamera(4, uris=uris, lenses=["a", "b", "a", "a"]) as device:
            text = page.post("/setup/cameras/profiles", {"address": device.address})
            rows = re.findall(r"<tr><th.*?</tr>", text.partition("<tbody>")[2], re.DOTALL)
            assert ["can be taken from the largest stream" in row for row in rows] == [False, False, True, False]
            text = page.post("/setup/cameras/try", {"key": key_in(rows[2])})
        fields = {"key": key_in(text), "name": "Entrance"}
        assert 'name="main" type="checkbox" checked' in text
        page.post("/setup/cameras/add", {**fields, "main": "on"})
        added = load_settings(page.path).camera[2]
        assert (added.uri, added.main_uri) == (server.url(clip.name), large)
        wait_until(lambda: page.names()[2:] == ["Entrance"], "the camera starts")
        wait_until(lambda: page.session.monitor.views()[2].frame is not None, "the sub-stream is analysed")
        assert large in page.get("/setup/camera?name=Entrance")
        edit = {"camera": "Entrance", "name": "Entrance", "main_uri": ""}
        assert "host and port of uri" in page.post("/setup/cameras/save", {**edit, "main_uri": other}, 400)
        page.post("/setup/cameras/save", edit)
        assert load_settings(page.path).camera[2].main_uri is None
        page.post("/setup/cameras/add", {**fields, "name": "Exit"})
        assert load_settings(page.path).camera[3].main_uri is None, "the box was not ticked"


def test_a_renamed_camera_stays_in_its_channels(page: Page) -> None:
    for name, cameras in (("desk", ["yard", "door"]), ("all", []), ("pattern", ["d*"])):
        page.save((f"alerts.channels.{name}", {"kind": "sound", "cameras": cameras}))
    page.post("/setup/cameras/save", {"camera": "door", "name": "Gate"})
    names = [list(channel.cameras) for channel in load_settings(page.path).alerts.channels]
    assert names == [["yard", "Gate"], [], ["d*"]]
    page.post("/setup/undo", {})
    assert load_settings(page.path).alerts.channels[0].cameras == ("yard", "door")


def test_users_and_their_devices_keep_a_renamed_camera(page: Page) -> None:
    """However it got its name: in the page, by undo or in the file."""
    people = page.session.web.site.people  # type: ignore[union-attr]
    people.add("boss", Role.ADMIN, None, "")
    people.add("vera", Role.VIEWER, frozenset(["door", "yard"]), "")
    devices = PushStore(push_file(page.path.with_name("events.db")))
    devices.save(Device("https://push.example/1", "", "", "vera", ("door", "yard")))
    settings = load_settings(page.path)

    def rename(index: int, new: str) -> None:
        cameras = list(settings.camera)
        cameras[index] = cameras[index].model_copy(update={"name": new})
        page.session.reload(settings.model_copy(update={"camera": tuple(cameras)}))

    def of_vera() -> frozenset[str] | None:
        return people.known("vera").cameras

    rename(0, "Gate")
    wait_until(lambda: devices.devices()[0].cameras == ("Gate", "yard"), "the device of the user follows")
    assert of_vera() == {"Gate", "yard"}
    rename(0, "door")
    wait_until(lambda: of_vera() == {"door", "yard"}, "the user follows")
    page.session.reload(settings.model_copy(update={"camera": settings.camera[1:]}))
    assert of_vera() == {"door", "yard"}, "a removed camera is not renamed"


def test_a_start_names_the_users_of_cameras_that_do_not_exist(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    people = People(people_file(tmp_path / "events.db"))
    people.add("boss", Role.ADMIN, None, "")
    people.add("vera", Role.VIEWER, frozenset(["door", "old gate"]), "")
    people.close()
    with caplog.at_level("WARNING"), serving(tmp_path, cameras=[{"uri": "rtsp://10.0.0.7/a", "name": "door"}]):
        assert "user vera may see cameras that the settings do not have: old gate;" in caplog.text


CHANNEL_FORMS: list[tuple[dict[str, str], dict[str, Any]]] = [
    ({"form": "webhook", "url": "http://127.0.0.1:9/x"}, {"kind": "webhook", "url": "http://127.0.0.1:9/x"}),
    ({"form": "ntfy", "topic": "a b"}, {"kind": "apprise", "url": "ntfys://ntfy.sh/a%20b"}),
    (
        {"form": "mail", "server": "m.example:587", "username": "u@x", "password": "p/w", "from": "a@x",
         "to": "b@x,c@x", "encrypt": "on"},
        {"kind": "apprise", "url": "mailtos://u%40x:p%2Fw@m.example:587/?from=a@x&to=b@x,c@x"},
    ),
    ({"form": "mqtt", "server": "127.0.0.1", "port": "1884"}, {"kind": "mqtt", "host": "127.0.0.1", "port": 1884}),
    ({"form": "push", "contact": "a@b.example"}, {"kind": "push", "contact": "mailto:a@b.example"}),
    ({"form": "sound", "cameras": "door, yard"}, {"kind": "sound", "cameras": ("door", "yard")}),
]  # fmt: skip


def test_a_refused_form_keeps_what_was_typed_but_the_password(page: Page) -> None:
    mail = {"form": "mail", "name": "desk", "server": "mail.example.org", "password": "p4ss", "from": "a@example.org"}
    text = page.post("/setup/channels/add", mail, 400)
    assert re.findall(r"<details open><summary>([^<]+)", text) == ["E-mail"]
    assert re.findall(r'id="mail-(\w+)" name="\w+" type="text" value="([^"]+)"', text) == [
        ("name", "desk"), ("server", "mail.example.org"), ("from", "a@example.org")
    ]  # fmt: skip
    assert 'id="ntfy-name" name="name" type="text" value="ntfy"' in text
    text += page.post("/setup/cameras/try", {"uri": "ftp://me:p4ss@10.0.0.7/", "username": "you"}, 400)
    assert 'value="you"' in text
    assert 'value="ftp://***@10.0.0.7/"' in text
    text = page.post("/setup/cameras/save", {"camera": "yard", "name": "lawn", "rotate": "90", "fps": "many"}, 400)
    assert 'value="lawn"' in text
    assert '<option value="90" selected>' in text
    assert "p4ss" not in text


def test_a_channel_is_added_and_removed_by_forms(page: Page) -> None:
    for fields, wanted in CHANNEL_FORMS:
        text = page.post("/setup/channels/add", {"name": "desk", **fields})
        channel = load_settings(page.path).alerts.channels[0].model_dump()
        assert {name: channel[name] for name in wanted} == wanted
        assert fields.get("password", "none") not in text
        assert [each.name for each in page.session.alerts.health().channels] == ["desk"]
        page.post("/setup/channels/remove", {"remove": "desk"})
        assert load_settings(page.path).alerts.channels == ()
        assert page.session.alerts.health().channels == ()


def test_a_channel_is_edited_by_a_form(page: Page) -> None:
    """Its secrets are not shown, an empty address keeps the old one, and what is not changed is not written."""
    url = "mailtos://u:s3cret@m.example/?from=a@x&to=b@x"
    page.save(("alerts.channels.mail", {"kind": "apprise", "url": url}))
    page.save(("alerts.channels.home", {"kind": "mqtt", "host": "127.0.0.1"}))
    text = page.get("/setup/channel?name=mail")
    assert "s3cret" not in text
    ticked = re.findall(r'name="(event\.\w+)" type="checkbox" checked', text)
    assert len(ticked) == len(EventKind) - 1
    fields = {"channel": "mail", **dict.fromkeys(ticked, "on"), "cameras": "", "schedule": "", "url": ""}
    before = page.text
    page.post("/setup/channels/save", fields)
    assert page.text == before
    fields |= {"cameras": "door, yard", "schedule": "mon,wed 08:00-18:00; sat 10:00-12:00"}
    assert "The settings are saved." in page.post("/setup/channels/save", {**fields, "event.no_mask": ""})
    mail, home = load_settings(page.path).alerts.channels
    assert (mail.url, mail.cameras) == (url, ("door", "yard"))  # type: ignore[union-attr]
    assert mail.schedule == ("mon,wed 08:00-18:00", "sat 10:00-12:00")
    assert EventKind.NO_MASK not in mail.events
    text = page.post("/setup/channels/save", {**fields, "schedule": "soon"}, 400)
    assert "is not an opening time" in text
    assert "<h2>mail</h2>" in text, "the error is shown beside the form"
    page.post("/setup/channels/save", {**fields, "url": "ntfys://ntfy.sh/topic"})
    assert load_settings(page.path).alerts.channels[0].url == "ntfys://ntfy.sh/topic"  # type: ignore[union-attr]
    broker = {**fields, "channel": "home", "host": "127.0.0.2", "port": "1884", "topic": "hall", "username": "me"}
    page.post("/setup/channels/save", broker)
    home = load_settings(page.path).alerts.channels[1]
    assert (home.host, home.port, home.topic, home.username) == ("127.0.0.2", 1884, "hall", "me")  # type: ignore[union-attr]


def test_a_channel_with_a_secret_or_a_program_keeps_its_address(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s3cret")
    text = f"""{FILE}
[[alerts.channels]]
kind = "webhook"
name = "signed"
url = "http://10.0.0.1/x"
secret_file = {json.dumps(str(tmp_path / "secret"))}
[[alerts.channels]]
kind = "command"
name = "lamp"
argv = ["true"]
"""
    with running(tmp_path / "a.toml", text) as page:
        shown = page.get("/setup/channel?name=signed")
        assert "stays in the settings file, because a secret" in shown
        assert 'name="url"' not in shown
        fields = {"channel": "signed", "cameras": "door", "event.no_mask": "on"}
        assert "edit the file" in page.post("/setup/channels/save", {**fields, "url": "http://10.0.0.6/"}, 400)
        page.post("/setup/channels/save", fields)
        assert load_settings(page.path).alerts.channels[0].cameras == ("door",)
        assert "/setup/channel?name=lamp" not in page.get("/setup/channels")
        assert "edit the file" in page.post("/setup/channels/save", {**fields, "channel": "lamp"}, 400)


def test_the_test_button_tells_what_failed(page: Page) -> None:
    page.post("/setup/channels/add", {"name": "desk", "form": "webhook", "url": "http://127.0.0.1:9/x"})
    text = page.post("/api/v1/alerts/test", {"back": "/setup/channels"})
    assert re.search(r'<li class="bad">Failed: desk: .*refuse', text), text


def test_privacy_is_changed_at_once(page: Page) -> None:
    text = page.get("/setup/privacy")
    assert 'id="view.blur"' in text
    fields = {"view.blur": "on", "alerts.snapshots": "blur_all", "clips.enabled": "on", "clips.faces": "blur_all"}
    fields |= {"alerts.keep_days": "5", "clips.keep_days": "2", "collect.keep_days": "30"}
    page.post("/setup/privacy/save", fields)
    settings = load_settings(page.path)
    assert (settings.view.blur, settings.alerts.snapshots, settings.alerts.keep_days) == (True, "blur_all", 5)
    assert page.session.web.site.streams.blur  # type: ignore[union-attr]
    assert page.session.evidence.clips is not None
    assert "is no number" in page.post("/setup/privacy/save", {**fields, "alerts.keep_days": "many"}, 400)
    page.post("/setup/privacy/save", {name: text for name, text in fields.items() if text != "on"})
    assert page.session.evidence.clips is None
    assert not page.session.web.site.streams.blur  # type: ignore[union-attr]


def fields_of(text: str) -> dict[str, str]:
    """What a browser sends if nothing is changed: no text that is no number from a field for numbers."""
    found = {}
    for attributes in re.findall(r"<input ([^>]*)>", text):
        field = dict(re.findall(r'(\w+)="([^"]*)"', attributes))
        is_number = field["type"] != "number" or re.fullmatch(r"[0-9.]*", field["value"])
        if field["type"] != "checkbox" or " checked" in attributes:
            found[field["name"]] = (field.get("value", "on") if is_number else "").replace("&#39;", "'")
    for name, options in re.findall(r'<select id="[^"]+" name="([^"]+)">(.*?)</select>', text):
        found[name] = re.findall(r'value="([^"]*)" selected', options)[0]
    return found


def test_a_form_that_is_sent_unchanged_changes_nothing(tmp_path: Path) -> None:
    text = (
        "[alerts]\nkeep_days = inf\n[clips]\nkeep_days = 0.123456789\n"
        '[[camera]]\nname = "hall, door"\nuri = "rtsp://10.0.0.7/live"\nfps = 12.3456789\n'
        '[[alerts.channels]]\nkind = "webhook"\nname = "desk"\nurl = "http://10.0.0.8/"\n'
        'cameras = ["hall, door"]\nschedule = ["mon-fri 08:00-18:00", "sat 09:00-12:00"]\n'
    )
    places = {
        "/setup/privacy": "/setup/privacy/save",
        "/setup/channel?name=desk": "/setup/channels/save",
        "/setup/camera?name=hall%2C%20door": "/setup/cameras/save",
    }
    with running(tmp_path / "maskwatch.toml", text) as page:
        for path, action in places.items():
            form = page.get(path).partition(f'action="{action}"')[2].partition("</form>")[0]
            page.post(action, fields_of(form))
        assert page.text == text
        assert "stored for ∞ days" in page.get("/health")


def test_every_page_has_labels_for_its_fields(page: Page) -> None:
    for path in ("/setup", "/setup/camera?name=door", "/setup/channels", "/setup/privacy"):
        text = page.get(path)
        shown = re.findall(r'<(?:input|select)(?![^>]*type="hidden")[^>]*\bid="([^"]+)"', text)
        assert len(shown) == len(set(shown)) > 0 or "channels" in path
        assert all(f'for="{each}"' in text for each in shown)
