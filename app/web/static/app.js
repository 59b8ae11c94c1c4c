"use strict";
// Keeps the page up to date: state and events come as server-sent events; forms act without leaving the page.
// Nothing is ever put in as HTML: all that comes from the server is text.
(() => {
  const KINDS = {no_mask: "No mask", incorrect: "Worn wrong", resolved: "Resolved", camera_offline: "Camera offline", camera_recovered: "Camera back"};
  const REASONS = {mask: "mask on", left: "left the picture"};
  const STATES = {connecting: "Connecting", live: "Live", stale: "Stale", reconnecting: "Reconnecting", ended: "Ended", failed: "Failed"};
  const RECENT = 12;
  const STILL_MS = 1000, SLOW_STILL_MS = 5000;
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const one = (selector, root = document) => root.querySelector(selector);
  const csrf = one('meta[name="csrf"]').content;
  const who = (event) => event.camera + (event.people > 1 ? `, ${event.people} people` : event.track_id ? `, person ${event.track_id}` : "");
  const clock = (wall_s) => new Date(wall_s * 1000).toLocaleTimeString([], {hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false});

  const put = (root, name, text) => {
    const field = one(`[data-field="${name}"]`, root);
    if (field && field.textContent !== String(text)) field.textContent = text;
  };
  const putTime = (root, name, wall_s) => {
    const field = one(`[data-field="${name}"]`, root);
    if (!field) return;
    const time = document.createElement("time");
    time.dateTime = new Date(wall_s * 1000).toISOString();
    time.textContent = clock(wall_s);
    field.replaceChildren(time);
  };

  // -- what the program sees --------------------------------------------------------------------------------------
  const showCamera = (camera) => {
    for (const root of all(`[data-camera="${camera.id}"]`)) {
      root.dataset.state = camera.state;
      root.classList.toggle("is-stale", camera.is_stale);
      put(root, "state", camera.state === "live" && !camera.is_live ? "Playing" : STATES[camera.state]);
      for (const [name, count] of Object.entries(camera.now)) put(root, `now-${name}`, count);
      const digits = document.body.dataset.page === "health" ? 1 : 0;
      put(root, "fps", camera.fps.toFixed(digits));
      put(root, "analysed", camera.analysis_fps.toFixed(digits));
      put(root, "age", camera.age_s === null ? "–" : `${camera.age_s.toFixed(1)} s`);
      put(root, "old-words", camera.is_live && camera.age_s !== null ? `, ${camera.age_s.toFixed(1)} s old` : "");
      put(root, "frames", camera.frames);
      put(root, "dropped", camera.dropped);
      put(root, "reconnects", camera.reconnects);
      put(root, "note", camera.note);
      const old = one('[data-field="old"]', root);
      if (old) {
        old.hidden = !camera.is_stale;
        old.className = camera.age_s === null ? "hide" : "old";  // without a picture the words are in its place
        put(root, "old", camera.is_stale && camera.age_s !== null ? `This picture is ${Math.round(camera.age_s)} s old. ${camera.note}` : camera.note);
      }
      const muted = camera.muted_until_s !== null;
      for (const form of all("[data-mute]", root)) form.hidden = muted;
      for (const form of all("[data-unmute]", root)) form.hidden = !muted;
      if (muted) putTime(root, "muted", camera.muted_until_s);
    }
  };

  const showAlerts = (alerts) => {
    const banner = one("[data-alerts]");
    if (!banner) return;
    const list = one("ul", banner);
    const ids = new Set(alerts.map((alert) => alert.id));
    for (const item of all("[data-alert]", list)) if (!ids.has(item.dataset.alert)) item.remove();
    for (const alert of alerts) {
      let item = all("[data-alert]", list).find((each) => each.dataset.alert === alert.id);
      if (!item) {
        item = one("#alert-item").content.firstElementChild.cloneNode(true);
        item.dataset.alert = alert.id;
        one("form", item).action = `/api/v1/alerts/${encodeURIComponent(alert.id)}/acknowledge`;
        put(item, "kind", KINDS[alert.kind]);
        put(item, "who", who(alert));
        putTime(item, "time", alert.wall_s);
        list.append(item);
      }
      if (alert.acknowledged_s !== null) known(item);
    }
    banner.hidden = alerts.length === 0;
    document.title = document.title.replace(/^\(\d+\) /, "");
    const open = alerts.filter((alert) => alert.acknowledged_s === null).length;
    if (open) document.title = `(${open}) ${document.title}`;
  };
  const known = (item) => {
    item.classList.add("is-known");
    const button = one("button", item);
    if (!button.disabled) { button.disabled = true; button.textContent = "Acknowledged"; }
  };

  const showEvent = (event) => {
    const news = one("[data-news]");
    if (news) news.hidden = false;
    const list = one("[data-recent]");
    if (!list || all("[data-event]", list).some((each) => each.dataset.event === event.id)) return;
    const item = one("#event-item").content.firstElementChild.cloneNode(true);
    item.dataset.event = event.id;
    item.className = `event kind-${event.kind} is-new`;
    put(item, "kind", KINDS[event.kind]);
    put(item, "who", who(event) + (event.reason ? `: ${REASONS[event.reason] || event.reason}` : ""));
    putTime(item, "time", event.wall_s);
    list.prepend(item);
    while (list.children.length > RECENT) list.lastElementChild.remove();
    one("[data-empty]").hidden = true;
  };

  const showChannels = (delivery) => {
    for (const channel of delivery.channels) {
      const row = all("[data-channel]").find((each) => each.dataset.channel === channel.name);
      if (!row) continue;
      for (const name of ["state", "waiting", "delivered", "undelivered"]) put(row, name, channel[name]);
      put(row, "error", channel.error || "–");
      one(".chip", row).className = `chip chip-${channel.state}`;
    }
  };

  const showToday = async () => {
    const card = one("[data-today]");
    if (!card) return;
    const served_s = Number(card.dataset.today), day_s = 86400;  // midnight where the program runs
    const midnight = served_s + Math.max(0, Math.floor((Date.now() / 1000 - served_s) / day_s)) * day_s;
    const response = await fetch(`/api/v1/compliance?since=${midnight}`);
    if (!response.ok) return;
    const total = (await response.json()).total;
    put(card, "compliance", total.compliance === null ? "–" : `${Math.round(total.compliance * 100)} %`);
    one("meter", card).value = total.compliance ?? 0;
    for (const name of ["people", "bare", "incorrect", "alerts"]) put(card, name, total[name]);
  };

  // -- the link ---------------------------------------------------------------------------------------------------
  let source = null, retry = 0, lastHeard_ms = 0;
  let heard = document.body.dataset.heard ?? "";  // the last event that the page has: a tab in the background has no link
  const sayLink = (on) => {
    const link = one("[data-link]");
    if (!link) return;
    link.hidden = false;
    link.classList.toggle("is-on", on);
    link.classList.toggle("is-off", !on);
    const words = one("[data-link-words]", link), text = on ? "Connected" : "No connection";
    if (words.textContent !== text) words.textContent = text;
    if (!on) for (const root of all(".camera")) root.classList.add("is-stale");
  };
  const disconnect = () => {
    clearTimeout(retry);
    source?.close();
  };
  const connect = () => {
    if (!one("[data-link]")) return;
    disconnect();
    source = new EventSource(`/api/v1/stream${heard && `?after=${heard}`}`);
    source.addEventListener("state", (message) => {
      lastHeard_ms = Date.now();
      sayLink(true);
      const state = JSON.parse(message.data);
      state.cameras.forEach(showCamera);
      showAlerts(state.alerts);
      showChannels(state.delivery);
    });
    source.addEventListener("happening", (message) => { heard = message.lastEventId; showEvent(JSON.parse(message.data)); showToday().catch(() => {}); });
    source.onerror = () => {
      sayLink(false);
      if (source.readyState === EventSource.CLOSED) retry = setTimeout(() => document.hidden || connect(), 5000);
    };
  };

  // -- the pictures -----------------------------------------------------------------------------------------------
  const pictures = all("[data-picture]");
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const STREAMS = 3;
  let paused = false, ticking = 0;
  const refresh = () => {
    for (const picture of pictures) picture.src = `/api/v1/cameras/${picture.dataset.picture}/picture.jpg?at=${Date.now()}`;
  };
  const showPictures = () => {
    clearInterval(ticking);
    const streams = pictures.length <= STREAMS && !still;
    const run = !document.hidden && !paused;
    if (run && streams) for (const picture of pictures) picture.src = `/api/v1/cameras/${picture.dataset.picture}/stream.mjpeg?at=${Date.now()}`;
    if (!run && pictures.length) document.hidden ? pictures.forEach((picture) => picture.removeAttribute("src")) : refresh();
    if (run && !streams && pictures.length) { refresh(); ticking = setInterval(refresh, still ? SLOW_STILL_MS : STILL_MS); }
  };
  for (const picture of pictures) {
    picture.addEventListener("load", () => { if (picture.naturalWidth) { picture.width = picture.naturalWidth; picture.height = picture.naturalHeight; } });
    picture.addEventListener("error", () => { if (picture.hasAttribute("src")) setTimeout(() => paused || document.hidden || showPictures(), 3000); });
  }
  const pause = one("[data-pause]");
  if (pause) {
    pause.hidden = false;
    pause.addEventListener("click", () => {
      paused = !paused;
      pause.textContent = paused ? "Play pictures" : "Pause pictures";
      showPictures();
    });
  }
  document.addEventListener("visibilitychange", () => {  // a tab in the background takes nothing
    if (document.hidden) { disconnect(); } else { connect(); }
    showPictures();
  });

  // -- acting -----------------------------------------------------------------------------------------------------
  const say = (text, bad = false) => {
    const said = one("[data-said]");
    said.classList.toggle("is-bad", bad);
    said.hidden = false;
    said.textContent = text;
  };
  const act = async (form) => {
    const values = Object.fromEntries([...new FormData(form)].filter(([name]) => name !== "csrf" && name !== "back"));
    for (const name of Object.keys(values)) values[name] = Number(values[name]);
    const button = one("button", form);
    button.disabled = true;
    try {
      const response = await fetch(form.action, {
        method: "POST",
        headers: {"Content-Type": "application/json", "X-CSRF-Token": csrf},
        body: JSON.stringify(values),
      });
      const answer = await response.json();
      if (!response.ok) { say(answer.error, true); return; }
      say(form.dataset.act);
      const alert = form.closest("[data-alert]"), row = form.closest("[data-camera]");
      if (alert) known(alert);
      if (row && "muted_until_s" in answer) {
        const muted = answer.muted_until_s !== null;
        one("[data-mute]", row).hidden = muted;
        one("[data-unmute]", row).hidden = !muted;
        if (muted) putTime(row, "muted", answer.muted_until_s);
      }
      if ("once" in form.dataset) form.replaceChildren(document.createTextNode(clock(answer.acknowledged_s)));
      if ("test" in form.dataset) showResults(answer.results);
    } catch {
      say("The program does not answer.", true);
    } finally {
      if (!form.closest(".is-known")) button.disabled = false;
    }
  };
  const showResults = (results) => {
    one("[data-results]").replaceChildren(...results.map((result) => {
      const item = document.createElement("li");
      item.className = result.ok ? "good" : "bad";
      item.textContent = `${result.channel}: ${result.ok ? "sent" : result.error}`;
      return item;
    }));
  };
  document.addEventListener("submit", (event) => {
    if (!("act" in event.target.dataset)) return;
    event.preventDefault();
    act(event.target);
  });
  for (const part of all(".scroll")) part.scrollLeft = part.scrollWidth;  // the newest hours first
  const print = one("[data-print]");
  if (print) { print.hidden = false; print.addEventListener("click", () => window.print()); }

  for (const time of all("time[datetime]")) {
    const at = new Date(time.dateTime);
    if (!time.closest("td, th") && at.getTime() > 0) time.textContent = clock(at.getTime() / 1000);
  }
  if (one("[data-link]")) {
    if (still || document.hidden) showPictures();
    if (!document.hidden) connect();
    if (pictures.length > STREAMS) showPictures();
    setInterval(() => { if (!document.hidden && lastHeard_ms && Date.now() - lastHeard_ms > 6000) sayLink(false); }, 2000);
    setInterval(() => { if (!document.hidden) showToday().catch(() => {}); }, 60000);
  }
})();
