"""A hub with its real server: what sites send arrives once, and only under their own names."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from fakes_nats import nats_server, server_program

server_program()  # skips this file without maskwatch[fleet]
from fakes_alerts import LIMIT_S, make_event, record_people, wait_until  # noqa: E402
from fakes_fleet import Fleet, alert_of  # noqa: E402

from app.alerts.delivery import AlertCenter  # noqa: E402
from app.alerts.hooks.nats_hook import NatsHook  # noqa: E402
from app.alerts.nats_client import connected, read_credentials  # noqa: E402
from app.alerts.store_types import EventFilter  # noqa: E402
from app.core.camera_hours import CameraHour, hour_of  # noqa: E402
from app.core.errors import HookError, MonitorError  # noqa: E402
from app.core.types import EventKind  # noqa: E402
from app.fleet.hub_folder import ServerOptions  # noqa: E402
from app.fleet.hub_store import HubStore  # noqa: E402
from app.fleet.keys import new_authority, server_certificate  # noqa: E402
from app.fleet.server import HubServer  # noqa: E402
from app.settings.alerts import AlertSettings, NatsChannel  # noqa: E402

errors = pytest.importorskip("nats.js.errors")
NotFoundError, ServerError = errors.NotFoundError, errors.ServerError


def test_events_of_sites_are_stored_once_under_their_names(fleet: Fleet) -> None:
    fleet.start()
    event = replace(make_event(), camera="Tür 1.a")
    for site in ("hall", "hall", "yard"):
        fleet.hook(site).send(alert_of(event))
    fleet.hook("hall").send(replace(alert_of(make_event()), is_test=True))
    wait_until(lambda: len(fleet.stored()) == 2)
    assert {each.camera for each in fleet.stored()} == {"hall/Tür 1.a", "yard/Tür 1.a"}
    assert asyncio.run(HubServer(fleet.folder).waiting()) == 0


def test_a_snapshot_that_is_too_large_for_the_server_stops_no_events(
    fleet: Fleet, caplog: pytest.LogCaptureFixture
) -> None:
    """One of 4K has some MB; as base64 the limit of 1 MB is reached with 750 kB."""
    fleet.start()
    large, small = make_event(), make_event()
    hook = fleet.hook("hall")
    hook.send(replace(alert_of(large), snapshot_jpeg=bytes(800_000)))
    hook.send(replace(alert_of(small), snapshot_jpeg=b"jpeg"))
    wait_until(lambda: len(fleet.stored()) == 2)
    left_out = [record.getMessage() for record in caplog.records if "it is left out" in record.message]
    assert left_out == [f"the snapshot of event {large.id} has 800 kB, too much for the NATS server; it is left out"]


def test_a_site_cannot_send_as_another_site(fleet: Fleet) -> None:
    fleet.start()
    with pytest.raises(HookError, match="permissions violation"):
        fleet.hook("hall", credentials_of="yard", timeout_s=1.0).send(alert_of(make_event()))
    fleet.hook("yard").send(alert_of(make_event()))
    wait_until(lambda: [each.camera for each in fleet.stored()] == ["yard/door"])


def test_a_site_cannot_read_what_others_send(fleet: Fleet) -> None:
    fleet.start()

    async def listen() -> None:
        credentials = read_credentials(fleet.folder.credentials_of("yard"))
        async with connected(fleet.url, credentials, "yard", 10) as client:
            for subject in ("mw.event.hall.*", ">", "_INBOX.hall.>", "$JS.>"):
                await client.subscribe(subject)
                while f'violation for subscription to "{subject}"'.casefold() not in str(client.last_error).casefold():
                    await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(listen(), LIMIT_S))


def test_a_site_can_use_only_its_own_leases_and_read_only_what_is_wanted_of_it(fleet: Fleet) -> None:
    fleet.start()

    async def ask() -> None:
        credentials = read_credentials(fleet.folder.credentials_of("yard"))
        async with connected(fleet.url, credentials, "yard", 10) as client:
            stream = client.jetstream(timeout=1)
            written = await stream.publish("$KV.mw_lease.yard.door", b"box", msg_ttl=2)
            read = await stream.get_msg("KV_mw_lease", subject="$KV.mw_lease.yard.door", direct=True)
            assert (read.data, read.seq) == (b"box", written.seq)
            for site, is_allowed in (("yard", True), ("hall", False)):
                with pytest.raises(NotFoundError if is_allowed else TimeoutError):
                    await stream.get_msg("KV_mw_desired", subject=f"$KV.mw_desired.{site}", direct=True)
            for subject in ("$KV.mw_lease.hall.door", "$KV.mw_desired.yard", "$O.mw_models.C.x"):
                with pytest.raises(TimeoutError):
                    await stream.publish(subject, b"{}")
            for rollup in ("all", "sub"):  # would delete the leases of all sites
                with pytest.raises(ServerError, match="rollup"):
                    await stream.publish("$KV.mw_lease.yard.window", b"", headers={"Nats-Rollup": rollup})
            for read_all in ({"seq": 1}, {"subject": "$KV.mw_lease.hall.door", "seq": 1, "next": True}):
                with pytest.raises(TimeoutError):
                    await stream.get_msg("KV_mw_lease", direct=True, **read_all)

    asyncio.run(asyncio.wait_for(ask(), LIMIT_S))


def test_a_revoked_site_is_refused_while_the_hub_runs(fleet: Fleet) -> None:
    fleet.start()
    hook = fleet.hook("hall")
    hook.send(alert_of(make_event()))
    fleet.folder.revoke("hall")

    def is_refused() -> bool:
        try:
            hook.send(alert_of(make_event()))
        except HookError as error:
            return "new credentials file" in str(error)
        return False

    wait_until(is_refused)
    fleet.hook("yard").send(alert_of(make_event()))


def test_a_message_that_is_no_event_does_not_stop_the_others(fleet: Fleet, caplog: pytest.LogCaptureFixture) -> None:
    fleet.start()

    async def send() -> None:
        credentials = read_credentials(fleet.folder.credentials_of("hall"))
        async with connected(fleet.url, credentials, "hall", 10) as client:
            for content in (b"", b"secret text", b"{}", b"\xff"):
                await client.jetstream().publish("mw.event.hall.door", content)
                await client.jetstream().publish("mw.count.hall.door", content)
            await client.publish("mw.health.hall.box", b"nonsense")

    asyncio.run(send())
    fleet.hook("hall").send(alert_of(make_event()))
    wait_until(lambda: len(fleet.stored()) == 1)
    wait_until(lambda: asyncio.run(HubServer(fleet.folder).waiting()) == 0)
    assert "mw.event.hall.door cannot be read" in caplog.text
    assert "secret text" not in caplog.text


def test_an_agent_that_crashes_opens_its_link_again(
    fleet: Fleet, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fleet.start()
    agent = fleet.agent("hall", AlertCenter(AlertSettings(store=tmp_path / "site.db")), crashes=1)
    agent.start()
    store = HubStore(fleet.folder.store)
    try:
        wait_until(lambda: [node.name for node in store.nodes()] == ["hall/box"])
        assert agent.close() == []
    finally:
        store.close()
    assert "the link to the hub crashed; it is opened again" in caplog.text


def test_totals_that_change_while_others_are_sent_reach_the_hub(fleet: Fleet, tmp_path: Path) -> None:
    """Also if the node ends in this moment."""
    fleet.start()
    site = AlertCenter(AlertSettings(store=tmp_path / "site.db"))
    site.start()
    record_people(site, "door 1", time.time(), masked=3)
    closing, read = list[threading.Thread](), site.final_hours

    def read_before_the_end(wanted: EventFilter) -> list[CameraHour]:
        hours = read(wanted)
        if not closing:
            record_people(site, "door 1", time.time(), masked=1)
            closing.append(threading.Thread(target=agent.close))
            closing[0].start()
            closing[0].join(0.2)  # it has asked the agent to stop, and waits
        return hours

    site.final_hours = read_before_the_end  # type: ignore[method-assign]
    agent = fleet.agent("hall", site)
    agent.start()
    store = HubStore(fleet.folder.store)
    try:
        wait_until(lambda: [hour.masked for hour in store.events.hours()] == [4])
    finally:
        closing[0].join()
        store.close()
        site.close()


def test_totals_and_health_of_a_node_reach_the_hub(fleet: Fleet, tmp_path: Path) -> None:
    fleet.start()
    site = AlertCenter(AlertSettings(store=tmp_path / "site.db"))
    site.start()
    record_people(site, "door 1", time.time(), masked=3, bare=1)
    site.add_hours([CameraHour("door 1", hour_of(time.time()), watched_s=30.0)])
    agent = fleet.agent("hall", site)
    agent.start()
    store = HubStore(fleet.folder.store)
    try:
        wait_until(lambda: bool(store.events.hours()))
        record_people(site, "door 1", time.time(), masked=1)
        assert agent.close() == []  # sends what changed since
        wait_until(lambda: store.events.hours()[0].masked == 4)
        (total,) = store.events.hours()
        assert (total.camera, total.bare, total.watched_s) == ("hall/door 1", 1, 30.0)
    finally:
        store.close()
        site.close()
    wait_until(lambda: EventKind.NODE_OFFLINE in [event.kind for event in fleet.stored()])
    (offline,) = fleet.stored()
    assert offline.camera == "hall/box"
    again = fleet.agent("hall", site)
    again.start()
    wait_until(lambda: len(fleet.stored()) == 2)
    assert again.close() == []
    online = fleet.stored()[1]
    assert (online.kind, online.resolves) == (EventKind.NODE_ONLINE, offline.id)
    fleet.stop()
    store = HubStore(fleet.folder.store)
    assert [(node.name, node.health.waiting) for node in store.nodes()] == [("hall/box", 2)]
    store.close()


def test_events_wait_for_a_hub_that_does_not_run(fleet: Fleet, tmp_path: Path) -> None:
    hook = fleet.hook("hall")
    channel = {"kind": "nats", "name": "fleet", "url": fleet.url, "site": "hall"}
    values = {
        "store": tmp_path / "site.db",
        "channels": [{**channel, "creds_file": fleet.folder.credentials_of("hall")}],
        "retry_first_s": 0.1,
        "retry_max_s": 0.2,
    }
    site = AlertCenter(AlertSettings.model_validate(values))
    site.start()
    events = [make_event() for _ in range(5)]
    for event in events:
        site.submit(event)
    wait_until(lambda: "Connect call failed" in site.health().channels[0].error)
    fleet.start()
    wait_until(lambda: len(fleet.stored()) == 5)
    assert site.close() == []
    hook.send(alert_of(events[0]))
    assert [event.id for event in fleet.stored()] == [f"hall/{event.id}:fleet" for event in events]


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_server_that_is_killed_is_started_again(fleet: Fleet) -> None:
    fleet.start()
    fleet.hook("hall").send(alert_of(make_event()))
    os.kill(int(fleet.folder.pid_file.read_text()), signal.SIGKILL)
    event = make_event()

    def is_sent() -> bool:  # an attempt without an answer may have been stored, so the same event is sent again
        try:
            fleet.hook("hall").send(alert_of(event))
        except HookError:
            return False
        return True

    wait_until(is_sent)
    wait_until(lambda: len(fleet.stored()) == 2)


def test_a_server_without_tls_gets_no_credentials(fleet: Fleet, tmp_path: Path) -> None:
    """Somebody on the way must not be able to turn the encryption off."""
    credentials = fleet.folder.credentials_of("hall")
    with nats_server(tmp_path) as port:
        values = {"url": f"tls://127.0.0.1:{port}", "site": "hall", "creds_file": credentials}
        hook = NatsHook(NatsChannel(kind="nats", name="fleet", **values))
        with pytest.raises(HookError, match="SSL"):
            hook.send(alert_of(make_event()))


def test_a_given_certificate_is_used(fleet: Fleet, tmp_path: Path) -> None:
    """The hub itself does not need to resolve the name."""
    authority = new_authority()
    certificate = server_certificate(authority, ["hub.example"])
    paths = [tmp_path / name for name in ("cert.pem", "key.pem", "ca.pem")]
    texts = (certificate.certificate_pem, certificate.key_pem, authority.certificate_pem)
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text)
    fleet.folder.init(["gate"], ServerOptions(f"127.0.0.1:{fleet.port}", ("hub.example",), *paths))
    fleet.start()
    with pytest.raises(HookError, match="use the host name that is in the hub's certificate"):
        fleet.hook("gate").send(alert_of(make_event()))  # by the address, which is not in the certificate


def test_a_server_that_cannot_start_says_why(fleet: Fleet) -> None:
    fleet.folder.server_file.write_text("listen: nonsense nonsense\n")
    with pytest.raises(MonitorError, match=r"nats-server did not start: .*(line|listen)"):
        asyncio.run(_connect(HubServer(fleet.folder)))


async def _connect(server: HubServer) -> None:
    try:
        async with server.connection():
            pass
    finally:
        server.stop()


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_no_event_is_lost_or_double_when_site_hub_and_server_are_killed() -> None:
    script = Path(__file__).resolve().parents[2] / "benchmarks" / "fleet_kill.py"
    argv = [sys.executable, str(script), "--events", "50", "--kills", "1"]
    process = subprocess.run(argv, capture_output=True, text=True, timeout=600, check=False)
    assert process.returncode == 0, process.stdout + process.stderr
    assert '"lost": 0' in process.stdout
    assert '"at_hub": 50' in process.stdout
