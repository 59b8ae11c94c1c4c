"use strict";
// Keeps the page up to date: state and events arrive as server-sent events; forms are sent without leaving the page.
// Values from the server are inserted as text, never as HTML.
(() => {
  const MAX_RECENT = 12;
  const REDUCED_MOTION_INTERVAL_MS = 5000;
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const one = (selector, root = document) => root.querySelector(selector);
  const base = document.body.dataset.root ?? "";  // the path under which a proxy serves the pages, or ""
  const csrf = one('meta[name="csrf"]').content;
  const words = JSON.parse(one("#words").textContent), lang = document.documentElement.lang;
  const say = (text, ...values) => text.replace(/\{(\d)\}/g, (place, i) => values[i]);
  const decimal = (value, digits) => value.toLocaleString(lang, {minimumFractionDigits: digits, maximumFractionDigits: digits, useGrouping: false});
  const seconds = (value, digits = 1) => say(words.seconds, decimal(value, digits));
  const who = (event) => event.camera + (event.zone && `, ${event.zone}`) + (event.people > 1 ? `, ${say(words.people, event.people)}` : event.track_id ? `, ${say(words.person, event.track_id)}` : "");
  const RECENT_MS = 20 * 3600 * 1000;
  const OFFSET_MS = 1000 * (document.body.dataset.offset ?? 0);  // of the server's time zone, in which all times are shown
  const clock = (wall_s) => {  // the time, with the day if it is not the last one
    const isRecent = Math.abs(Date.now() - wall_s * 1000) < RECENT_MS, at = new Date(wall_s * 1000 + OFFSET_MS);
    return at.toLocaleString(lang, {timeZone: "UTC", hour: "2-digit", minute: "2-digit", hourCycle: "h23", ...isRecent ? {second: "2-digit"} : {day: "2-digit", month: "short"}});
  };

  const put = (root, name, text) => {
    const field = one(`[data-field="${name}"]`, root);
    if (field && field.textContent !== String(text)) field.textContent = text;
  };
  const putTime = (root, name, wall_s) => {
    const field = one(`[data-field="${name}"]`, root);
    const at = new Date(wall_s * 1000).toISOString();
    if (!field || field.firstElementChild?.dateTime === at) return;  // a change would be read aloud again
    const time = document.createElement("time");
    time.dateTime = at;
    time.textContent = clock(wall_s);
    field.replaceChildren(time);
  };

  const showMuted = (root, until_s) => {
    const muted = until_s !== null;
    for (const form of all("[data-mute]", root)) form.hidden = muted;
    for (const form of all("[data-unmute]", root)) form.hidden = !muted;
    if (muted) putTime(root, "muted", until_s);
  };

  // -- cameras, alerts, events, channels -------------------------------------------------------------------------------
  const showCamera = (camera) => {
    for (const root of all(`[data-camera="${camera.id}"]`)) {
      root.dataset.state = camera.state;
      root.classList.toggle("is-stale", camera.is_stale);
      put(root, "state", words.states[camera.state === "live" && !camera.is_live ? "playing" : camera.state]);
      for (const [name, count] of Object.entries(camera.now)) put(root, `now-${name}`, count);
      const inside = one("[data-inside]", root);
      if (inside && camera.occupancy) {
        for (const name of ["entered", "exited", "inside", "limit"]) put(inside, name, camera.occupancy[name]);
        inside.classList.toggle("is-full", camera.occupancy.is_full);
      }
      const digits = document.body.dataset.page === "health" ? 1 : 0;
      put(root, "fps", decimal(camera.fps, digits));
      put(root, "analysed", decimal(camera.analysis_fps, digits));
      put(root, "age", camera.age_s === null ? "–" : seconds(camera.age_s));
      put(root, "age-text", camera.is_live && camera.age_s !== null ? say(words.age, seconds(camera.age_s)) : "");
      put(root, "frames", camera.frames);
      put(root, "dropped", camera.dropped);
      put(root, "reconnects", camera.reconnects);
      put(root, "note", camera.note);
      const old = one('[data-field="old"]', root);
      if (old) {
        old.hidden = !camera.is_stale;
        old.className = camera.age_s === null ? "hide" : "old";  // without a frame the image shows the message
        put(root, "old", camera.is_stale && camera.age_s !== null ? `${say(words.old, seconds(camera.age_s, 0))} ${camera.note}` : camera.note);
      }
      const badge = one("[data-badge]", root);
      if (badge) badge.hidden = camera.offline_since_s === null;
      if (camera.offline_since_s !== null) putTime(root, "since", camera.offline_since_s);
      showMuted(root, camera.muted_until_s);
    }
  };

  const showOffline = (cameras) => {
    const banner = one("[data-offline-list]");
    if (!banner) return;
    const offline = cameras.filter((camera) => camera.offline_since_s !== null);
    const known = new Map(all("[data-offline]", banner).map((item) => [item.dataset.offline, item]));
    const list = one("ul", banner), items = offline.map((camera) => {
      const item = known.get(String(camera.id)) ?? one("#offline-item").content.firstElementChild.cloneNode(true);
      item.dataset.offline = camera.id;
      put(item, "name", camera.name);
      put(item, "reason", camera.note);
      putTime(item, "since", camera.offline_since_s);
      return item;
    });
    if (items.length !== list.children.length || items.some((item, i) => item !== list.children[i])) list.replaceChildren(...items);
    put(banner, "offline-count", offline.length);
    banner.hidden = !offline.length;
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
        one("form", item).action = `${base}/api/v1/alerts/${encodeURIComponent(alert.id)}/acknowledge`;
        put(item, "kind", words.kinds[alert.kind]);
        put(item, "who", who(alert));
        putTime(item, "time", alert.wall_s);
        list.append(item);
      }
      if (alert.acknowledged_s !== null) markAcknowledged(item);
    }
    banner.hidden = alerts.length === 0;
    document.title = document.title.replace(/^\(\d+\) /, "");
    const open = alerts.filter((alert) => alert.acknowledged_s === null).length;
    if (open) document.title = `(${open}) ${document.title}`;
  };
  const markAcknowledged = (item) => {
    item.classList.add("is-known");
    const button = one("button", item);
    if (!button.disabled) { button.disabled = true; button.textContent = words.acknowledged; }
  };

  const showEvent = (event) => {
    const notice = one("[data-news]");
    if (notice) notice.hidden = false;
    const list = one("[data-recent]");
    if (!list || all("[data-event]", list).some((each) => each.dataset.event === event.id)) return;
    const item = one("#event-item").content.firstElementChild.cloneNode(true);
    item.dataset.event = event.id;
    item.className = `event kind-${event.kind} is-new`;
    put(item, "kind", words.kinds[event.kind]);
    put(item, "who", who(event) + (event.reason ? `: ${words.reasons[event.reason] ?? event.reason}` : ""));
    putTime(item, "time", event.wall_s);
    list.prepend(item);
    while (list.children.length > MAX_RECENT) list.lastElementChild.remove();
    one("[data-empty]").hidden = true;
  };

  const showChannels = (delivery) => {
    for (const channel of delivery.channels) {
      const row = all("[data-channel]").find((each) => each.dataset.channel === channel.name);
      if (!row) continue;
      put(row, "state", words.channels[channel.state]);
      for (const name of ["waiting", "delivered", "undelivered"]) put(row, name, channel[name]);
      put(row, "error", channel.error || "–");
      one(".chip", row).className = `chip chip-${channel.state}`;
    }
  };

  const showToday = async () => {
    const card = one("[data-today]");
    if (!card) return;
    const response = await fetch(`${base}/api/v1/compliance?since=${card.dataset.today}`, {headers: {"X-Language": lang}});
    if (!response.ok) return;
    const total = (await response.json()).total;
    put(card, "compliance", total.compliance === null ? "–" : say(words.percent, Math.round(total.compliance * 100)));
    one("meter", card).value = total.compliance ?? 0;
    one("[data-watched]", card).hidden = total.watched === null;
    for (const name of ["people", "bare", "incorrect", "alerts", "watched_text", "not_watched_text"]) put(card, name, total[name]);
  };

  // -- connection -----------------------------------------------------------------------------------------------------
  let source = null, retry = 0, lastMessage_ms = 0, cameras = null;
  let lastEvent = document.body.dataset.lastEvent ?? "";  // id of the last received event: a background tab is not connected
  const showConnection = (connected) => {
    const link = one("[data-link]");
    if (!link) return;
    link.hidden = false;
    link.classList.toggle("is-on", connected);
    link.classList.toggle("is-off", !connected);
    const label = one("[data-link-text]", link), text = connected ? words.connected : words.lost;
    if (label.textContent !== text) label.textContent = text;
    showLost("state", !connected);
  };
  const lost = new Set();  // what does not arrive: "state", "pictures"
  const showLost = (what, isLost) => {
    isLost ? lost.add(what) : lost.delete(what);
    document.body.classList.toggle("is-lost", lost.size > 0);
    const note = one("[data-lost]");
    if (note) note.hidden = !lost.size;
  };
  const disconnect = () => {
    clearTimeout(retry);
    source?.close();
  };
  const connect = () => {
    if (!one("[data-link]")) return;
    disconnect();
    source = new EventSource(`${base}/api/v1/stream${lastEvent && `?after=${lastEvent}`}`);
    source.addEventListener("state", (message) => {
      lastMessage_ms = Date.now();
      showConnection(true);
      const state = JSON.parse(message.data), names = [state.version, ...state.cameras.map((camera) => camera.name)].join("\n");
      // Other cameras have these numbers now: the page would show them under wrong names. Or the page is of an older version.
      if (cameras !== null && names !== cameras && ["live", "wall", "health"].includes(document.body.dataset.page)) location.reload();
      cameras = names;
      const today = one("[data-today]");
      if (today) today.dataset.today = state.day_s;  // midnight in the server's time zone
      state.cameras.forEach(showCamera);
      showOffline(state.cameras);
      showAlerts(state.alerts);
      showChannels(state.delivery);
    });
    source.addEventListener("happening", (message) => { lastEvent = message.lastEventId; showEvent(JSON.parse(message.data)); showToday().catch(() => {}); });
    source.onerror = () => {
      showConnection(false);
      if (source.readyState !== EventSource.CLOSED) return;
      retry = setTimeout(() => document.hidden || connect(), 5000);
      fetch(`${base}/api/v1/session`).then((response) => { if (response.status === 401) location.reload(); }).catch(() => {});  // to sign in
    };
  };

  // -- live images ----------------------------------------------------------------------------------------------------
  const images = all("[data-picture]");
  const shownImages = () => images.filter((image) => !image.closest("[hidden]"));
  const reducedMotion = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const MAX_SILENCE_MS = 8000;  // the server repeats unchanged images every five seconds
  let paused = false, refreshTimer = 0, live = null, lastBytes_ms = 0;
  const refresh = () => {
    for (const image of shownImages()) image.src = `${base}/api/v1/cameras/${image.dataset.picture}/picture.jpg?at=${Date.now()}`;
  };
  const waiting = new Map();  // images that are being decoded: the newest JPEG that came meanwhile
  const showJpeg = (image, jpeg) => {
    if (waiting.has(image)) { waiting.set(image, jpeg); return; }
    const url = URL.createObjectURL(new Blob([jpeg], {type: "image/jpeg"}));
    waiting.set(image, null);
    image.onload = image.onerror = () => {
      URL.revokeObjectURL(url);
      const next = waiting.get(image);
      waiting.delete(image);
      if (next && live) showJpeg(image, next);
    };
    image.src = url;
  };
  const readLive = async (control) => {  // all cameras over one connection: number, length, JPEG
    const shown = new Map(shownImages().map((image) => [Number(image.dataset.picture), image]));
    const query = [...shown.keys()].map((number) => `camera=${number}&`).join("");
    const width_px = Math.max(1, ...[...shown.values()].map((image) => image.clientWidth));
    const response = await fetch(`${base}/api/v1/live?${query}width=${width_px}`, {signal: control.signal});
    if (!response.ok) throw new Error(response.statusText);
    const reader = response.body.getReader();
    let bytes = new Uint8Array();
    for (;;) {
      const {done, value} = await reader.read();
      if (done) throw new Error("the stream ended");
      lastBytes_ms = Date.now();
      showLost("pictures", false);
      const joined = new Uint8Array(bytes.length + value.length);
      joined.set(bytes);
      joined.set(value, bytes.length);
      bytes = joined;
      while (bytes.length >= 8) {
        const head = new DataView(bytes.buffer, bytes.byteOffset), end = 8 + head.getUint32(4);
        if (bytes.length < end) break;
        showJpeg(shown.get(head.getUint32(0)), bytes.slice(8, end));
        bytes = bytes.subarray(end);
      }
    }
  };
  const updateImages = () => {
    clearInterval(refreshTimer);
    live?.abort();
    live = null;
    waiting.clear();
    document.body.classList.toggle("is-paused", paused);
    if (!images.length) return;
    for (const image of images) if (document.hidden || image.closest("[hidden]")) image.removeAttribute("src");
    if (document.hidden) return;
    if (paused) { refresh(); return; }
    if (reducedMotion) { refresh(); refreshTimer = setInterval(refresh, REDUCED_MOTION_INTERVAL_MS); return; }
    const control = live = new AbortController();
    lastBytes_ms = Date.now();
    readLive(control).catch(() => {
      if (live !== control) return;
      showLost("pictures", true);
      setTimeout(() => { if (live === control) updateImages(); }, 3000);
    });
  };
  document.addEventListener("shown", updateImages);  // other images are shown now
  for (const image of images) {
    image.addEventListener("load", () => { if (image.naturalWidth) { image.width = image.naturalWidth; image.height = image.naturalHeight; } });
  }
  const pause = one("[data-pause]");
  if (pause) {
    pause.hidden = false;
    pause.addEventListener("click", () => {
      paused = !paused;
      pause.textContent = paused ? words.play : words.pause;
      updateImages();
    });
  }
  document.addEventListener("visibilitychange", () => {  // a background tab uses no connection
    if (document.hidden) { disconnect(); } else { connect(); }
    updateImages();
  });

  // -- actions --------------------------------------------------------------------------------------------------------
  const showMessage = (text, isError = false) => {
    const message = one("[data-said]");
    message.classList.toggle("is-bad", isError);
    message.hidden = false;
    message.textContent = text;
  };
  const post = (address, values) => fetch(address, {
    method: "POST", headers: {"Content-Type": "application/json", "X-CSRF-Token": csrf}, body: JSON.stringify(values),
  });
  const submitForm = async (form) => {
    const values = Object.fromEntries([...new FormData(form)].filter(([name]) => name !== "csrf" && name !== "back"));
    for (const name of Object.keys(values)) values[name] = Number(values[name]);
    const button = one("button", form);
    button.disabled = true;
    try {
      const response = await post(form.action, values);
      const result = await response.json();
      if (!response.ok) { showMessage(say(words.refused, result.error), true); return; }
      if ("test" in form.dataset) showResults(result.results);
      else showMessage(form.dataset.act);
      const alert = form.closest("[data-alert]"), row = form.closest("[data-camera]");
      if (alert) markAcknowledged(alert);
      if (row && "muted_until_s" in result) showMuted(row, result.muted_until_s);
      if ("once" in form.dataset) form.replaceChildren(document.createTextNode(clock(result.acknowledged_s)));
    } catch {
      showMessage(words.silent, true);
    } finally {
      if (!form.closest(".is-known")) button.disabled = false;
    }
  };
  const showResults = (results) => {
    const failed = results.filter((result) => !result.ok).map((result) => result.channel);
    showMessage(failed.length ? say(words.failed, failed.join(", ")) : words.tested, failed.length > 0);
    one("[data-results]").replaceChildren(...results.map((result) => {
      const item = document.createElement("li");
      item.className = result.ok ? "good" : "bad";
      item.textContent = result.ok ? say(words.sent, result.channel) : say(words.unsent, result.channel, result.error);
      return item;
    }));
  };
  document.addEventListener("submit", (event) => {
    if (!("act" in event.target.dataset)) return;
    event.preventDefault();
    submitForm(event.target);
  });
  for (const part of all("[data-newest]")) part.scrollLeft = part.scrollWidth;  // show the newest hours
  const print = one("[data-print]");
  if (print) { print.hidden = false; print.addEventListener("click", () => window.print()); }

  // -- review ---------------------------------------------------------------------------------------------------------
  const BOX_COLOURS = {mask: "#56b4e9", no_mask: "#d55e00", incorrect: "#e8c500", unsure: "#a9b2ba"};
  const showBoxes = async (video) => {
    const board = video.nextElementSibling, toggle = one("[data-box-toggle]"), box = one("input", toggle);
    const response = await fetch(video.dataset.boxes);
    if (!response.ok) return;
    const clip = await response.json();
    if (clip.annotated) return;  // the boxes are part of the video
    toggle.hidden = false;
    let shown = "";
    const draw = () => {
      let frame = clip.frames[0];
      for (const each of clip.frames) if (each.t <= video.currentTime + .05) frame = each;
      const width = video.clientWidth, height = video.clientHeight, key = `${frame.t} ${width} ${height} ${box.checked}`;
      if (key !== shown && width && video.videoWidth) {
        shown = key;
        board.hidden = !box.checked;
        board.width = width; board.height = height;
        const factor = Math.min(width / video.videoWidth, height / video.videoHeight);
        const wide = video.videoWidth * factor, high = video.videoHeight * factor;
        const pen = board.getContext("2d");
        pen.translate((width - wide) / 2, (height - high) / 2);
        pen.lineWidth = 3; pen.font = "600 14px sans-serif";
        for (const [x, y, w, h, label] of frame.faces) {
          pen.strokeStyle = pen.fillStyle = BOX_COLOURS[label] ?? "#fff";
          pen.strokeRect(x * wide, y * high, w * wide, h * high);
          pen.fillText(words.labels[label] ?? label, x * wide, Math.max(12, y * high - 5));
        }
      }
      requestAnimationFrame(draw);
    };
    requestAnimationFrame(draw);
    box.addEventListener("change", () => { shown = ""; });
  };
  const clipVideo = one("[data-boxes]");
  if (clipVideo) showBoxes(clipVideo).catch(() => {});

  const VERDICT_KEYS = {1: "right", 2: "no_face", 4: "unsure"};
  const reviewList = one("[data-review]");
  if (reviewList) {
    one("[data-keys]").hidden = false;
    const first = location.hash === "#r-label" ? one("#r-label") : one(".review-item a[aria-current]", reviewList);
    first?.focus({preventScroll: true});
    reviewList.addEventListener("keydown", async (event) => {  // only while the list has the focus
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const item = event.target.closest("[data-item]"), tick = item && one("input[name=id]", item);
      const ticks = all("input[name=id]", reviewList);
      const next = {j: item?.nextElementSibling, ArrowDown: item?.nextElementSibling, k: item?.previousElementSibling, ArrowUp: item?.previousElementSibling};
      if (event.key in next) {
        if (next[event.key]) one("a", next[event.key]).focus();
      } else if (event.key === "x" && tick) {
        tick.checked = !tick.checked;
      } else if (event.key === "*") {
        const on = ticks.some((each) => !each.checked);
        for (const each of ticks) each.checked = on;
      } else if (event.key === "a") {
        if (tick && !ticks.some((each) => each.checked)) tick.checked = true;
        if (ticks.some((each) => each.checked)) one("#bulk").requestSubmit();
      } else if (event.key === "3" && item) {
        location.href = one("a", item).href.replace("#player", "#r-label");
      } else if (event.key in VERDICT_KEYS && item) {
        const verdict = VERDICT_KEYS[event.key], text = words.verdicts[verdict];
        try {
          const response = await post(`${base}/api/v1/events/${encodeURIComponent(item.dataset.item)}/verdict`, {verdict});
          const result = await response.json();
          if (response.ok) one("[data-marks]", item).textContent = text;
          showMessage(response.ok ? say(words.stored, text) : say(words.refused, result.error), !response.ok);
        } catch {
          showMessage(words.silent, true);
        }
      } else return;
      event.preventDefault();
    });
  }
  const labelling = one("[data-labelling]");
  if (labelling) {
    one("[data-keys]", labelling).hidden = false;
    const scene = one("svg", labelling), rect = one("[data-box]", scene), field = one("[name=box]", labelling);
    const offset = field.dataset.moves.split(" ").map(Number), limit = scene.viewBox.baseVal;
    const names = ["x", "y", "width", "height"], place = () => names.map((name) => Number(rect.getAttribute(name)));
    const corners = [0, 1, 2, 3].map(() => scene.appendChild(document.createElementNS(scene.namespaceURI, "circle")));
    const setBox = ([x, y, width, height], changed = true) => {
      width = Math.min(Math.max(width, 4), limit.width); height = Math.min(Math.max(height, 4), limit.height);
      const box = [Math.min(Math.max(x, 0), limit.width - width), Math.min(Math.max(y, 0), limit.height - height), width, height];
      names.forEach((name, i) => rect.setAttribute(name, box[i]));
      corners.forEach((corner, i) => {
        corner.setAttribute("cx", box[0] + (i % 2) * box[2]); corner.setAttribute("cy", box[1] + (i >> 1) * box[3]);
        corner.setAttribute("r", limit.width / 60);
      });
      if (changed) field.value = [box[0] + offset[0], box[1] + offset[1], box[2], box[3]].map((value) => value.toFixed(1)).join(" ");
    };
    setBox(place(), false);
    const at = (event) => new DOMPoint(event.clientX, event.clientY).matrixTransform(scene.getScreenCTM().inverse());
    let drag = null;
    scene.addEventListener("pointerdown", (event) => {
      const corner = corners.indexOf(event.target);
      if (corner < 0 && event.target !== rect) return;
      drag = {corner, from: at(event), box: place()};
      scene.setPointerCapture(event.pointerId);
      event.preventDefault();
    });
    scene.addEventListener("pointermove", (event) => {
      if (!drag) return;
      const now = at(event), dx = now.x - drag.from.x, dy = now.y - drag.from.y, [x, y, width, height] = drag.box;
      if (drag.corner < 0) { setBox([x + dx, y + dy, width, height]); return; }
      const right = drag.corner % 2, lower = drag.corner >> 1;
      setBox([right ? x : x + dx, lower ? y : y + dy, right ? width + dx : width - dx, lower ? height + dy : height - dy]);
    });
    for (const name of ["pointerup", "pointercancel"]) scene.addEventListener(name, () => { drag = null; });
    const STEPS = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]};
    document.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("select")) return;
      const step = STEPS[event.key], button = step ? null : one(`[data-key="${CSS.escape(event.key)}"]`);
      if (step) {
        const [x, y, width, height] = place();
        setBox(event.shiftKey ? [x, y, width + step[0], height + step[1]] : [x + step[0], y + step[1], width, height]);
      } else if (button) button.click();
      else return;
      event.preventDefault();
    });
  }
  globalThis.navigator?.serviceWorker?.register(`${base}/static/service-worker.js`, {scope: `${base}/`}).catch(() => {});
  if (one("[data-link]")) {
    if (!document.hidden) connect();
    updateImages();
    setInterval(() => {
      if (document.hidden) return;
      if (lastMessage_ms && Date.now() - lastMessage_ms > 6000) showConnection(false);
      if (live && Date.now() - lastBytes_ms > MAX_SILENCE_MS) { updateImages(); showLost("pictures", true); }
    }, 2000);
    setInterval(() => { if (!document.hidden) showToday().catch(() => {}); }, 60000);
  }
})();
