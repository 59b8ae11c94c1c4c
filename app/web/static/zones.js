"use strict";
// Draws zones, hidden parts, counting lines and the search area of a camera on its picture, and saves them.
(() => {
  const form = document.querySelector("[data-zones]");
  if (!form) return;
  const NS = "http://www.w3.org/2000/svg", STEP = .01, PAGE_STEP = .05, LABELS = ["no_mask", "incorrect"];  // as the choices list them
  const base = document.body.dataset.root, name = form.dataset.camera, text = form.dataset;
  const csrf = document.querySelector('meta[name="csrf"]').content, said = document.querySelector("[data-said]");
  const area = form.querySelector("[data-picture-area]"), svg = area.querySelector("svg"), list = form.querySelector("[data-shapes]");
  const image = area.querySelector("img"), occupancy = form.querySelector("[data-occupancy]");
  const field = (root, key) => root.querySelector(`[name="${key}"]`);
  let shapes = [], chosen = null, revision = "", before = {}, turn = {rotate: 0, flip: "none"};

  const say = (message, isBad = false) => { said.hidden = false; said.textContent = message; said.classList.toggle("is-bad", isBad); };
  const copied = (points) => points.map((point) => [...point]);
  const round = (value) => Math.round(Math.min(Math.max(value, 0), 1) * 1e4) / 1e4;

  // Hidden parts are kept in the picture as the camera sends it, before it is rotated and mirrored.
  const QUARTER = ([x, y]) => [1 - y, x];
  const shown = (point) => {
    for (let i = 0; i < turn.rotate / 90; i++) point = QUARTER(point);
    return mirrored(point);
  };
  const sent = (point) => {
    point = mirrored(point);
    for (let i = 0; i < (360 - turn.rotate) / 90 % 4; i++) point = QUARTER(point);
    return point.map(round);
  };
  const mirrored = ([x, y]) => [turn.flip === "horizontal" ? 1 - x : x, turn.flip === "vertical" ? 1 - y : y];

  // -- shapes ----------------------------------------------------------------------------------------------------------
  const add = (kind, points, values = {}) => {
    const item = document.getElementById(`shape-${kind}`).content.firstElementChild.cloneNode(true);
    const shape = {kind, item, points, values, outline: svg.appendChild(document.createElementNS(NS, "polyline")), arrow: svg.appendChild(document.createElementNS(NS, "polyline")), handles: []};
    shape.outline.classList.add(`zones-${kind}`);
    shape.arrow.classList.add(`zones-${kind}`);
    for (const [key, value] of Object.entries(values)) if (field(item, key)) field(item, key).value = value;
    item.querySelector("[data-choose]").addEventListener("click", () => { choose(shape); shape.handles[0].focus(); });
    item.querySelector("[data-remove]").addEventListener("click", () => remove(shape));
    item.querySelector("[data-swap]")?.addEventListener("click", () => { shape.points.reverse(); draw(shape); });
    list.append(item);
    shapes.push(shape);
    draw(shape);
    occupancy.hidden = !shapes.some((each) => each.kind === "line");
    return shape;
  };
  const remove = (shape) => {
    for (const part of [shape.item, shape.outline, shape.arrow, ...shape.handles]) part.remove();
    shapes = shapes.filter((each) => each !== shape);
    if (chosen === shape) chosen = null;
    occupancy.hidden = !shapes.some((each) => each.kind === "line");
  };
  const choose = (shape) => {
    chosen = shape;
    for (const each of shapes) for (const part of [each.item, each.outline]) part.classList.toggle("is-chosen", each === shape);
  };
  const corners = (shape) => shape.kind === "region" ? [shape.points[0], [shape.points[1][0], shape.points[0][1]], shape.points[1], [shape.points[0][0], shape.points[1][1]]] : shape.points;
  const draw = (shape) => {
    const way = corners(shape);
    shape.outline.setAttribute("points", (shape.kind === "line" ? way : [...way, way[0]]).join(" "));
    if (shape.kind === "line") drawArrow(shape);
    while (shape.handles.length > shape.points.length) shape.handles.pop().remove();
    while (shape.handles.length < shape.points.length) shape.handles.push(handle(shape));
    shape.handles.forEach((each, i) => {
      const label = text.textCorner.replace("{0}", () => field(shape.item, "name")?.value ?? shape.item.querySelector("legend").textContent).replace("{1}", i + 1);
      each.style.left = `${shape.points[i][0] * 100}%`;
      each.style.top = `${shape.points[i][1] * 100}%`;
      if (each.getAttribute("aria-label") !== label) each.setAttribute("aria-label", label);
    });
  };
  const drawArrow = ({points: [[ax, ay], [bx, by]], arrow}) => {  // in pixels, so that it stands upright on the line
    const {width, height} = area.getBoundingClientRect(), x = (bx - ax) * width, y = (by - ay) * height, long = Math.hypot(x, y) || 1;
    const [u, v] = [x / long, y / long], middle = [(ax + bx) / 2 * width, (ay + by) / 2 * height];
    const at = (along, beside) => [(middle[0] + along * u - beside * v) / (width || 1), (middle[1] + along * v + beside * u) / (height || 1)];
    arrow.setAttribute("points", [at(0, 0), at(0, 26), at(-8, 17), at(0, 26), at(8, 17)].join(" "));
  };
  const handle = (shape) => {
    const button = area.appendChild(document.createElement("button"));
    button.type = "button";
    button.className = "zones-corner";
    const index = () => shape.handles.indexOf(button);
    const move = (x, y) => { shape.points[index()] = [round(x), round(y)]; draw(shape); };
    button.addEventListener("focus", () => choose(shape));
    button.addEventListener("pointerdown", (event) => { button.setPointerCapture(event.pointerId); button.focus(); event.preventDefault(); });
    button.addEventListener("pointermove", (event) => { if (button.hasPointerCapture(event.pointerId)) move(...place(event)); });
    button.addEventListener("keydown", (event) => {
      const [x, y] = shape.points[index()], step = event.shiftKey ? PAGE_STEP : STEP;
      const ways = {ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step]};
      if (event.key in ways) move(x + ways[event.key][0], y + ways[event.key][1]);
      else if (event.key === "Insert" && isPolygon(shape)) {
        const next = shape.points[(index() + 1) % shape.points.length];
        insert(shape, index() + 1, [(x + next[0]) / 2, (y + next[1]) / 2]);
      } else if (event.key === "Delete" && isPolygon(shape) && shape.points.length > 3) {
        shape.points.splice(index(), 1);
        draw(shape);
      } else return;
      event.preventDefault();
    });
    return button;
  };
  const isPolygon = (shape) => shape?.kind === "zone" || shape?.kind === "blackout";
  const insert = (shape, at, point) => {
    shape.points.splice(at, 0, point.map(round));
    draw(shape);
    shape.handles[at].focus();
  };
  const place = (event) => {
    const box = area.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  };
  svg.addEventListener("click", (event) => {  // a new corner on the nearest side of the chosen shape
    if (!isPolygon(chosen)) return;
    const [x, y] = place(event), points = chosen.points;
    const detour = points.map(([ax, ay], i) => {
      const [bx, by] = points[(i + 1) % points.length];
      return Math.hypot(x - ax, y - ay) + Math.hypot(x - bx, y - by) - Math.hypot(ax - bx, ay - by);
    });
    insert(chosen, detour.indexOf(Math.min(...detour)) + 1, [x, y]);
  });

  // -- settings --------------------------------------------------------------------------------------------------------
  const read = () => {  // the settings as they are drawn, by path
    const of = (kind) => shapes.filter((shape) => shape.kind === kind);
    const zones = of("zone").map(({points, item, values}) => {
      const zone = {name: field(item, "name").value.trim(), polygon: copied(points)}, words = (key, by) => field(item, key).value.split(by).map((each) => each.trim()).filter(Boolean);
      if (field(item, "dwell_s").value) zone.dwell_s = Number(field(item, "dwell_s").value);
      if (field(item, "alert_on").value) zone.alert_on = words("alert_on", " ").filter((each) => each !== "none");
      for (const [key, by] of [["schedule", "\n"], ["channels", " "]]) if (words(key, by).length) zone[key] = words(key, by);
      if (values.isAlways && !zone.schedule) zone.schedule = [];  // which no text says
      return zone;
    });
    const lines = of("line").map(({points, item}) => ({name: field(item, "name").value.trim(), points: copied(points)}));
    const [region] = of("region").map(({points: [[ax, ay], [bx, by]]}) => [Math.min(ax, bx), Math.min(ay, by), Math.abs(ax - bx), Math.abs(ay - by)].map(round));
    const limit = Number(field(form, "limit").value), reset = field(form, "reset_at").value;
    const some = (list) => list.length ? list : null;
    return {
      zone: some(zones), line: some(lines), blackout: some(of("blackout").map(({points}) => points.map(sent))), "detector.region": region ?? null,
      "occupancy.limit": lines.length && limit ? limit : null, "occupancy.reset_at": lines.length && reset !== "00:00" ? reset : null,
    };
  };
  const load = async () => {
    const response = await fetch(`${base}/api/v1/settings`), answer = await response.json();
    if (!response.ok) { say(text.textRefused.replace("{0}", () => answer.error), true); return; }
    revision = answer.revision;
    const camera = answer.settings.camera.find((each) => each.name === name) ?? {};
    turn = {rotate: camera.rotate ?? 0, flip: camera.flip ?? "none"};
    for (const shape of shapes) remove(shape);
    for (const zone of camera.zone ?? []) add("zone", zone.polygon, {...zone, alert_on: zone.alert_on ? LABELS.filter((label) => zone.alert_on.includes(label)).join(" ") || "none" : "", schedule: (zone.schedule ?? []).join("\n"), isAlways: zone.schedule?.length === 0, channels: (zone.channels ?? []).join(" "), dwell_s: zone.dwell_s ?? ""});
    for (const line of camera.line ?? []) add("line", line.points, line);
    for (const polygon of camera.blackout ?? []) add("blackout", polygon.map(shown));
    const region = camera.detector?.region;
    if (region) add("region", [region.slice(0, 2), [region[0] + region[2], region[1] + region[3]]]);
    field(form, "limit").value = camera.occupancy?.limit ?? "";
    field(form, "reset_at").value = camera.occupancy?.reset_at ?? "00:00";
    before = read();
    form.hidden = false;
    for (const shape of shapes) draw(shape);  // the picture has its size only now
  };
  const save = async () => {
    const now = read();
    const changes = Object.keys(now).filter((key) => JSON.stringify(now[key]) !== JSON.stringify(before[key])).map((key) => ({path: `camera.${name}.${key}`, value: now[key]}));
    if (!changes.length) { say(text.textSaved); return; }
    const response = await fetch(`${base}/api/v1/settings`, {method: "POST", headers: {"Content-Type": "application/json", "X-CSRF-Token": csrf}, body: JSON.stringify({revision, changes})});
    const answer = await response.json();
    if (!response.ok) { say(text.textRefused.replace("{0}", () => answer.error), true); return; }
    revision = answer.revision;
    before = now;
    say(answer.needs_restart.length ? text.textRestart : text.textSaved);
  };
  const or_say = (task) => task().catch(() => say(text.textOffline, true));

  const DEFAULTS = {zone: [[.3, .3], [.7, .3], [.7, .7], [.3, .7]], blackout: [[.05, .05], [.3, .05], [.3, .3], [.05, .3]], line: [[.5, .85], [.5, .15]], region: [[.1, .1], [.9, .9]]};
  for (const button of form.querySelectorAll("[data-new]")) button.addEventListener("click", () => {
    const kind = button.dataset.new;
    if (kind === "region" && shapes.some((shape) => shape.kind === kind)) return;
    const shape = add(kind, copied(DEFAULTS[kind]));
    choose(shape);
    (field(shape.item, "name") ?? shape.handles[0]).focus();
  });
  form.querySelector("[data-refresh]").addEventListener("click", () => { image.src = `${image.src.replace(/&at=.*/, "")}&at=${Date.now()}`; });
  form.addEventListener("submit", (event) => { event.preventDefault(); or_say(save); });
  new ResizeObserver(() => { for (const shape of shapes) draw(shape); }).observe(area);
  or_say(load);
})();
