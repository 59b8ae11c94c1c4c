"""Source settings: valid uris, and that credentials do not leak."""

from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from app.core.secrets import redact
from app.settings.load import load_settings
from app.settings.source import SourceSettings
from app.settings.source_uri import SourceKind, named_source

SECRET = st.text(st.characters(codec="ascii", categories=("L", "N", "P", "S")), min_size=6, max_size=12).filter(
    lambda text: text not in "rtsp://camera.example:554/live***"
)


@pytest.mark.parametrize(
    ("uri", "kind", "name"),
    [
        ("0", SourceKind.CAMERA, "Camera 1"),
        (1, SourceKind.CAMERA, "Camera 2"),
        ("/dev/video2", SourceKind.CAMERA, "Camera 3"),
        ("20240131", SourceKind.FILE, "20240131"),
        ("rtsp://10.0.0.7:8554/live/door?x=1", SourceKind.STREAM, "10.0.0.7"),
        ("RTSPS://door.example/", SourceKind.STREAM, "door.example"),
        ("https://door.example/cam.mjpg?user=me&password=s3cret", SourceKind.STREAM, "door.example"),
        ("clips/a b.mp4", SourceKind.FILE, "a b"),
        ("file:///tmp/a%20b.mp4", SourceKind.FILE, "a b"),
        ("photo.JPG", SourceKind.IMAGES, "photo"),
        ("demo", SourceKind.DEMO, "demo"),
        (" demo ", SourceKind.DEMO, "demo"),
        ("x" * 5000, SourceKind.FILE, "x" * 80),
        ("photo.AVIF", SourceKind.IMAGES, "photo"),
        ("photo.jfif", SourceKind.IMAGES, "photo"),
        ("photo.heic", SourceKind.IMAGES, "photo"),
        ("clip.gif", SourceKind.FILE, "clip"),
        ("list.m3u8", SourceKind.FILE, "list"),
        ("door.SDP", SourceKind.STREAM, "door"),
        ("udp://@:5000", SourceKind.STREAM, "udp-5000"),
        ("rtp://:5004", SourceKind.STREAM, "rtp-5004"),
        ("udp://@239.0.0.1:1234", SourceKind.STREAM, "239.0.0.1"),
    ],
)
def test_kind_and_name(uri: object, kind: SourceKind, name: str) -> None:
    settings = SourceSettings.model_validate({"uri": uri})
    assert (settings.kind, settings.name) == (kind, name)
    assert settings.is_live == (kind in (SourceKind.CAMERA, SourceKind.STREAM))


@pytest.mark.parametrize(
    ("uri", "address"),
    [
        ("10.0.0.7", "rtsp://10.0.0.7"),
        ("10.0.0.7:554/live?channel=1", "rtsp://10.0.0.7:554/live?channel=1"),
        ("admin:s3cret@10.0.0.7/live?password=s3cret", "rtsp://USER:PASSWORD@10.0.0.7/live?password=***"),
        ("[::1]:8554/x", "rtsp://[::1]:8554/x"),
        ("door.local", "rtsp://door.local"),
        ("cam.example.com/stream", "rtsp://cam.example.com/stream"),
        ("recorder:8080/video", "rtsp://recorder:8080/video"),
        ("rtsp:/10.0.0.7/x", "rtsp://10.0.0.7/x"),
        ("http//10.0.0.7/x", "http://10.0.0.7/x"),
        ("rtsp:admin:s3cret@10.0.0.7/x", "rtsp://USER:PASSWORD@10.0.0.7/x"),
    ],
)
def test_an_address_without_a_scheme_is_answered_with_the_address_to_write(uri: str, address: str) -> None:
    with pytest.raises(ValidationError) as caught:
        SourceSettings(uri=uri)
    assert f"is no file; for a network camera write {address}\n" in f"{caught.value.errors()[0]['msg']}\n"
    assert "s3cret" not in str(caught.value)


def test_a_file_with_the_name_of_an_address_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "10.0.0.7").touch()
    assert SourceSettings(uri="10.0.0.7").kind is SourceKind.FILE
    for path in ("door.mp4", "a.b.mp4", "clips/door.mp4", "party@home.mp4", r"C:\clips\door.mp4", "12.5 fps.mkv"):
        assert SourceSettings(uri=path).kind is SourceKind.FILE, "a missing file is reported when it is opened"


@pytest.mark.parametrize(
    ("text", "name", "uri"),
    [
        ("door=rtsp://cam/live?a=1", "door", "rtsp://cam/live?a=1"),
        ("Front door = 0", "Front door", "0"),
        ("Вход=/dev/video1", "Вход", "/dev/video1"),
        ("try=demo", "try", "demo"),
        ("rtsp://cam/live?channel=1", "", "rtsp://cam/live?channel=1"),
        ("udp://@:5000?fifo_size=1", "", "udp://@:5000?fifo_size=1"),
        ("user:p=w@10.0.0.7/live", "", "user:p=w@10.0.0.7/live"),
        ("./a=b.mp4", "", "./a=b.mp4"),
        (r"C:\a=b.mp4", "", r"C:\a=b.mp4"),
        ("here=b.mp4", "", "here=b.mp4"),
        ("=0", "", "=0"),
        ("door=", "", "door="),
    ],
)
def test_a_source_can_be_named(text: str, name: str, uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here=b.mp4").touch()
    found = named_source(text)
    assert (found.get("name", ""), found["uri"].strip()) == (name, uri)


def test_default_names_are_unique() -> None:
    uris = ["0", "/dev/video0", "rtsp://u:s3cret@10.0.0.7/ch1", "rtsp://10.0.0.7/ch2", "a/door.mp4", "b/door.mp4"]
    names = [camera.name for camera in load_settings(flags={"camera": [{"uri": uri} for uri in uris]}).camera]
    assert names == ["Camera 1", "Camera 1-2", "10.0.0.7", "10.0.0.7-2", "door", "door-2"]


def test_a_folder_of_digits_is_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "20240131").mkdir()
    monkeypatch.chdir(tmp_path)
    assert SourceSettings(uri="20240131").kind is SourceKind.IMAGES


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("", "is empty"),
        ("  ", "is empty"),
        ("a\nb", "control character"),
        ("a\x00b", "control character"),
        ("a\u2028b", "control character"),
        ("caf\udce9.mp4", "is not UTF-8; rename it"),
        ("ftp://host/x", "unknown scheme ftp"),
        ("rtsp://", "has no host"),
        ("rtsp:///x", "has no host"),
        ("rtsp://@:554/x", "has no host"),
        ("udp://@", "has no host"),
        ("rtsp://host:port/x", "no valid host and port"),
        ("rtsp://host:99999/x", "no valid host and port"),
        ("rtsp://[::1/x", "no valid host and port"),
        ("rtsp://host/a b", "contains a space"),
        ("~no-such-user-here/a.mp4", "no such home"),
        ("rtsp://${MASKWATCH_TEST_UNSET}@host/", "MASKWATCH_TEST_UNSET is not set"),
    ],
)
def test_an_invalid_uri_is_rejected_with_the_reason(uri: str, reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        SourceSettings(uri=uri)


def test_a_line_break_in_a_variable_is_no_part_of_a_login(monkeypatch: pytest.MonkeyPatch) -> None:
    """As at the end of a file that it was read from; a camera would lock the account after some attempts."""
    monkeypatch.setenv("DOOR_PASSWORD", "secret\n")
    for values in (
        {"uri": "rtsp://me:${DOOR_PASSWORD}@host/"},
        {"uri": "rtsp://host/", "password": "${DOOR_PASSWORD}"},
    ):
        with pytest.raises(ValidationError, match="contains a line break; remove it"):
            SourceSettings(**values)


@pytest.mark.parametrize("character", ["\u202f", "\u00a0", "\u3000", "\u200c"])
def test_file_names_may_contain_unicode_spaces_and_joiners(character: str) -> None:
    assert SourceSettings(uri=f"at 3.15{character}PM.mov").name == f"at 3.15{character}PM"
    assert SourceSettings(uri="0", name=f"front{character}door").name == f"front{character}door"


@pytest.mark.parametrize(
    "values",
    [
        {"backend": "magic"},
        {"width_px": 0},
        {"fps": -1},
        {"open_timeout_s": 0},
        {"reconnect_s": ()},
        {"reconnect_s": (1, 0)},
        {"rtsp_transport": "carrier pigeon"},
        {"name": "a\tb"},
        {"colour": "red"},
        {"uri": True},
        {"rotate": 45},
        {"rotate": "x"},
        {"flip": "both"},
        {"aspect_ratio": "16/9"},
        {"aspect_ratio": "0:9"},
        {"aspect_ratio": "16:0"},
        {"aspect_ratio": "100:1"},
    ],
)
def test_invalid_values_are_rejected(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        SourceSettings.model_validate({"uri": "0", **values})


@pytest.mark.parametrize(("text", "shape"), [("16:9", 16 / 9), ("4:3", 4 / 3), ("2.35:1", 2.35), ("9:16", 9 / 16)])
def test_an_aspect_ratio_is_width_by_height(text: str, shape: float) -> None:
    assert SourceSettings(uri="0", aspect_ratio=text).display_aspect == pytest.approx(shape)


@pytest.mark.parametrize("rotate", [90, "90"])
def test_a_rotation_may_be_text(rotate: object) -> None:
    """Flags and environment variables are text."""
    assert SourceSettings.model_validate({"uri": "0", "rotate": rotate}).rotate == 90


def test_credentials_are_moved_out_of_the_uri_and_only_the_decoder_gets_them() -> None:
    settings = SourceSettings(uri="rtsp://ad%40min:p%3Aw@cam:554/x")
    assert settings.uri == settings.shown == "rtsp://cam:554/x"
    assert settings.username == "ad@min"
    assert settings.password is not None
    assert settings.password.get_secret_value() == "p:w"
    assert settings.connect_uri() == "rtsp://ad%40min:p%3Aw@cam:554/x"
    assert "p:w" not in repr(settings)
    assert "p:w" not in settings.model_dump_json()


def test_credentials_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOOR_PASSWORD", "p@ss/word")
    settings = SourceSettings(uri="rtsp://door/x", username="me", password="${DOOR_PASSWORD}")  # type: ignore[arg-type]
    assert settings.connect_uri() == "rtsp://me:p%40ss%2Fword@door/x"
    assert SourceSettings(uri="rtsp://me:${DOOR_PASSWORD}@door/x").shown.endswith("door/x")


@pytest.mark.parametrize(
    "uri", ["rtsp://viewer:${DOOR_PASSWORD}@10.0.0.7/live", " rtsp://viewer:${DOOR_PASSWORD}@10.0.0.7/live\n"]
)
@given(value=st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0\r\n"), min_size=1, max_size=20))
@example(value="12/3")
@example(value="50%41x")
@example(value="a?b#c@d:e")
@example(value="${HOME}")
def test_a_password_from_the_environment_is_not_changed(uri: str, value: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOOR_PASSWORD", value)
        settings = SourceSettings(uri=uri)
    assert (settings.uri, settings.username, settings.name) == ("rtsp://10.0.0.7/live", "viewer", "10.0.0.7")
    assert settings.password is not None
    assert settings.password.get_secret_value() == value
    assert SourceSettings(uri=settings.connect_uri()).password == settings.password


@pytest.mark.parametrize(
    ("uri", "connects_to"),
    [
        ("rtsp://${USER_}:${PART}@door/x", "rtsp://ad%2Fmin:a%2Fb%2541@door/x"),
        ("rtsp://%40${USER_}:%41${PART}%3A@door/x", "rtsp://%40ad%2Fmin:Aa%2Fb%2541%3A@door/x"),
        ("rtsp://${BOTH}@door/x", "rtsp://ad%2Fmin:p%3Aw%2541@door/x"),
        ("rtsp://me:${PART}@${HOST}/x?n=${PART}", "rtsp://me:a%2Fb%2541@10.0.0.7:554/x?n=a/b%41"),
        ("${WHOLE}", "rtsp://me:p%40w@door/x"),
        ("rtsp://${INNER}/x", "rtsp://me:p%40w@door/x"),
        ("rtsp://us:${PART}@${INNER}/x", "rtsp://us:a%2Fb%2541@door/x"),
    ],
)
def test_each_part_of_an_address_may_come_from_the_environment(
    uri: str, connects_to: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("USER_", "ad/min")
    monkeypatch.setenv("PART", "a/b%41")
    monkeypatch.setenv("BOTH", "ad/min:p:w%41")
    monkeypatch.setenv("HOST", "10.0.0.7:554")
    monkeypatch.setenv("INNER", "me:p%40w@door")
    monkeypatch.setenv("WHOLE", " rtsp://me:p%40w@door/x\n")
    settings = SourceSettings(uri=uri)
    assert settings.connect_uri() == connects_to
    assert "@" not in settings.uri


def test_error_messages_contain_no_secret_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("hunter2/3", "12/hunter2", "hunter2?@[", "hunter2 #%zz"):
        monkeypatch.setenv("DOOR_PASSWORD", value)
        for uri in (
            "gopher://me:${DOOR_PASSWORD}@h/",
            "rtsp://me:${DOOR_PASSWORD}@h:x/",
            "rtsp://me:${DOOR_PASSWORD}@/",
        ):
            assert "hunter2" not in _error_message(uri)


def test_a_given_user_name_overrides_the_uri() -> None:
    assert SourceSettings(uri="rtsp://a:b@door/x", username="c").connect_uri() == "rtsp://c:b@door/x"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rtsp://u:p@host/x", "rtsp://***@host/x"),
        ("rtsp://u:p@ss/w?o@host/x", "rtsp://***@host/x"),
        ("lost http://u:p@host/x; again", "lost http://***@host/x; again"),
        ("http://h/v.cgi?user=me&pwd=x&n=1", "http://h/v.cgi?user=***&pwd=***&n=1"),
        ("rtsp://h/user=me_password=x_channel=1", "rtsp://h/user=***"),
        ("http://h/x?access_token=abc#t", "http://h/x?access_token=***#t"),
        ("no uri, user=me", "no uri, user=me"),
        ("/home/me@work/a.mp4", "/home/me@work/a.mp4"),
    ],
)
def test_redact(text: str, shown: str) -> None:
    assert redact(text) == shown


@given(SECRET, SECRET, st.booleans(), st.sampled_from(["{}", "cannot open {}; check it", "a {} b rtsp://other/x"]))
def test_redaction_removes_all_secrets(user: str, password: str, quoted: bool, message: str) -> None:
    if quoted:
        user, password = quote(user, safe=""), quote(password, safe="")
    shown = redact(message.format(f"rtsp://{user}:{password}@camera.example:554/live"))
    assert password not in shown.replace("camera.example:554/live", "").replace("rtsp://", "")
    assert redact(shown) == shown


def _error_message(uri: str) -> str:
    with pytest.raises(ValidationError) as caught:
        SourceSettings(uri=uri)
    return str(caught.value)


@given(SECRET, SECRET)
def test_settings_and_their_errors_contain_no_secret(user: str, password: str) -> None:
    uri = f"rtsp://{quote(user, safe='')}:{quote(password, safe='')}@camera.example/live"
    settings = SourceSettings(uri=uri)
    assert settings.uri == "rtsp://camera.example/live"
    assert settings.username == user
    assert settings.password is not None
    assert settings.password.get_secret_value() == password
    again = SourceSettings(uri=settings.connect_uri())
    assert again.password == settings.password
    hidden = settings.hide(f"failed: {settings.connect_uri()} with {password}")
    assert password not in hidden.replace("failed: ", "")
    assume(password not in _error_message("gopher://camera.example/live"))  # part of the fixed text by chance
    assert password not in _error_message(uri.replace("rtsp:", "gopher:"))


@given(st.text(max_size=60) | st.builds("{}://{}".format, st.sampled_from(["rtsp", "http", "x"]), st.text(max_size=40)))
def test_any_string_is_a_source_or_raises_an_error(uri: str) -> None:
    try:
        settings = SourceSettings(uri=uri)
    except ValidationError:
        return
    assert settings.name
    assert len(settings.name.splitlines()) == 1
    settings.name.encode()
    assert settings.kind in SourceKind
    assert isinstance(settings.shown, str)
