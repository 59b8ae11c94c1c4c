"""app.js in Node.js, with a stub of the page."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from app.web.words import script_words

SCRIPT = Path(__file__).parents[2] / "app" / "web" / "static" / "app.js"
PAGE = """
const fs = require("fs");
const handlers = {}, timers = [], connections = new Set(), requests = [], intervals = [];
const field = () => ({textContent: "", value: 0, hidden: false, classList: {toggle() {}, add() {}}, dataset: {},
  querySelector: field, querySelectorAll: () => []});
const parts = {'meta[name="csrf"]': {content: "x"}, "#words": {textContent: process.argv[2]}};
let opened = 0, last = null;
class EventSource {
  static CLOSED = 2;
  constructor(address) {
    Object.assign(this, {address, handlers: {}, readyState: 0});
    opened++; connections.add(this); last = this;
  }
  addEventListener(kind, run) { this.handlers[kind] = run; }
  close() { this.readyState = 2; connections.delete(this); }
  refuse() { this.close(); this.onerror(); }
}
Object.assign(globalThis, {
  EventSource,
  document: {hidden: false, documentElement: {lang: "en"}, body: {dataset: {}, classList: {toggle() {}}}, title: "",
    querySelector: (name) => parts[name] ?? null, querySelectorAll: () => [],
    addEventListener: (name, run) => { handlers[name] = run; }},
  matchMedia: () => ({matches: false}),
  fetch: async (address) => { requests.push(address); return {ok: false}; },
  setTimeout: (run) => timers.push(run),
  clearTimeout: (number) => { if (number) timers[number - 1] = () => {}; },
  setInterval: (run, pause_ms) => { intervals.push([run, pause_ms]); },
  clearInterval() {},
});
const load = () => (0, eval)(fs.readFileSync(process.argv[1], "utf8"));
const setHidden = (hidden) => { document.hidden = hidden; handlers.visibilitychange(); };
const runTimers = () => timers.splice(0).forEach((run) => run());
"""


def run(script: str) -> Any:
    """The JSON that ``script`` prints; it must call ``load()`` itself."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs Node.js: apt install nodejs")
    process = subprocess.run(
        [node, "-e", PAGE + script, str(SCRIPT), json.dumps(script_words())],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
    )
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


def test_today_starts_at_midnight_of_the_server() -> None:
    result = run("""
        const midnight = 1760000400;
        parts["[data-link]"] = field();
        parts["[data-today]"] = {...field(), dataset: {today: String(midnight)}};
        load();
        const [show] = intervals.find(([, pause_ms]) => pause_ms === 60000);
        show();
        for (const hours of [0, 23, 48]) {  // the second day has 23 hours
          const state = {day_s: midnight + hours * 3600, cameras: [], alerts: [], delivery: {channels: []}};
          last.handlers.state({data: JSON.stringify(state)});
          show();
        }
        console.log(JSON.stringify(requests.map((address) => (Number(address.split("since=")[1]) - midnight) / 3600)));
    """)
    assert result == [0, 0, 23, 48]


def test_a_page_has_at_most_one_connection() -> None:
    shown, hidden = run("""
        parts["[data-link]"] = field();
        load();
        last.refuse();
        setHidden(true); setHidden(false);
        runTimers();
        const shown = connections.size;
        setHidden(true); runTimers();
        console.log(JSON.stringify([shown, connections.size]));
    """)
    assert (shown, hidden) == (1, 0)


def test_a_refused_connection_is_retried() -> None:
    assert run("""
        parts["[data-link]"] = field();
        load();
        last.refuse();
        const refused = connections.size;
        runTimers();
        console.log(JSON.stringify([refused, connections.size, opened]));
    """) == [0, 1, 2]


def test_a_page_whose_session_ended_leads_to_the_sign_in() -> None:
    reloads = run("""
        parts["[data-link]"] = field();
        let reloads = 0, status = 503;
        globalThis.location = {reload: () => { reloads++; }};
        globalThis.fetch = async (address) => address.endsWith("/session") ? {status} : {ok: false};
        const after = async () => { last.refuse(); await new Promise((done) => setImmediate(done)); return reloads; };
        load();
        (async () => {
          const results = [await after()];
          status = 401;
          console.log(JSON.stringify([...results, await after()]));
        })();
    """)
    assert reloads == [0, 1]


def test_a_page_of_an_older_version_is_loaded_again() -> None:
    assert run("""
        parts["[data-link]"] = field();
        document.body.dataset.page = "wall";
        let reloads = 0;
        globalThis.location = {reload: () => { reloads++; }};
        load();
        const counts = [];
        for (const version of ["1.0.0", "1.0.0", "1.1.0"]) {
          const state = {version, day_s: 0, cameras: [], alerts: [], delivery: {channels: []}};
          last.handlers.state({data: JSON.stringify(state)});
          counts.push(reloads);
        }
        console.log(JSON.stringify(counts));
    """) == [0, 0, 1]


def test_a_page_without_live_state_opens_no_connection() -> None:
    assert (
        run("""
        load();
        setHidden(true); setHidden(false);
        console.log(JSON.stringify(opened));
    """)
        == 0
    )


def test_a_page_that_becomes_visible_again_requests_missed_events() -> None:
    """A background tab has no connection, even if it was opened in the background."""
    result = run("""
        parts["[data-link]"] = field();
        document.body.dataset.lastEvent = "4";
        document.hidden = true;
        load();
        setHidden(false);
        const first = last.address;
        last.handlers.happening({lastEventId: "7", data: "{}"});
        setHidden(true); setHidden(false);
        console.log(JSON.stringify([first, last.address]));
    """)
    assert result == ["/api/v1/stream?after=4", "/api/v1/stream?after=7"]
