"""The JSON API, the live feed, the metrics."""

import csv
import io
import json
import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes_web import LIMIT_S, TOKEN, FakeMonitor, Running, an_event, serving, wait_until

from app.alerts.event_store import EventStore
from app.alerts.outbox import Status
from app.alerts.retention import purge
from app.capture.capture import SourceState
from app.core.types import EventKind

DASHBOARD = Path(__file__).parents[2] / "packaging" / "grafana-dashboard.json"


def stored(running: Running, count: int) -> None:
    with running.client() as client:
        wait_until(lambda: len(client.get("/api/v1/events").json()["events"]) >= count)


def test_status_tells_all_of_every_camera(tmp_path: Path) -> None:
    monitor = FakeMonitor("door", "yard")
    event = an_event()
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


def test_events_with_filters_pictures_and_csv(tmp_path: Path) -> None:
    with (
        serving(tmp_path, FakeMonitor("door", "yard"), {"snapshots": "blur_all"}) as running,
        running.client() as client,
    ):
        first = running.happen(an_event(1), b"\xff\xd8 a picture")
        running.happen(an_event(2, EventKind.INCORRECT, "yard"))
        last = running.happen(an_event(3, EventKind.RESOLVED, resolves=first.id, box=None))
        stored(running, 3)

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
        assert client.get(f"/api/v1/events/{first.id}/picture.jpg").content == b"\xff\xd8 a picture"
        assert client.get(f"/api/v1/events/{last.id}/picture.jpg").status_code == 404
        assert client.get("/api/v1/events/none").status_code == 404
        table = client.get("/api/v1/events.csv?kind=no_mask&kind=incorrect")
        assert table.headers["content-type"].startswith("text/csv")
        assert "attachment" in table.headers["content-disposition"]
        assert [row["id"] for row in csv.DictReader(io.StringIO(table.text))] == [first.id, "run-yard-2"]
        for bad in ("since=soon", "since=nan", "until=-1", "limit=0", "limit=9999", "kind=nonsense", "camera=a%00b"):
            assert client.get(f"/api/v1/events?{bad}").status_code == 400, bad


def test_what_happened_before_this_run_is_there_too(tmp_path: Path) -> None:
    with serving(tmp_path) as running:
        event = running.happen(an_event())
        stored(running, 1)
    with serving(tmp_path) as running, running.client() as client:
        assert client.get(f"/api/v1/events/{event.id}").json()["id"] == event.id
        assert client.get("/events").text.count("<tr class=") == 1


def test_acknowledging_lasts(tmp_path: Path) -> None:
    with serving(tmp_path) as running, running.browser() as (client, secret):
        event = running.happen(an_event())
        running.monitor.change(alerts=(event,))
        stored(running, 1)
        first = client.post(f"/api/v1/alerts/{event.id}/acknowledge", headers=secret).json()
        again = client.post(f"/api/v1/alerts/{event.id}/acknowledge", headers=secret).json()
        assert first == again, "the first time counts"
        assert client.get("/api/v1/alerts").json()["events"][0]["acknowledged_s"] == first["acknowledged_s"]
        assert client.post("/api/v1/alerts/none/acknowledge", headers=secret).status_code == 404
    with serving(tmp_path) as running, running.client() as client:
        assert client.get(f"/api/v1/events/{event.id}").json()["acknowledged_s"] == first["acknowledged_s"]


def test_purged_events_take_what_was_acknowledged_with_them(tmp_path: Path) -> None:
    with serving(tmp_path) as running, running.browser() as (client, secret):
        event = running.happen(an_event())
        stored(running, 1)
        client.post(f"/api/v1/alerts/{event.id}/acknowledge", headers=secret)
        with EventStore(running.settings.alerts.store, create=False) as store:
            assert store.number("SELECT count(*) FROM acknowledged") == 1
            purge(store, None)
            assert store.number("SELECT count(*) FROM acknowledged") == 0


def test_nothing_kept_on_disk_still_shows_this_run(tmp_path: Path) -> None:
    with serving(tmp_path, None, {"persist": False}) as running, running.browser() as (client, secret):
        event = running.happen(an_event())
        running.happen(an_event(2, EventKind.INCORRECT))
        assert [each["id"] for each in client.get("/api/v1/events?kind=no_mask").json()["events"]] == [event.id]
        answer = client.post(f"/api/v1/alerts/{event.id}/acknowledge", headers=secret)
        assert client.get(f"/api/v1/events/{event.id}").json()["acknowledged_s"] == answer.json()["acknowledged_s"]
        assert client.get("/api/v1/compliance").json()["total"]["alerts"] == 2
        for page in ("/", "/events", "/trends", "/health"):
            assert client.get(page).status_code == 200
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_event_file_is_told_and_the_pictures_go_on(tmp_path: Path) -> None:
    with serving(tmp_path) as running, running.client() as client:
        running.happen(an_event())
        stored(running, 1)
        running.center.close(LIMIT_S)
        for path in tmp_path.glob("events.db*"):
            path.unlink()
        (tmp_path / "events.db").write_bytes(b"no database at all" * 400)
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
        running.center.record_presence("door", hour_s + 3600 * k, masked, bare)
    running.center.record_presence("yard", hour_s, 0, 4)

    def asked(query: str) -> Any:
        with running.client() as client:
            return client.get(f"/api/v1/compliance?{query}").json()

    wait_until(lambda: asked("")["total"]["people"] == 14)
    both = asked("")
    assert [(row["hour_s"], row["people"], row["compliance"]) for row in both["hours"]] == [
        (hour_s, 8, 3 / 8),
        (hour_s + 3600, 6, 1.0),
    ]
    assert both["total"]["compliance"] == 9 / 14
    assert asked("camera=door")["total"]["people"] == 10
    assert asked(f"since={hour_s + 3600}")["total"]["people"] == 6
    assert asked(f"since={hour_s + 1}")["total"]["people"] == 14, "the whole hour"
    assert asked(f"until={hour_s + 3600}")["total"]["people"] == 8
    assert asked(f"until={hour_s + 3601}")["total"]["people"] == 14
    assert asked("since=9000000000")["total"]["compliance"] is None


@pytest.fixture
def channel(tmp_path: Path) -> Iterator[tuple[Running, Path]]:
    """A view with one channel that writes what it gets to a file, and one that fails."""
    got = tmp_path / "got"
    write = "import sys,pathlib; pathlib.Path(sys.argv[1]).open('a').write(sys.stdin.read() + '\\n')"
    channels = [
        {"kind": "command", "name": "writes", "argv": [sys.executable, "-c", write, str(got)]},
        {"kind": "command", "name": "fails", "argv": ["false"], "events": ["camera_recovered"]},
    ]
    with serving(tmp_path, None, {"channels": channels}) as running:
        yield running, got


def test_a_test_alert_goes_through_every_channel_and_is_no_event(channel: tuple[Running, Path]) -> None:
    running, got = channel
    with running.browser() as (client, secret):
        results = client.post("/api/v1/alerts/test", headers=secret).json()["results"]
        assert [(each["channel"], each["ok"]) for each in results] == [("writes", True), ("fails", False)]
        assert results[1]["error"]
        assert "a test of the channel" in got.read_text()
        assert client.get("/api/v1/events").json()["events"] == []
        assert "fails: " in client.get("/health").text


def test_a_test_alert_without_channels_says_what_to_do(running: Running) -> None:
    with running.browser() as (client, secret):
        answer = client.post("/api/v1/alerts/test", headers=secret)
        assert answer.status_code == 409
        assert "alerts.channels" in answer.json()["error"]


def test_a_muted_camera_is_kept_but_not_told(channel: tuple[Running, Path]) -> None:
    running, got = channel
    with running.browser() as (client, secret):
        before = running.happen(an_event(1))
        wait_until(lambda: got.exists() and before.id in got.read_text())
        answer = client.post("/api/v1/cameras/1/mute", json={"minutes": 30}, headers=secret).json()
        shown_s = client.get("/api/v1/cameras/1").json()["muted_until_s"]
        assert shown_s == pytest.approx(answer["muted_until_s"], abs=1), "it is reckoned anew each time, of two clocks"
        muted = running.happen(an_event(2))
        running.happen(an_event(3, EventKind.RESOLVED, resolves=muted.id))
        told_end = running.happen(an_event(4, EventKind.RESOLVED, resolves=before.id))
        other = running.happen(an_event(5, camera="yard"))
        wait_until(lambda: other.id in got.read_text() and told_end.id in got.read_text())
        assert client.post("/api/v1/cameras/1/unmute", headers=secret).json() == {"muted_until_s": None}
        after = running.happen(an_event(6))
        wait_until(lambda: after.id in got.read_text())
        told = [json.loads(line)["id"] for line in got.read_text().splitlines() if line]
        assert told == [before.id, told_end.id, other.id, after.id]
        stored(running, 6)
        with EventStore(running.settings.alerts.store, create=False) as store:
            wait_until(lambda: len(store.deliveries(Status.SKIPPED)) == 2)
            assert {each.error for each in store.deliveries(Status.SKIPPED)} == {"muted"}


def test_forms_work_without_script(running: Running) -> None:
    with running.client() as client:
        csrf = client.get("/").text.partition('name="csrf" value="')[2].partition('"')[0]
        answer = client.post("/api/v1/cameras/1/mute", data={"csrf": csrf, "minutes": "15", "back": "/health"})
        assert answer.status_code == 303
        assert answer.headers["location"] == "/health?said=muted"
        assert "is muted" in client.get(answer.headers["location"]).text
        assert running.mutes.until_s("door") is not None
        evil = {"csrf": csrf, "back": "https://evil.example/"}
        assert client.post("/api/v1/cameras/1/unmute", data=evil).headers["location"] == "/?said=unmuted"
        bad = client.post("/api/v1/cameras/1/mute", data={"csrf": csrf, "minutes": "soon"})
        assert bad.status_code == 400


class Reader:
    """Reads the live feed in a thread."""

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
        with self._client.stream("GET", f"/api/v1/stream{self._query}", headers=self._headers) as answer:
            fields: dict[str, str] = {}
            for line in answer.iter_lines():
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


def test_the_feed_tells_state_and_events_at_once(running: Running) -> None:
    reader = Reader(running)
    try:
        event = running.happen(an_event())
        wait_until(lambda: reader.of("happening"))
        assert reader.of("happening")[0]["id"] == event.id
        running.monitor.state(SourceState.STALE)
        wait_until(lambda: reader.of("state")[-1]["cameras"][0]["is_stale"])
    finally:
        reader.close()


def test_a_page_that_comes_back_gets_what_it_missed(running: Running) -> None:
    for number in range(1, 4):
        running.happen(an_event(number))
    reader = Reader(running, **{"Last-Event-ID": "1"})
    try:
        wait_until(lambda: len(reader.of("happening")) == 2)
        assert [value["id"] for value in reader.of("happening")] == ["run-door-2", "run-door-3"]
        assert [number for kind, number, _ in reader.messages if kind == "happening"] == ["2", "3"]
    finally:
        reader.close()
    for odd in ("9" * 30, "-1", "x", "77"):  # of an earlier run, or made up: only what comes from now on
        reader = Reader(running, **{"Last-Event-ID": odd})
        reader.close()
        assert reader.of("happening") == []


def test_a_page_that_is_looked_at_again_gets_what_it_missed(running: Running) -> None:
    """Its link is a new one, and no browser sends ``Last-Event-ID`` with that."""
    running.happen(an_event(1))
    assert '<body data-page="live" data-heard="1">' in running.get("/").text
    running.happen(an_event(2))
    reader = Reader(running, "?after=1")
    try:
        wait_until(lambda: reader.of("happening"))
        assert [value["id"] for value in reader.of("happening")] == ["run-door-2"]
    finally:
        reader.close()


def test_a_burst_of_events_wakes_but_does_not_wait(running: Running) -> None:
    reader = Reader(running)
    try:
        for number in range(150):
            running.server.note(an_event(number))
        wait_until(lambda: len(reader.of("happening")) == 150)
        assert [value["id"] for value in reader.of("happening")] == [f"run-door-{number}" for number in range(150)]
    finally:
        reader.close()


def test_metrics_follow_the_ecosystems_rules(tmp_path: Path) -> None:
    from prometheus_client.parser import text_string_to_metric_families

    monitor = FakeMonitor("door", "door")  # two of one name must not be two series of one
    with serving(tmp_path, monitor) as running, running.client() as client:
        running.happen(an_event())
        client.get("/api/v1/cameras/1/picture.jpg")
        client.get("/nothing")
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


def test_the_dashboard_asks_only_for_metrics_that_are_there(tmp_path: Path) -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    asked = " ".join(target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ()))
    names = set(re.findall(r"(?:maskwatch|process)_[a-z_]+", asked))
    channels = [{"kind": "command", "name": "c", "argv": ["true"]}]
    with serving(tmp_path, None, {"channels": channels}) as running, running.client() as client:
        running.happen(an_event())
        client.get("/api/v1/cameras/1/picture.jpg")
        given = set(re.findall(r"^([a-z_]+)[{ ]", client.get("/metrics").text, re.MULTILINE))
    assert len(names) > 10
    assert names <= given
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_readiness_follows_the_cameras(running: Running) -> None:
    def ready() -> int:
        return running.get("/readyz").status_code

    assert ready() == 200
    running.monitor.change(counts=None)
    assert ready() == 503


def test_a_crash_of_the_delivery_shows_in_healthz(running: Running) -> None:
    running.center._crash = RuntimeError("boom")
    assert running.get("/healthz").status_code == 503


def test_only_https_cookies_where_a_proxy_speaks_https(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAGE_TOKEN", TOKEN)
    with serving(tmp_path, token_env="PAGE_TOKEN", behind_tls=True) as running, running.client() as client:
        assert "; Secure" in client.get("/login").headers["set-cookie"]
