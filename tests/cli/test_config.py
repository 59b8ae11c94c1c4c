"""``maskwatch config``, and settings files: tables of cameras, names and errors."""

import itertools
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import tomlkit
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.cli.main import main
from app.core.errors import SettingsError
from app.core.secrets import redact
from app.settings.error_messages import line_of, models_in
from app.settings.load import load_settings
from app.settings.monitor import overridden
from app.settings.reload import live_part, needs_restart, with_cameras_of
from app.settings.root import Settings
from app.settings.toml import commented_toml, redacted_tables

WEBHOOK = "[[alerts.channels]]\nkind='webhook'\nname='x'\nurl='http://a'\n"


def write_config(folder: Path, text: str) -> Path:
    path = folder / "maskwatch.toml"
    path.write_text(text, encoding="utf-8")
    return path


def error_of(folder: Path, text: str) -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings(write_config(folder, text))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_camera_tables_override_shared_settings(tmp_path: Path) -> None:
    text = """
        [policy]
        dwell_s = 9
        [[camera]]
        uri = "a.mp4"
        [camera.policy]
        cooldown_s = 1
        [camera.detector]
        kind = "cnn"
        [[camera]]
        uri = "b.mp4"
    """
    both = load_settings(write_config(tmp_path, text))
    first, second = both.camera
    assert overridden(both.policy, first.policy).cooldown_s == 1
    assert overridden(both.policy, first.policy).dwell_s == 9
    assert overridden(both.policy, second.policy) == both.policy
    assert overridden(both.detector, first.detector).kind == "cnn"
    assert overridden(both.detector, second.detector) == both.detector


def test_camera_names_are_unique(tmp_path: Path) -> None:
    given = "[[camera]]\nuri='a.mp4'\nname='door'\n"
    assert "door" in error_of(tmp_path, given + given)
    alike = given.replace("door", "Front door") + given.replace("door", "Front_door")
    assert len(load_settings(write_config(tmp_path, alike)).camera) == 2
    mqtt = "[[alerts.channels]]\nkind='mqtt'\nname='home'\nhost='127.0.0.1'\n"
    assert "'Front door' and 'Front_door' would share an MQTT topic; rename one" in error_of(tmp_path, alike + mqtt)
    paths = ("a.mp4", "in/a.mp4", "out/a.mp4")
    text = "".join(f"[[camera]]\nuri='{path}'\n" for path in paths) + "[[camera]]\nuri='b.mp4'\nname='a-2'\n"
    names = [camera.name for camera in load_settings(write_config(tmp_path, text)).camera]
    assert names == ["a", "a-3", "a-4", "a-2"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[detector]\n\nmin_neighbours = 4\n", ("detector.min_neighbours (line 3)", "did you mean min_neighbors?")),
        ("[[camera]]\nuri='0'\n[camera.policy]\ndwel_s=1\n", ("camera[0].policy.dwel_s (line 4)", "mean dwell_s?")),
        ("[detectr]\n", ("detectr (line 1)", "did you mean detector?")),
        (
            "[[camera]]\nuri='0'\n[[camera]]\nuri='1'\nwidth_px=-1\n",
            ("camera[1].width_px (line 5)", "from 16 to 16384"),
        ),
        ("[[alerts.channels]]\nkind='sound'\nname='x'\ntimeout=3\n", ("(line 4)", "did you mean timeout_s?")),
        ("[[camera]]\nname='x'\n", ("camera[0].uri (line 1): is missing; add it",)),
        ("camera = []\n", ("camera (line 1): is empty",)),
        ("[camera]\nuri='0'\n", ("camera (line 1): must be a list of tables; start each table with [[camera]]",)),
        (
            "[alerts.channels]\nkind='sound'\n",
            ("alerts.channels (line 1)", "start each table with [[alerts.channels]]"),
        ),
        ("[[alerts.channels]]\nname='x'\n", ("alerts.channels[0] (line 1): has no kind", "command, webhook, mqtt")),
        ("[[alerts.channels]]\nname='x'\nkind='comand'\n", ("'comand' is not a kind of", "did you mean command?")),
        ("[[alerts.channels]]\nname='x'\nkind='fax'\n", ("'fax' is not a kind of", "use command, webhook, mqtt")),
        ("[policy]\nalert_on='no_mask'\n", ("policy.alert_on (line 2): must be a list; write it in brackets",)),
        ("[alerts]\nstore='.'\n", ("alerts.store (line 2): '.' is not a file name", "such as events.db")),
        ("[alerts]\nstore=''\n", ("alerts.store (line 2): is empty; give a path",)),
        ("[classifier]\nmodel=''\n", ("classifier.model (line 2): is empty; give a path",)),
        ("[view]\nsnapshots=''\n", ("view.snapshots (line 2): is empty; give a path",)),
        ("[view]\nheadless='often'\n", ("view.headless (line 2): must be true or false",)),
        ("[view]\ntheme='blue'\n", ("view.theme (line 2): must be 'dark' or 'light'",)),
        ("[policy]\ndwell_s=nan\n", ("policy.dwell_s (line 2): must be a number from 0 to 3600",)),
        ("[web]\nport='a'\n", ("web.port (line 2): must be a whole number from 0 to 65535",)),
        ("[alerts]\nretry_max_s=inf\n", ("alerts.retry_max_s (line 2): must be a number above 0",)),
        ("[alerts]\nstore=5\n", ("alerts.store (line 2): must be a text; write it in quotes",)),
        ("[[alerts.channels]]\nkind='sound'\nname='a b'\n", ("sound.name (line 3): is not valid", "letters, digits")),
        ("[[camera]]\nuri='0'\nstarts_at='2026-13-40T10:00'\n", ("starts_at (line 3): is no date with a time",)),
        ("[[camera]]\nuri='0'\nstarts_at=9999-12-31T23:59:59\n", ("starts_at (line 3): is in the year 9999",)),
        (
            f"{WEBHOOK}headers = {{ X-Place = 'Küche' }}\n",
            ("webhook.headers (line 5): the value of the header X-Place",),
        ),
        (f"{WEBHOOK}headers_env = {{ 'A B' = 'NAME' }}\n", ("headers_env (line 5): 'A B' is no name of a header",)),
        ("[[alerts.channels]]\nkind='mqtt'\nname='x'\nhost='mqtt://a'\n", ("mqtt.host (line 4): is no host",)),
        ("[[alerts.channels]]\nkind='mqtt'\nname='x'\nhost='a:1883'\n", ("mqtt.host (line 4): is no host",)),
        ("[[camera]]\nuri='0'\nstarts_at=5\n", ("starts_at (line 3): is no date with a time",)),
        ("[[camera]]\nuri='0'\nreconnect_s=['x']\n", ("reconnect_s[0] (line 3): must be a number",)),
        ("[alerts]\nstore='/'\n", ("alerts.store (line 2): '/' is not a file name",)),
        ("detector='haar'\n", ("detector (line 1): must be a table",)),
        ("qqqq = 1\n", ("qqqq (line 1)", "unknown setting")),
    ],
)
def test_errors_name_key_line_and_reason(tmp_path: Path, text: str, expected: tuple[str, ...]) -> None:
    message = error_of(tmp_path, text)
    for part in expected:
        assert part in message


def test_environment_errors_name_the_variable_and_no_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASKWATCH_POLICY__DWELL_S", "long")
    message = error_of(tmp_path, "[policy]\ndwell_s = 2\n")
    assert "policy.dwell_s (MASKWATCH_POLICY__DWELL_S): " in message
    assert "line" not in message
    assert load_settings(None, {"policy": {"dwell_s": 1}}).policy.dwell_s == 1
    monkeypatch.setenv("MASKWATCH_POLICY__DWELL_S", "1")
    with pytest.raises(SettingsError) as caught:
        load_settings(None, {"policy": {"dwell_s": "x"}})
    assert str(caught.value).startswith("bad settings: --dwell: ")
    assert "MASKWATCH" not in str(caught.value)


def test_settings_of_every_camera_and_added_channels_are_merged_with_the_file(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(
        "[[camera]]\nuri = '0'\n[[camera]]\nuri = '1'\nwidth_px = 320\n"
        "[[alerts.channels]]\nkind = 'webhook'\nname = 'a'\nurl = 'http://127.0.0.1/1'\n"
        "[[alerts.channels]]\nkind = 'webhook'\nname = 'b'\nurl = 'http://127.0.0.1/2'\n"
    )
    bell = {"kind": "command", "name": "b", "argv": ["true"]}
    settings = load_settings(file, {}, each_camera={"width_px": "640"}, more_channels=[bell])
    assert [camera.width_px for camera in settings.camera] == [640, 640]
    assert [(channel.name, channel.kind) for channel in settings.alerts.channels] == [
        ("a", "webhook"),
        ("b", "command"),
    ]
    assert [camera.uri for camera in load_settings(None, {}, each_camera={"width_px": 640}).camera] == ["0"]
    with pytest.raises(SettingsError, match=r"^bad settings: --width: .*$"):
        load_settings(file, {}, each_camera={"width_px": -1})
    file.write_text("alerts = 3\n")
    with pytest.raises(SettingsError, match=r"alerts \(line 1\): must be a table"):
        load_settings(file, {}, more_channels=[bell])
    file.write_text("camera = 3\n[alerts]\nchannels = 'none'\n")
    with pytest.raises(SettingsError, match=r"camera \(line 1\).*alerts\.channels \(line 3\)"):
        load_settings(file, {}, each_camera={"width_px": 640}, more_channels=[bell])


@pytest.mark.parametrize("name", ["MASKWATCH_CAMERA", "MASKWATCH_POLICY__ALERT_ON", "maskwatch_alerts__channels"])
def test_environment_list_that_is_not_json_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "demo")
    message = error_of(tmp_path, "")
    assert name.upper() in message.upper()
    assert "must be JSON" in message


def test_check_reports_errors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_config(tmp_path, "[[camera]]\nuri = 'rtsp://u:geheim@host/live'\nname = 'door'\n")
    assert main(["config", "check", str(path)]) == 0
    assert "door" in capsys.readouterr().out
    assert main(["config", "check", str(write_config(tmp_path, "[policy]\ndwell = 1\n"))]) == 2
    message = capsys.readouterr().err
    assert "policy.dwell (line 2)" in message
    assert main(["config", "check", str(write_config(tmp_path, "[classifier]\nmodel = 'none.tflite'\n"))]) == 2
    assert "none.tflite" in capsys.readouterr().err
    desk = "\n[[alerts.channels]]\nkind = 'sound'\nname = 'desk'\ncameras = ['Hall [north]', 'd*r', {}]\n"
    cameras = "[[camera]]\nuri = '0'\nname = 'door'\n[[camera]]\nuri = '1'\nname = 'Hall [north]'\n"
    assert main(["config", "check", str(write_config(tmp_path, cameras + desk.format("")))]) == 0
    assert main(["config", "check", str(write_config(tmp_path, cameras + desk.format("'dor'")))]) == 2
    message = capsys.readouterr().err
    assert "channel 'desk' cameras: no camera matches 'dor'; did you mean door?" in message
    assert message.count("no camera matches") == 1
    monkeypatch.setenv("MASKWATCH_POLCY__DWELL_S", "1")
    assert main(["config", "check"]) == 2
    assert "did you mean policy?" in capsys.readouterr().err


def test_check_reports_errors_of_the_web_view(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def error_for(web: str) -> str:
        assert main(["config", "check", str(write_config(tmp_path, f"[web]\n{web}"))]) == 2
        return capsys.readouterr().err

    token = "enabled = true\nhost = '0.0.0.0'\ntoken_env = 'WEB_TOKEN'\n"
    assert "is open to the network and has no token" in error_for("enabled = true\nhost = '0.0.0.0'\n")
    assert "WEB_TOKEN is not set" in error_for(token)
    monkeypatch.setenv("WEB_TOKEN", "long enough for a token")
    assert "without spaces" in error_for(token)
    monkeypatch.setenv("WEB_TOKEN", "long-enough-for-a-token")
    assert "web.tls_cert: no such file none.pem" in error_for(f"{token}tls_cert = 'none.pem'\ntls_key = 'none.pem'\n")
    assert main(["config", "check", str(write_config(tmp_path, f"[web]\n{token}"))]) == 0
    off = "[web]\nhost = '0.0.0.0'\n"
    assert main(["config", "check", str(write_config(tmp_path, off))]) == 0


SECRETS = """
    [[camera]]
    uri = "rtsp://geheim0:geheim1@host:554/live?token=geheim2&channel=1"
    [[camera]]
    uri = "http://host/user=admin_password=geheim3_x"
    main_uri = "rtsp://host/user=admin_password=geheim3_main"
    name = "second"
    username = "geheim14"
    password = "geheim4"
    [camera.policy]
    dwell_s = 7
    [[alerts.channels]]
    kind = "webhook"
    name = "desk"
    url = "https://hooks.example/T0/geheim5"
    headers = { Authorization = "Bearer geheim6" }
    secret_env = "DESK_SECRET"
    [[alerts.channels]]
    kind = "apprise"
    name = "chat"
    url = "tgram://geheim7/geheim8"
    [[alerts.channels]]
    kind = "command"
    name = "run"
    argv = ["curl", "--user", "me:geheim9", "-pgeheim10", "--token=geheim11", "geheim12", "{camera}"]
    [[alerts.channels]]
    kind = "plugin"
    name = "own"
    plugin = "thing"
    options = { key = "geheim13", count = 3 }
"""


def test_show_hides_every_secret(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "show", str(write_config(tmp_path, SECRETS))]) == 0
    text = capsys.readouterr().out
    assert "geheim" not in text
    shown = tomllib.loads(text)
    assert shown["camera"][0]["uri"].endswith("host:554/live?token=***&channel=1")
    assert shown["camera"][1]["policy"] == {"dwell_s": 7.0}
    assert "policy" not in shown["camera"][0]
    assert shown["policy"]["dwell_s"] == 2.0
    assert shown["alerts"]["channels"][0]["secret_env"] == "DESK_SECRET"
    assert shown["alerts"]["channels"][2]["argv"][0] == "curl"


def test_shown_settings_load_to_the_same_values(tmp_path: Path) -> None:
    text = "[policy]\ndwell_s = 3\n[[camera]]\nuri = 'x.mp4'\n[camera.tracking]\nlost_after_s = 2\n"
    before = load_settings(write_config(tmp_path, text))
    after = load_settings(write_config(tmp_path, tomlkit.dumps(redacted_tables(before))))
    assert after.model_dump() == before.model_dump()


def test_init_writes_every_setting_with_its_default(tmp_path: Path) -> None:
    path = tmp_path / "new.toml"
    assert main(["config", "init", str(path)]) == 0
    text = path.read_text(encoding="utf-8")
    assert tomllib.loads(text) == {}
    assert load_settings(path).model_dump() == load_settings().model_dump()
    # Uncomment all lines except the examples of cameras and channels, which have required settings without a default.
    tables = [part for part in text.split("\n\n") if "#[[" not in part]
    live = "\n".join(line[1:] for part in tables for line in part.splitlines() if line[:1] == "#" and line[1:2] != " ")
    parsed = tomllib.loads(live)
    assert load_settings(write_config(tmp_path, live)).model_dump() == load_settings().model_dump()
    for section, field in Settings.model_fields.items():
        model = next(models_in(field.annotation))
        if section == "camera":
            assert all(name in text for name in model.model_fields)
            continue
        for name in model.model_fields:
            assert name in parsed[section] or f"# {name} (not set)" in text or f"[[{section}.{name}]]" in text


def test_every_setting_is_documented() -> None:
    lines = commented_toml(Settings).splitlines()
    bare = [line for before, line in itertools.pairwise(lines) if line[:1] == "#" and line[1:2].isalpha()
            and not before.startswith("# ") and not line.startswith("#kind")]  # fmt: skip
    bare += [line for line in lines if line.endswith(("(not set)", "(required)"))]
    assert bare == []


def test_init_never_overwrites_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_config(tmp_path, "[policy]\ndwell_s = 3\n")
    assert main(["config", "init", str(path)]) == 2
    assert "--force" in capsys.readouterr().err
    assert "dwell_s = 3" in path.read_text()
    assert main(["config", "init", "--force", str(path)]) == 0
    assert main(["config", "init", str(tmp_path / "none" / "a.toml")]) == 2


def test_settings_that_need_a_restart_are_listed(tmp_path: Path) -> None:
    old = load_settings(None, {"camera": [{"uri": "a.mp4"}, {"uri": "b.mp4"}]})
    wanted = {
        "camera": [{"uri": "a.mp4", "policy": {"dwell_s": 1}}, {"uri": "b.mp4", "pace": "fast"}],
        "policy": {"cooldown_s": 9},
        "monitor": {"offline_after_s": 1},
        "detector": {"scale_factor": 1.5},
    }
    new = load_settings(None, wanted)
    assert needs_restart(old, new) == ["detector.scale_factor"]
    kept = live_part(old, new)
    assert overridden(kept.policy, kept.camera[0].policy).dwell_s == 1
    assert kept.policy.cooldown_s == 9
    assert kept.monitor.offline_after_s == 1
    assert kept.detector == old.detector
    assert kept.camera[1].pace == "fast"
    assert with_cameras_of(old, new).camera[1].pace == "realtime"


# -- property-based tests -----------------------------------------------------------------------------------------

names = st.sampled_from(
    ["camera", "policy", "detector", "alerts", "channels", "uri", "name", "kind", "dwell_s", "web", "host", "x", ""]
)
values = st.one_of(
    st.integers(-(2**63), 2**63 - 1), st.floats(), st.booleans(), st.text(max_size=20),
    st.sampled_from(["webhook", "rtsp://u:p@h/x", "${NOPE}", "haar", "~nobody/x", "rtsp://[", "file:///x"]),
)  # fmt: skip
tables = st.recursive(
    values,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(names, inner, max_size=4)),
    max_leaves=12,
)
documents = st.dictionaries(names, tables, max_size=5)
ANY_PATH = settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])


def loaded_or_error(load: Callable[[], Settings]) -> Settings | str:
    """The settings, or the one-line error."""
    try:
        return load()
    except SettingsError as error:
        line = str(error)
    assert len(line.splitlines()) == 1
    return line


@ANY_PATH
@given(documents)
def test_any_document_loads_or_gives_one_error_line(tmp_path: Path, document: dict[str, object]) -> None:
    path = tmp_path / "any.toml"
    path.write_bytes(tomlkit.dumps(document).encode())
    loaded = loaded_or_error(lambda: load_settings(path))
    if not isinstance(loaded, str):
        tomllib.loads(tomlkit.dumps(redacted_tables(loaded)))


@ANY_PATH
@given(st.one_of(st.binary(max_size=200), st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace"))))
def test_any_bytes_load_or_give_one_error_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "any.toml"
    path.write_bytes(content)
    loaded_or_error(lambda: load_settings(path))


@ANY_PATH
@given(st.text(max_size=60))
def test_any_source_loads_or_gives_one_error_line(text: str) -> None:
    loaded = loaded_or_error(lambda: load_settings(None, {"camera": [{"uri": text}]}))
    assert isinstance(loaded, str) or loaded.camera[0].name


@ANY_PATH
@given(st.text(max_size=60), st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=6, max_size=20))
def test_passwords_are_never_shown(text: str, secret: str) -> None:
    password = f"x{secret}x"
    uri = f"rtsp://user:{password}@host/{text}"
    loaded = loaded_or_error(lambda: load_settings(None, {"camera": [{"uri": uri}]}))
    shown = loaded if isinstance(loaded, str) else tomlkit.dumps(redacted_tables(loaded))
    assert password not in shown or password in text
    assert password not in redact(uri) or password in text


@given(st.text(max_size=300), st.lists(st.one_of(st.integers(0, 3), st.text(max_size=8)), max_size=4))
def test_error_line_exists_in_the_file(text: str, place: list[int | str]) -> None:
    line = line_of(text, tuple(place))
    assert line is None or 1 <= line <= len(text.splitlines())


def test_examples_of_the_operations_page_are_valid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOOR_USER", "anna")
    monkeypatch.setenv("DOOR_PASSWORD", "geheim")
    page = (Path(__file__).parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")
    examples = [part.partition("```")[0] for part in page.split("```toml\n")[1:]]
    assert len(examples) >= 2
    loaded = [load_settings(write_config(tmp_path, example)) for example in examples]
    assert [camera.name for camera in loaded[0].camera] == ["door", "hall"]
    assert overridden(loaded[0].policy, loaded[0].camera[1].policy).dwell_s == 5.0
