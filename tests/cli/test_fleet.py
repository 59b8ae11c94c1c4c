"""``maskwatch fleet``: a hub folder, its nodes, and what the commands show."""

import os
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes_nats import server_program

server_program()  # skips this file without maskwatch[fleet]
from fakes_alerts import make_event, wait_until  # noqa: E402
from fakes_fleet import Fleet, alert_of  # noqa: E402
from fakes_net import free_port  # noqa: E402

from app.cli.main import main  # noqa: E402
from app.core.camera_hours import CameraHour, hour_of  # noqa: E402
from app.core.errors import SettingsError  # noqa: E402
from app.fleet.hub_folder import HubFolder  # noqa: E402
from app.fleet.hub_store import HubStore  # noqa: E402
from app.fleet.messages import HourTotals, NodeHealth  # noqa: E402
from app.settings.alerts import NatsChannel, PushChannel, push_file  # noqa: E402
from app.settings.load import load_settings  # noqa: E402
from app.web.site import Site  # noqa: E402


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path)
    yield fleet
    fleet.stop()


def secrets_in(folder: Path) -> list[str]:
    """Every line of the files that may be read by this user only."""
    lines = []
    for path in folder.rglob("*"):
        if path.is_file() and path.stat().st_mode & 0o077 == 0 and path.suffix in (".creds", ".json", ".key"):
            lines += [line for line in path.read_text().splitlines() if len(line) > 40 and not line.startswith("#")]
    return lines


def test_init_makes_one_file_of_credentials_a_site_and_adds_sites_later(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub = tmp_path / "hub"
    assert main(["fleet", "init", str(hub), "--site", "hall", "--listen", "127.0.0.1:7999"]) == 0
    first = (hub / "sites" / "hall.creds").read_text()
    conf, ca = (hub / "server.conf").read_text(), (hub / "tls" / "ca.pem").read_text()
    assert main(["fleet", "init", str(hub), "--site", "hall", "--site", "yard"]) == 0
    printed = capsys.readouterr()
    assert str(hub / "sites" / "yard.creds") in printed.out
    assert (hub / "sites" / "hall.creds").read_text() == first
    assert 'listen: "127.0.0.1:7999"' in conf
    assert 'listen: "127.0.0.1:7999"' in (hub / "server.conf").read_text()
    assert (hub / "tls" / "ca.pem").read_text() == ca
    assert HubFolder(hub).sites() == ["hall", "yard"]
    secrets = secrets_in(hub)
    assert len(secrets) > 5
    assert not [line for line in secrets if line in printed.out + printed.err]
    for name in ("keys.json", "hub.creds", "tls/ca.key", "tls/server.key", "sites/hall.creds"):
        assert (hub / name).stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--site", "a b"], "'a b' cannot be the name of a site"),
        (["--site", "x.>"], "cannot be the name of a site"),
        (["--listen", "7422"], "write HOST:PORT"),
        (["--tls-cert", "missing.pem", "--tls-key", "missing.key"], "there is no file missing.pem"),
        (["--tls-cert", __file__, "--tls-key", __file__], "needs --name"),
        (["--tls-cert", __file__, "--name", "hub.example"], "give both --tls-cert and --tls-key"),
        (["--revoke", "hall"], "no site 'hall'"),
    ],
)
def test_init_refuses_what_cannot_work(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fleet", "init", str(tmp_path / "hub"), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_init_leaves_another_folder_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "note.txt").write_text("mine")
    assert main(["fleet", "init", str(tmp_path), "--site", "hall"]) == 2
    assert "is not empty" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["note.txt"]


@pytest.mark.parametrize("action", ["hub", "nodes", "cameras", "events", "lag"])
def test_a_folder_that_is_no_hub_is_named(action: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fleet", action, str(tmp_path)]) == 2
    assert f"fleet init {tmp_path}" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_join_keeps_the_comments_of_the_settings(
    fleet: Fleet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fleet.start()
    path = tmp_path / "maskwatch.toml"
    path.write_text('# my settings\n[[camera]]\nuri = "demo"  # the door\n')
    creds = fleet.folder.credentials_of("hall")
    arguments = ["fleet", "join", "--creds", str(creds), "--hub", fleet.url, "--config", str(path), "--node", "box-2"]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "the hub accepts the credentials" in printed
    text = path.read_text()
    assert text.startswith('# my settings\n[[camera]]\nuri = "demo"  # the door\n')
    values = {"hub": fleet.url, "site": "hall", "creds_file": str(creds), "node": "box-2"}
    assert tomllib.loads(text)["fleet"] == values
    assert main(arguments) == 0
    assert path.read_text() == text
    (channel,) = load_settings(path).alerts.channels
    assert isinstance(channel, NatsChannel)
    assert (channel.name, channel.url, channel.site, channel.creds_file) == ("fleet", fleet.url, "hall", creds)
    assert not [line for line in secrets_in(fleet.folder.path) if line in text + printed]


def test_config_check_names_credentials_that_are_missing(
    fleet: Fleet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, missing = tmp_path / "maskwatch.toml", tmp_path / "hall.creds"
    path.write_text(f'[fleet]\nhub = "{fleet.url}"\nsite = "hall"\ncreds_file = "{missing}"\n')
    assert main(["config", "check", str(path)]) == 2
    assert f"fleet.creds_file: no such file {missing}" in capsys.readouterr().err


@pytest.mark.parametrize("hub", ["nats://127.0.0.1:7422", "hub.example", "tls://user:word@hub.example"])
def test_join_wants_an_address_with_tls_and_leaves_the_settings(
    hub: str, fleet: Fleet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "maskwatch.toml"
    path.write_text("# mine\n")
    creds = str(fleet.folder.credentials_of("hall"))
    assert main(["fleet", "join", "--creds", creds, "--hub", hub, "--config", str(path)]) == 2
    assert path.read_text() == "# mine\n"
    assert "cannot write [fleet]" in capsys.readouterr().err


def test_the_hub_alerts_the_devices_beside_its_event_file(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A user who is removed is looked up there too, so that the phone gets no more alerts."""
    channel = '[[alerts.channels]]\nkind = "push"\nname = "phones"\ncontact = "mailto:me@example.org"\n'
    fleet.folder.settings_file.write_text(channel)

    def web_server(site: Site) -> None:
        (push,) = site.settings.alerts.channels
        assert isinstance(push, PushChannel)
        raise SettingsError(f"devices in {push.store}")

    monkeypatch.setattr("app.web.server.WebServer", web_server)
    assert main(["fleet", "hub", str(fleet.folder.path), "--web"]) == 2
    assert f"devices in {push_file(fleet.folder.store)}" in capsys.readouterr().err


def test_join_makes_no_file_if_the_other_settings_are_invalid(fleet: Fleet, tmp_path: Path) -> None:
    path, creds = tmp_path / "maskwatch.toml", str(fleet.folder.credentials_of("hall"))
    path.write_text("[policy]\ndwell_s = -1\n")
    arguments = ["fleet", "join", "--creds", creds, "--hub", fleet.url, "--config", str(path)]
    os.utime(path, (1, 1))
    assert main(arguments) == 2
    assert path.stat().st_mtime == 1


def test_join_says_when_the_hub_cannot_be_reached(
    fleet: Fleet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, url = tmp_path / "maskwatch.toml", f"tls://127.0.0.1:{free_port()}"
    creds = str(fleet.folder.credentials_of("hall"))
    assert main(["fleet", "join", "--creds", creds, "--hub", url, "--config", str(path)]) == 1
    assert "the hub cannot be reached now" in capsys.readouterr().out
    assert load_settings(path).fleet.hub == url


def test_join_refuses_another_file_as_credentials(
    fleet: Fleet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "maskwatch.toml"
    other = str(fleet.folder.path / "keys.json")
    assert main(["fleet", "join", "--creds", other, "--hub", fleet.url, "--config", str(path)]) == 2
    assert "is not a credentials file" in capsys.readouterr().err
    assert not path.exists()


def test_the_commands_show_nodes_cameras_events_and_lag(fleet: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    fleet.start()
    for site in ("hall", "yard"):
        fleet.hook(site).send(alert_of(make_event()))
    wait_until(lambda: len(fleet.stored()) == 2)
    store, now_s = HubStore(fleet.folder.store), time.time()
    health = NodeHealth(version="1.2", heartbeat_s=5, waiting=3, cameras={"door": "live"}, faults=("channel mail: no",))
    store.save_nodes({"hall/box": (now_s, health), "yard/box": (now_s - 7200, health)})
    totals = CameraHour("door", hour_of(now_s), masked=3, bare=1, watched_s=90.0)
    store.write([], [("hall/door", HourTotals(node="box", hours=(totals,)))], now_s)
    store.close()
    hub = str(fleet.folder.path)

    def shown(*arguments: str) -> list[list[str]]:
        assert main(["fleet", arguments[0], hub, *arguments[1:]]) == 0
        return [line.split() for line in capsys.readouterr().out.splitlines()]

    nodes = shown("nodes")
    assert int(nodes[1].pop(3)) < 60  # on a busy machine
    assert nodes[1] == "hall box online s ago 1 of 1 3 1.2 channel mail: no".split()  # noqa: SIM905
    assert nodes[2][:3] == ["yard", "box", "offline"]
    assert nodes[3] == ["2", "nodes,", "1", "online"]
    cameras = shown("cameras")
    assert cameras[1] == "hall door live 4 3 0 1 75.0% 2 min".split()  # noqa: SIM905
    assert cameras[3][:2] == ["hall", "4"]  # the sum of the site
    for action in ("nodes", "cameras", "events", "lag"):
        assert main(["fleet", action, hub, "--site", "yardd"]) == 2
        assert "no site 'yardd'; choose from: hall, yard\n" in capsys.readouterr().err
    assert [line[0] for line in shown("cameras", "--site", "yard")[1:-1]] == ["yard", "yard"]
    assert sum("no_mask" in line for line in shown("events", "--since", "1h")) == 2
    assert sum("no_mask" in line for line in shown("events", "--since", "1h", "--site", "yard")) == 1
    lag = [" ".join(line) for line in shown("lag")]
    assert lag[0] == "not stored by the hub yet: 0 messages"
    assert lag[1:3] == ["not sent by hall/box yet: 3 events", "not sent by yard/box yet: 3 events"]
    assert lag[3].startswith("2 events: stored 0.")
