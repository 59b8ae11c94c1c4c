"""The script of the pages, in Node.js with as much of a page as it needs."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "app" / "web" / "static" / "app.js"
PAGE = """
const fs = require("fs");
const handlers = {}, timers = [], links = new Set(), asked = [], intervals = [];
const field = () => ({textContent: "", value: 0, hidden: false, classList: {toggle() {}, add() {}}, dataset: {},
  querySelector: field, querySelectorAll: () => []});
const parts = {'meta[name="csrf"]': {content: "x"}};
let links_made = 0, last = null;
class EventSource {
  static CLOSED = 2;
  constructor(address) {
    Object.assign(this, {address, told: {}, readyState: 0});
    links_made++; links.add(this); last = this;
  }
  addEventListener(kind, run) { this.told[kind] = run; }
  close() { this.readyState = 2; links.delete(this); }
  refuse() { this.close(); this.onerror(); }
}
Object.assign(globalThis, {
  EventSource,
  document: {hidden: false, body: {dataset: {}}, title: "", querySelector: (name) => parts[name] ?? null,
    querySelectorAll: () => [], addEventListener: (name, run) => { handlers[name] = run; }},
  matchMedia: () => ({matches: false}),
  fetch: async (address) => { asked.push(address); return {ok: false}; },
  setTimeout: (run) => timers.push(run),
  clearTimeout: (number) => { if (number) timers[number - 1] = () => {}; },
  setInterval: (run, pause_ms) => { intervals.push([run, pause_ms]); },
  clearInterval() {},
});
const load = () => (0, eval)(fs.readFileSync(process.argv[1], "utf8"));
const turn = (hidden) => { document.hidden = hidden; handlers.visibilitychange(); };
const wait = () => timers.splice(0).forEach((run) => run());
"""


def run(script: str) -> Any:
    """What ``script``, which begins with the page not yet loaded, prints as JSON."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs Node.js")
    done = subprocess.run(
        [node, "-e", PAGE + script, str(SCRIPT)], capture_output=True, text=True, encoding="utf-8", timeout=60
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_today_begins_at_the_midnight_of_the_program() -> None:
    asked = run("""
        const midnight = 1760000400;
        parts["[data-link]"] = field();
        parts["[data-today]"] = {...field(), dataset: {today: String(midnight)}};
        load();
        const [show] = intervals.find(([, pause_ms]) => pause_ms === 60000);
        for (const hours of [-0.1, 0.5, 23.9, 24.1, 49]) { Date.now = () => (midnight + hours * 3600) * 1000; show(); }
        console.log(JSON.stringify(asked.map((address) => (Number(address.split("since=")[1]) - midnight) / 3600)));
    """)
    assert asked == [0, 0, 0, 24, 48]


def test_a_page_has_one_link_at_most() -> None:
    shown, hidden = run("""
        parts["[data-link]"] = field();
        load();
        last.refuse();
        turn(true); turn(false);
        wait();
        const shown = links.size;
        turn(true); wait();
        console.log(JSON.stringify([shown, links.size]));
    """)
    assert (shown, hidden) == (1, 0)


def test_a_link_that_was_refused_is_tried_again() -> None:
    assert run("""
        parts["[data-link]"] = field();
        load();
        last.refuse();
        const refused = links.size;
        wait();
        console.log(JSON.stringify([refused, links.size, links_made]));
    """) == [0, 1, 2]


def test_a_page_without_state_asks_for_no_link() -> None:
    assert (
        run("""
        load();
        turn(true); turn(false);
        console.log(JSON.stringify(links_made));
    """)
        == 0
    )


def test_a_page_that_is_looked_at_again_asks_for_what_it_missed() -> None:
    """A tab in the background has no link, nor has one that was opened there."""
    asked = run("""
        parts["[data-link]"] = field();
        document.body.dataset.heard = "4";
        document.hidden = true;
        load();
        turn(false);
        const first = last.address;
        last.told.happening({lastEventId: "7", data: "{}"});
        turn(true); turn(false);
        console.log(JSON.stringify([first, last.address]));
    """)
    assert asked == ["/api/v1/stream?after=4", "/api/v1/stream?after=7"]
