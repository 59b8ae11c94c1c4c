"""The JSON API, the event stream, the metrics."""

import csv
import html
import io
import json
import re
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes_alerts import record_people
from fakes_web import LIMIT_S, TOKEN, FakeMonitor, Running, make_event, serving, wait_until

from app.alerts.event_store import EventStore
from app.alerts.retention import purge
from app.alerts.store_types import Status, WriteBatch
from app.capture.capture import SourceState
from app.core.camera_hours import CameraHour, hour_of
from app.core.types import EventKind
from app.pipeline.camera import CameraView
from app.web import event_api

DASHBOARD = Path(__file__).parents[2] / "packaging" / "grafana-dashboard.json"


def wait_for_events(running: Running, count: int) -> None:
    with running.client() as client:
        wait_until(lambda: len(client.get("/api/v1/events").json()["events"]) >= count)


def test_status_reports_every_camera(tmp_path: Path) -> None:
    monitor = FakeMonitor("door", "yard")
    event = make_event()
    monitor.change(0, alerts=(event,))
    monitor.state(SourceState.RECONNECTING, "timed out", index=1)
    with serving(tmp_path, monitor) as running, running.client() as client:
        status = client.get("/api/v1/status").json()
        door, yard = status["cameras"]
        assert (door["id"], door["name"], door["state"], door["is_stale"]) == (1, "door", "live", False)
        assert door["now"]["no_mask"] == 1
        assert door["seen"] == {"mask": 4, "no_mask": 1, "incorrect": 0, "unsure": 0}
        assert (door["fps"], door["analysis_fps"], door["dropped"], door["reconnects"]) == (25.0, 24.0, 7, 2)
        assert (yard["state"], yard["is_stale"], yard["note"]) == ("reconnecting", True, "timed out")
        assert [alert["id"] for alert in status["alerts"]] == [event.id]
        assert client.get("/api/v1/cameras").json()["cameras"][1]["name"] == "yard"
        assert client.get("/api/v1/alerts").json()["events"][0]["id"] == event.id
        assert client.get("/api/v1/cameras/3").status_code == 404


def test_the_table_has_all_events_of_any_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_api, "CSV_EVENTS", 4)
    with serving(tmp_path) as running, running.client() as client:
        times = [0, 1, 2, 3, 4, 4, 4, 4, 4, 4, 4, 4, 4, 5, 6, 7, 8]  # more at one time than are read at once
        events = [make_event(number, wall_s=1e9 + 100 * at) for number, at in enumerate(times)]
        with EventStore(running.settings.alerts.store) as store:
            store.write(WriteBatch(tuple((each, None) for each in events)), 1e9)
        for query, shown in (("", events), (f"?since={1e9 + 100}&until={1e9 + 700}", events[1:15]), ("?camera=x", [])):
            lines = client.get(f"/api/v1/events.csv{query}").text.splitlines()
            assert lines[0].startswith("id,")
            assert [line.partition(",")[0] for line in lines[1:]] == [each.id for each in shown], query


def test_events_with_filters_snapshots_and_csv(tmp_path: Path) -> None:
    with (
        serving(tmp_path, FakeMonitor("door", "yard"), {"snapshots": "blur_all"}) as running,
        running.client() as client,
    ):
        first = running.add_event(make_event(1), b"\xff\xd8 a snapshot")
        running.add_event(make_event(2, EventKind.INCORRECT, "yard"))
        last = running.add_event(make_event(3, EventKind.RESOLVED, resolves=first.id, box=None))
        wait_for_events(running, 3)

        def ids(query: str) -> list[str]:
            return [event["id"] for event in client.get(f"/api/v1/events?{query}").json()["events"]]

        assert ids("") == [last.id, "run-yard-2", first.id], "newest first"
        assert ids("camera=yard") == ["run-yard-2"]
        assert ids("camera=yard&camera=door&kind=no_mask") == [first.id]
        assert ids(f"since={first.wall_s + 0.5}") == [last.id, "run-yard-2"]
        assert ids(f"until={first.wall_s + 0.5}") == [first.id]
        assert ids("limit=1") == [last.id]
        assert ids("camera=nobody") == []
        one = client.get(f"/api/v1/events/{first.id}").json()
        assert one["has_picture"]
        assert one["confidence"] == 0.9
        assert client.get(f"/api/v1/events/{first.id}/picture.jpg").content == b"\xff\xd8 a snapshot"
        assert client.get(f"/api/v1/events/{last.id}/picture.jpg").status_code == 404
        assert client.get("/api/v1/events/none").status_code == 404
        table = client.get("/api/v1/events.csv?kind=no_mask&kind=incorrect")
        assert table.headers["content-type"].startswith("text/csv")
        assert "attachment" in table.headers["content-disposition"]
        assert [row["id"] for row in csv.DictReader(io.StringIO(table.text))] == [first.id, "run-yard-2"]
        for bad in ("since=soon", "since=nan", "until=-1", "limit=0", "limit=9999", "kind=nonsense", "camera=a%00b"):
            assert client.get(f"/api/v1/events?{bad}").status_code == 400, bad


def test_events_of_earlier_runs_are_listed(tmp_path: Path) -> None:
    with serving(tmp_path) as running:
        event = running.add_event(make_event())
        wait_for_events(running, 1)
    with serving(tmp_path) as running, running.client() as client:
        assert client.get(f"/api/v1/events/{event.id}").json()["id"] == event.id
        assert client.get("/events").text.count("<tr class=") == 1


def test_an_acknowledgement_is_stored(tmp_path: Path) -> None:
    with serving(tmp_path) as running, running.browser() as (client, secret):
        event = running.add_event(make_event())
        running.monitor.change(alerts=(event,))
        wait_for_events(running, 1)
        first = client.post(f"/api/v1/alerts/{event.id}/acknowledge", headers=secret).json()
        again = client.post(f"/api/v1/alerts/{event.id}/acknowledge", headers=secret).json()
        assert first == again, "the first acknowledgement counts"
        assert client.get("/api/v1/alerts").json()["events"][0]["acknowledged_s"] == first["acknowledged_s"]
        assert client.post("/api/v1/alerts/none/acknowledge", headers=secret).status_code == 404
    with serving(tmp_path) as running, running.client() as client:
        assert client.get(f"/api/v1/events/{event.id}").json()["acknowledged_s"] == first["acknowledged_s"]


def test_purging_events_deletes_their_acknowledgements(tmp_path: Path) -> None:
    with serving(tmp_path) as running, running.browser() as (client, secret):
        event = running.add_event(make_event())
        wait_for_events(running, 1)
        client.post(f"/api/v1/alerts/{event.id}/acknowledge", headers=secret)
        with EventStore(running.settings.alerts.store, create=False) as store:
            assert store.query_int("SELECT count(*) FROM acknowledged") == 1
            purge(store, None)
            assert store.query_int("SELECT count(*) FROM acknowledged") == 0


def test_without_a_store_the_events_of_this_run_are_shown(tmp_path: Path) -> None:
    with serving(tmp_path, None, {"persist": False}) as running, running.browser() as (client, secret):
        event = running.add_event(make_event())
        running.add_event(make_event(2, EventKind.INCORRECT))
        assert [each["id"] for each in client.get("/api/v1/events?kind=no_mask").json()["events"]] == [event.id]
        response = client.post(f"/api/v1/alerts/{event.id}/acknowledge", headers=secret)
        assert client.get(f"/api/v1/events/{event.id}").json()["acknowledged_s"] == response.json()["acknowledged_s"]
        assert client.get("/api/v1/compliance").json()["total"]["alerts"] == 2
        for page in ("/", "/events", "/trends", "/health"):
            assert client.get(page).status_code == 200
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_event_store_is_reported_and_live_images_continue(tmp_path: Path) -> None:
    with serving(tmp_path) as running, running.client() as client:
        running.add_event(make_event())
        wait_for_events(running, 1)
        running.center.close(LIMIT_S)
        for path in tmp_path.glob("events.db*"):
            path.unlink()
        (tmp_path / "events.db").write_bytes(b"not a database" * 400)
        assert client.get("/api/v1/events").status_code == 503
        assert "damaged" in client.get("/api/v1/events").json()["error"]
        assert "damaged" in client.get("/events").text
        page = client.get("/")
        assert page.status_code == 200
        assert "damaged" in page.text
        assert client.get("/api/v1/cameras/1/picture.jpg").status_code == 200


def test_compliance_by_hour(running: Running) -> None:
    hour_s = 1_700_002_800
    for k, (masked, bare) in enumerate(((3, 1), (6, 0))):
        record_people(running.center, "door", hour_s + 3600 * k, masked, bare)
    record_people(running.center, "yard", hour_s, 0, 4)

    def compliance(query: str) -> Any:
        with running.client() as client:
            return client.get(f"/api/v1/compliance?{query}").json()

    wait_until(lambda: compliance("")["total"]["people"] == 14)
    both = compliance("")
    assert [(row["hour_s"], row["people"], row["compliance"]) for row in both["hours"]] == [
        (hour_s, 8, 3 / 8),
        (hour_s + 3600, 6, 1.0),
    ]
    assert both["total"]["compliance"] == 9 / 14
    assert compliance("camera=door")["total"]["people"] == 10
    assert compliance(f"since={hour_s + 3600}")["total"]["people"] == 6
    assert compliance(f"since={hour_s + 1}")["total"]["people"] == 14, "whole hours count"
    assert compliance(f"until={hour_s + 3600}")["total"]["people"] == 8
    assert compliance(f"until={hour_s + 3601}")["total"]["people"] == 14
    assert compliance("since=9000000000")["total"]["compliance"] is None


@pytest.fixture
def channel(tmp_path: Path) -> Iterator[tuple[Running, Path]]:
    """A web view with one channel that writes alerts to a file, and one that fails."""
    received = tmp_path / "received"
    write = "import sys,pathlib; pathlib.Path(sys.argv[1]).open('a').write(sys.stdin.read() + '\\n')"
    channels = [
        {"kind": "command", "name": "writes", "argv": [sys.executable, "-c", write, str(received)]},
        {"kind": "command", "name": "fails", "argv": ["false"], "events": ["camera_recovered"]},
    ]
    with serving(tmp_path, None, {"channels": channels}) as running:
        yield running, received


def test_a_test_alert_is_sent_to_every_channel_and_not_stored(channel: tuple[Running, Path]) -> None:
    running, received = channel
    with running.browser() as (client, secret):
        results = client.post("/api/v1/alerts/test", headers=secret).json()["results"]
        assert [(each["channel"], each["ok"]) for each in results] == [("writes", True), ("fails", False)]
        assert results[1]["error"]
        assert "a test of the channel" in received.read_text()
        assert client.get("/api/v1/events").json()["events"] == []
        assert "fails: " in client.get("/health").text
        form = {"csrf": secret["X-CSRF-Token"], "back": "/health"}
        page = client.post("/api/v1/alerts/test", data=form, follow_redirects=True).text
        assert "was sent" not in page, "a browser without scripts is not told more than happened"


def test_a_test_alert_without_channels_says_what_to_do(running: Running) -> None:
    with running.browser() as (client, secret):
        response = client.post("/api/v1/alerts/test", headers=secret)
        assert response.status_code == 409
        assert "alerts.channels" in response.json()["error"]


def test_events_of_a_muted_camera_are_stored_but_not_sent(channel: tuple[Running, Path]) -> None:
    running, received = channel
    with running.browser() as (client, secret):
        before = running.add_event(make_event(1))
        wait_until(lambda: received.exists() and before.id in received.read_text())
        response = client.post("/api/v1/cameras/1/mute", json={"minutes": 30}, headers=secret).json()
        shown_s = client.get("/api/v1/cameras/1").json()["muted_until_s"]
        assert shown_s == pytest.approx(response["muted_until_s"], abs=1), "computed from two clocks at each request"
        muted = running.add_event(make_event(2))
        running.add_event(make_event(3, EventKind.RESOLVED, resolves=muted.id))
        resolved = running.add_event(make_event(4, EventKind.RESOLVED, resolves=before.id))
        other = running.add_event(make_event(5, camera="yard"))
        wait_until(lambda: other.id in received.read_text() and resolved.id in received.read_text())
        assert client.post("/api/v1/cameras/1/unmute", headers=secret).json() == {"muted_until_s": None}
        after = running.add_event(make_event(6))
        wait_until(lambda: after.id in received.read_text())
        sent = [json.loads(line)["id"] for line in received.read_text().splitlines() if line]
        assert sent == [before.id, resolved.id, other.id, after.id]
        wait_for_events(running, 6)
        with EventStore(running.settings.alerts.store, create=False) as store:
            wait_until(lambda: len(store.deliveries(Status.SKIPPED)) == 2)
            assert {each.error for each in store.deliveries(Status.SKIPPED)} == {"muted"}


def test_a_camera_is_turned_by_a_request_that_the_main_thread_carries_out(running: Running) -> None:
    with running.browser() as (client, secret):
        assert client.post("/api/v1/cameras/1/turn").status_code == 403
        assert client.post("/api/v1/cameras/9/turn", headers=secret).status_code == 404
        assert client.post("/api/v1/cameras/1/turn", headers=secret).json() == {"camera": "door"}
        page = client.get("/").text
        form = {"csrf": secret["X-CSRF-Token"], "back": "/"}
        assert 'action="/api/v1/cameras/1/turn"' in page
        assert client.post("/api/v1/cameras/1/turn", data=form).headers["location"] == "/?said=turned"
    assert list(running.server.site.turns) == ["door", "door"]


def test_forms_work_without_javascript(running: Running) -> None:
    with running.client() as client:
        csrf = client.get("/").text.partition('name="csrf" value="')[2].partition('"')[0]
        response = client.post("/api/v1/cameras/1/mute", data={"csrf": csrf, "minutes": "15", "back": "/health"})
        assert response.status_code == 303
        assert response.headers["location"] == "/health?said=muted"
        assert "is muted" in client.get(response.headers["location"]).text
        assert running.mutes.until_s("door") is not None
        evil = {"csrf": csrf, "back": "https://evil.example/"}
        assert client.post("/api/v1/cameras/1/unmute", data=evil).headers["location"] == "/?said=unmuted"
        bad = client.post("/api/v1/cameras/1/mute", data={"csrf": csrf, "minutes": "soon"})
        assert bad.status_code == 400


@pytest.mark.parametrize("page", ["/?camera=2", "/?group=Hall", "/events?kind=no_mask&camera=door", "/health"])
def test_a_form_returns_to_the_page_as_it_was(tmp_path: Path, page: str) -> None:
    monitor = FakeMonitor("door", "yard")
    monitor.change(0, group="Hall")
    with serving(tmp_path, monitor) as running, running.client() as client:
        running.add_event(make_event())
        text = client.get(page).text
        csrf = text.partition('name="csrf" value="')[2].partition('"')[0]
        for back in set(re.findall(r'name="back" value="([^"]+)"', text)):
            form = {"csrf": csrf, "back": html.unescape(back), "minutes": "15"}
            location = client.post("/api/v1/cameras/1/mute", data=form).headers["location"]
            assert location == f"{page}{'&' if '?' in page else '?'}said=muted"
            assert client.get(location).status_code == 200


class Reader:
    """Reads the event stream in a thread."""

    def __init__(self, running: Running, query: str = "", **headers: str) -> None:
        self.messages: list[tuple[str, str, Any]] = []
        self._ready = threading.Event()
        self._client = running.client()
        self._headers, self._query = headers, query
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        assert self._ready.wait(LIMIT_S)

    def _run(self) -> None:
        with self._client.stream("GET", f"/api/v1/stream{self._query}", headers=self._headers) as response:
            fields: dict[str, str] = {}
            for line in response.iter_lines():
                name, _, value = line.partition(": ")
                if line:
                    fields[name] = value
                elif "data" in fields:
                    self.messages.append((fields["event"], fields.get("id", ""), json.loads(fields["data"])))
                    self._ready.set()
                    fields = {}
                if self._stop.is_set():
                    return

    def of(self, kind: str) -> list[Any]:
        return [value for each, _, value in list(self.messages) if each == kind]

    def close(self) -> None:
        self._stop.set()
        self._thread.join(LIMIT_S)
        assert not self._thread.is_alive()
        self._client.close()


def test_the_event_stream_sends_state_and_events_at_once(running: Running) -> None:
    reader = Reader(running)
    try:
        event = running.add_event(make_event())
        wait_until(lambda: reader.of("happening"))
        assert reader.of("happening")[0]["id"] == event.id
        running.monitor.state(SourceState.STALE)
        wait_until(lambda: reader.of("state")[-1]["cameras"][0]["is_stale"])
    finally:
        reader.close()


def test_a_reconnecting_page_gets_missed_events(running: Running) -> None:
    for number in range(1, 4):
        running.add_event(make_event(number))
    reader = Reader(running, **{"Last-Event-ID": "1"})
    try:
        wait_until(lambda: len(reader.of("happening")) == 2)
        assert [value["id"] for value in reader.of("happening")] == ["run-door-2", "run-door-3"]
        assert [number for kind, number, _ in reader.messages if kind == "happening"] == ["2", "3"]
    finally:
        reader.close()
    for invalid in ("9" * 30, "-1", "x", "77"):  # of an earlier run, or malformed: only new events are sent
        reader = Reader(running, **{"Last-Event-ID": invalid})
        reader.close()
        assert reader.of("happening") == []


def test_a_page_that_becomes_visible_again_gets_missed_events(running: Running) -> None:
    """Its connection is new, and browsers send ``Last-Event-ID`` only when they reconnect."""
    running.add_event(make_event(1))
    assert '<body data-page="live" data-last-event="1"' in running.get("/").text
    running.add_event(make_event(2))
    reader = Reader(running, "?after=1")
    try:
        wait_until(lambda: reader.of("happening"))
        assert [value["id"] for value in reader.of("happening")] == ["run-door-2"]
    finally:
        reader.close()


def test_a_burst_of_events_arrives_in_order(running: Running) -> None:
    reader = Reader(running)
    try:
        for number in range(150):
            running.server.publish(make_event(number))
        wait_until(lambda: len(reader.of("happening")) == 150)
        assert [value["id"] for value in reader.of("happening")] == [f"run-door-{number}" for number in range(150)]
    finally:
        reader.close()


def test_pages_are_served_while_channels_are_replaced(channel: tuple[Running, Path]) -> None:
    """The alert center has the new channels some time before the web view."""
    running, _ = channel
    renamed = running.settings.alerts.channels[0].model_copy(update={"name": "another"})
    running.center.reload(running.settings.alerts.model_copy(update={"channels": (renamed,)}))
    assert "another" in running.get("/health").text


def test_metrics_are_served_while_cameras_are_removed(tmp_path: Path) -> None:
    class Shrinking(FakeMonitor):
        def views(self) -> list[CameraView]:
            found = super().views()
            if len(found) > 1:
                self.remove(-1)
            return found

    with serving(tmp_path, Shrinking(*(f"camera {k}" for k in range(9)))) as running:
        running.get("/api/v1/cameras/1/picture.jpg")
        assert running.get("/metrics").status_code == 200


def test_metrics_follow_the_prometheus_conventions(tmp_path: Path) -> None:
    from prometheus_client.parser import text_string_to_metric_families

    monitor = FakeMonitor("door", "door")  # equal names must not give duplicate series
    with serving(tmp_path, monitor) as running, running.client() as client:
        running.add_event(make_event())
        client.get("/api/v1/cameras/1/picture.jpg")
        client.get("/missing")
        text = client.get("/metrics").text
    families = {family.name: family for family in text_string_to_metric_families(text)}
    samples = {
        (each.name, tuple(sorted(each.labels.items()))): each.value for f in families.values() for each in f.samples
    }
    assert len(samples) == sum(len(family.samples) for family in families.values())
    assert samples["maskwatch_camera_up", (("camera", "door (1)"),)] == 1
    assert samples["maskwatch_events_total", (("camera", "door"), ("kind", "no_mask"))] == 1
    assert samples["maskwatch_web_pictures_encoded_total", (("camera", "door (1)"),)] == 1
    assert samples["maskwatch_web_requests_total", (("method", "GET"), ("status", "404"))] == 1
    assert samples["maskwatch_faces", (("camera", "door (2)"), ("label", "no_mask"))] == 1
    for name, family in families.items():
        assert re.fullmatch(r"(maskwatch|process)_[a-z_]+", name), name
        assert family.documentation


def test_the_metrics_of_people_are_those_of_today_and_of_live_cameras(tmp_path: Path) -> None:
    monitor = FakeMonitor("door", "clip")
    monitor.change(1, is_live=False)
    with serving(tmp_path, monitor) as running, running.client() as client:
        for camera in ("door", "clip"):
            running.center.submit(make_event(camera=camera), counted=camera == "door")
            running.server.publish(make_event(camera=camera))
        running.center.add_hours([CameraHour("door", hour_of(time.time()), 4, 1, watched_s=60.0, paused_s=20.0)])
        text = client.get("/metrics").text
        assert len(client.get("/api/v1/events").json()["events"]) == 2, "they are shown"
        wait_until(lambda: client.get("/api/v1/compliance").json()["total"]["watched_s"] == 60.0)
        assert client.get("/api/v1/compliance").json()["total"]["alerts"] == 1
        page = client.get("/").text
    assert 'maskwatch_people_seen{camera="door",label="mask"} 4.0' in text
    assert 'maskwatch_time_seconds{camera="door",state="paused"} 20.0' in text
    assert 'maskwatch_events_total{camera="door",kind="no_mask"} 1.0' in text
    people = re.findall(r"^maskwatch_(?:faces|people_seen|time_seconds|events_total)\{.*clip.*", text, re.MULTILINE)
    assert people == []
    assert 'maskwatch_camera_up{camera="clip"} 1.0' in text
    assert "paused 20 s" in page
    assert "Live cameras only" in page


@pytest.mark.parametrize("persist", [False, True])
def test_events_that_are_not_stored_keep_their_snapshot_in_this_run(tmp_path: Path, persist: bool) -> None:
    alerts = {"persist": persist, "snapshots": "blur_all"}
    with serving(tmp_path, None, alerts) as running, running.client() as client:
        running.center.submit(make_event(), b"jpeg", counted=False)
        (event,) = client.get("/api/v1/events").json()["events"]
        assert event["has_picture"]
        assert client.get(f"/api/v1/events/{event['id']}/picture.jpg").content == b"jpeg"


def test_the_dashboard_uses_only_existing_metrics(tmp_path: Path) -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    expressions = " ".join(target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ()))
    names = set(re.findall(r"(?:maskwatch|process)_[a-z_]+", expressions))
    channels = [{"kind": "command", "name": "c", "argv": ["true"]}]
    with serving(tmp_path, None, {"channels": channels}) as running, running.client() as client:
        running.add_event(make_event())
        client.get("/api/v1/cameras/1/picture.jpg")
        exported = set(re.findall(r"^([a-z_]+)[{ ]", client.get("/metrics").text, re.MULTILINE))
    assert len(names) > 10
    assert names <= exported
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_readiness_depends_on_the_cameras(running: Running) -> None:
    def ready() -> int:
        return running.get("/readyz").status_code

    assert ready() == 200
    running.monitor.change(times=None)
    assert ready() == 503


def test_healthz_reports_a_crash_of_the_delivery(running: Running) -> None:
    running.center.failure = RuntimeError("boom")
    assert running.get("/healthz").status_code == 503


def test_cookies_are_secure_behind_a_tls_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAGE_TOKEN", TOKEN)
    with serving(tmp_path, token_env="PAGE_TOKEN", behind_tls=True) as running, running.client() as client:
        assert "; Secure" in client.get("/login").headers["set-cookie"]
