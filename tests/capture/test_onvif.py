"""ONVIF cameras: found on the network, asked for their streams; answers that are wrong, huge or malicious."""

import select
import socket
import time
from collections.abc import Callable

import pytest
from fakes_onvif import ENVELOPE, OnvifCamera

from app.capture.onvif import OnvifDevice, find_devices, parse_xml, read_profiles
from app.core.errors import SourceError

BOMB = (
    b"""<?xml version="1.0"?><!DOCTYPE b [<!ENTITY a "aaaaaaaaaa"><!ENTITY c "&a;&a;&a;&a;&a;&a;&a;&a;">]><b>&c;</b>"""
)
FILE = b"""<?xml version="1.0"?><!DOCTYPE b [<!ENTITY a SYSTEM "file:///etc/passwd">]><b>&a;</b>"""


def test_a_camera_is_found_at_its_own_address_only() -> None:
    with OnvifCamera() as camera:
        assert find_devices(0.2, camera.discovery) == [OnvifDevice(camera.address, "Fake camera")]
    with OnvifCamera(xaddr="http://10.0.0.1/onvif http://[bad/onvif") as other:
        assert find_devices(0.2, other.discovery) == []


def test_nothing_is_found_in_time_where_nobody_answers() -> None:
    start_s = time.monotonic()
    assert find_devices(0.1, ("127.0.0.1", 9)) == []
    assert time.monotonic() - start_s < 5


@pytest.mark.parametrize("answer", [b"", b"\xff\xfe", b"<a>", BOMB, FILE, b"x" * 60_000])
def test_a_wrong_announcement_is_ignored(answer: bytes) -> None:
    with OnvifCamera(answers={"Probe": answer}) as camera:
        assert find_devices(0.1, camera.discovery) == []


@pytest.mark.parametrize("count", [0, 1, 3])
def test_streams_are_listed_with_the_largest_first(count: int) -> None:
    with OnvifCamera(count, "p&ss<") as camera:
        found = read_profiles(camera.address, "admin", "p&ss<")
    sizes = [(1920, 1080), (1280, 720), (640, 360)][:count]
    assert [(each.width_px, each.height_px) for each in found] == sizes
    assert [each.uri for each in found] == [f"rtsp://127.0.0.1:{554 + i}/stream{i + 1}" for i in range(count)]
    assert all((each.encoding, each.fps) == ("H264", 25) for each in found)


@pytest.mark.parametrize("login", [("admin", "wrong"), ("other", "right"), ("", "")])
def test_a_wrong_login_is_told(login: tuple[str, str]) -> None:
    with OnvifCamera(password="right") as camera, pytest.raises(SourceError, match="rejects the login"):
        read_profiles(camera.address, *login)


def _soap(body: str) -> bytes:
    return ENVELOPE.format(body).encode()


@pytest.mark.parametrize("request_name", ["GetSystemDateAndTime", "GetCapabilities", "GetProfiles", "GetStreamUri"])
@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"<a><b></a>", "not valid XML"),
        (b"", "not valid XML"),
        (BOMB, "document type"),
        (FILE, "document type"),
        (BOMB.decode().encode("utf-16"), "document type"),
        (b"<a>" + b"x" * 400_000 + b"</a>", "too much"),
    ],
)
def test_a_malformed_huge_or_malicious_answer_is_refused(request_name: str, answer: bytes, words: str) -> None:
    with OnvifCamera(answers={request_name: answer}) as camera, pytest.raises(SourceError, match=words) as caught:
        read_profiles(camera.address, "admin", "p")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("uri", ["file:///etc/passwd", "", "http://[", "concat:x", "/etc/passwd"])
def test_a_stream_that_is_no_address_is_refused(uri: str) -> None:
    with OnvifCamera(answers={"GetStreamUri": _soap(f"<R><Uri>{uri}</Uri></R>")}) as camera:
        with pytest.raises(SourceError, match="an address that is none"):
            read_profiles(camera.address, "", "")
        assert camera.asked[-1] == "GetStreamUri"


def test_numbers_that_are_none_are_zero() -> None:
    size = "<Width>nan</Width><Height>-3</Height>"
    profile = f'<Profiles token="a&quot;b"><VideoEncoderConfiguration>{size}</VideoEncoderConfiguration></Profiles>'
    answers = {"GetProfiles": _soap(f"<R>{profile}</R>"), "GetStreamUri": _soap("<R><Uri>rtsp://h/1</Uri></R>")}
    with OnvifCamera(answers=answers) as camera:
        found = read_profiles(camera.address, "", "")
    assert [(each.width_px, each.height_px, each.uri) for each in found] == [(0, 0, "rtsp://127.0.0.1/1")]


@pytest.mark.parametrize(
    "make",
    [
        lambda: "http://127.0.0.1:9/onvif",
        lambda: "http://no-such-host.invalid/",
        lambda: "http://[",
        lambda: "http://127.0.0.1:99999/",
    ],
)
def test_an_address_without_a_camera_gives_the_reason(make: Callable[[], str]) -> None:
    with pytest.raises(SourceError):
        read_profiles(make(), "", "")


def is_readable(server: socket.socket) -> bool:
    """Whether somebody has connected."""
    return bool(select.select([server], [], [], 0)[0])


def test_a_query_ends_soon_after_the_program_is_stopped() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        started_s = time.monotonic()
        with pytest.raises(SourceError, match="the program ends"):
            read_profiles(f"http://127.0.0.1:{silent.getsockname()[1]}/", "", "", lambda: is_readable(silent))
        assert time.monotonic() - started_s < 3, "a request may take 4 s, all of them 15 s"


def test_deep_trees_do_no_harm() -> None:
    deep = b"<a>" * 50_000 + b"</a>" * 50_000
    assert parse_xml(deep).tag == "a"
