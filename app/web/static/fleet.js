"use strict";
// The cameras of a hub: a search, groups by site that can be closed, and only the rows in view as elements of the page.
// Values from the server are inserted as text, never as HTML.
(() => {
  const ROW_PX = 40, BEYOND = 8, EVERY_MS = 10000;
  const box = document.querySelector("[data-fleet]"), search = document.querySelector("#q");
  const scroller = box.querySelector("[data-scroll]"), rows = box.querySelector("[data-rows]");
  const words = JSON.parse(document.querySelector("#words").textContent), say = (text, ...values) => text.replace(/\{(\d)\}/g, (place, i) => values[i]);
  const root = document.body.dataset.root, closed = new Set();
  let cameras = [], lines = [];

  const rate = (row) => {
    const all = row.masked + row.incorrect + row.bare;
    return all ? say(words.percent, Math.round(100 * row.masked / all)) : "–";
  };
  const time = (seconds) => {
    const minutes = Math.round(seconds / 60);
    return seconds < 60 ? say(words.seconds, Math.round(seconds)) : minutes < 60 ? say(words.minutes, minutes) : say(words.hours, Math.floor(minutes / 60), minutes % 60);
  };
  const sum = (of, name) => of.reduce((total, row) => total + row[name], 0);

  const arrange = () => {  // the lines to show: a head for each site, followed by its cameras unless it is closed
    const wanted = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = cameras.filter((row) => wanted.every((word) => row.text.includes(word)));
    const sites = new Map();
    for (const row of found) sites.set(row.site, [...(sites.get(row.site) ?? []), row]);
    lines = [];
    for (const [site, of] of sites) {
      const sums = {site, people: sum(of, "people"), masked: sum(of, "masked"), incorrect: sum(of, "incorrect"), bare: sum(of, "bare"), watched_s: sum(of, "watched_s")};
      const live = of.filter((row) => row.state === "live").length;
      lines.push({...sums, head: true, name: site, state: say(words.live, live, of.length)});
      if (!closed.has(site)) lines.push(...of);
    }
    box.querySelector("[data-found]").textContent = say(words.found, found.length, cameras.length, sites.size);
    rows.style.height = `${lines.length * ROW_PX}px`;
    rows.setAttribute("aria-rowcount", lines.length);
    draw();
  };

  const cell = (text, role, name) => {
    const made = document.createElement("span");
    made.setAttribute("role", role);
    made.className = name;
    made.textContent = text;
    return made;
  };

  const line = (row, index) => {
    const made = document.createElement("div"), name = cell("", "rowheader", "fleet-name");
    made.setAttribute("role", "row");
    made.setAttribute("aria-rowindex", index + 1);
    made.className = row.head ? "fleet-row fleet-site" : "fleet-row";
    made.dataset.state = row.state;
    made.style.top = `${index * ROW_PX}px`;
    const target = document.createElement(row.head ? "button" : "a");
    if (row.head) {
      target.className = "plain";
      target.dataset.site = row.site;
      target.setAttribute("aria-expanded", !closed.has(row.site));
    } else target.href = `${root}/events?camera=${encodeURIComponent(`${row.site}/${row.name}`)}`;
    target.textContent = row.name;
    name.append(target);
    const counts = [row.people, row.masked, row.incorrect, row.bare, rate(row), time(row.watched_s)];
    made.append(name, cell(words.states[row.state] ?? row.state, "cell", "fleet-state"), ...counts.map((text) => cell(text, "cell", "num")));
    return made;
  };

  const draw = () => {
    const first = Math.max(0, Math.floor(scroller.scrollTop / ROW_PX) - BEYOND);
    const last = Math.ceil((scroller.scrollTop + scroller.clientHeight) / ROW_PX) + BEYOND;
    const focused = document.activeElement?.dataset?.site;
    rows.replaceChildren(...lines.slice(first, last).map((row, i) => line(row, first + i)));
    if (focused) rows.querySelector(`[data-site="${CSS.escape(focused)}"]`)?.focus({preventScroll: true});
  };

  const load = async () => {
    try {
      const answer = await fetch(`${root}/fleet/cameras`);
      if (answer.ok) {
        const order = new Intl.Collator(undefined, {numeric: true}).compare;
        const rows = (await answer.json()).sort((one, other) => order(one.site, other.site) || order(one.name, other.name));
        cameras = rows.map((row) => ({...row, text: `${row.site}\n${row.name}\n${row.state}\n${words.states[row.state]}`.toLowerCase()}));
        arrange();
      }
    } catch { /* the hub does not answer now: the next call tries again */ }
  };

  search.addEventListener("input", () => { scroller.scrollTop = 0; arrange(); });
  scroller.addEventListener("scroll", draw);
  rows.addEventListener("click", (event) => {
    const site = event.target.dataset.site;
    if (site === undefined) return;
    if (!closed.delete(site)) closed.add(site);
    arrange();
  });
  box.querySelector("[data-close-all]").addEventListener("click", () => {
    const sites = new Set(cameras.map((row) => row.site)), close = closed.size < sites.size;
    closed.clear();
    if (close) sites.forEach((site) => closed.add(site));
    arrange();
  });
  box.hidden = false;
  document.querySelector("[data-fleet-table]").hidden = true;
  load();
  setInterval(() => { if (!document.hidden) load(); }, EVERY_MS);
})();
