"use strict";
// Turns the pages of the wall, shows one camera alone, fills the screen and keeps it awake. The address says what is
// shown, so that it can be bookmarked.
(() => {
  const wall = document.querySelector("[data-wall]"), tiles = [...wall.querySelectorAll(".tile")];
  const links = [...wall.querySelectorAll("[data-turn]")], fill = wall.querySelector("[data-fill]");
  const per = Number(wall.dataset.per), every_s = Number(wall.dataset.every), pages = Math.max(1, Math.ceil(tiles.length / per));
  const IDLE_MS = 5000;
  let number = Number(wall.dataset.number), alone = wall.dataset.alone, turning = 0, idle = 0;
  const show = () => {
    tiles.forEach((tile, i) => { tile.hidden = alone ? tile.dataset.camera !== alone : Math.floor(i / per) + 1 !== number; });
    for (const link of links) link.toggleAttribute("aria-current", Number(link.dataset.turn) === number);
    wall.dataset.alone = alone;
    const address = new URL(location);
    address.searchParams.set("page", number);
    alone ? address.searchParams.set("camera", alone) : address.searchParams.delete("camera");
    history.replaceState(null, "", address);
    document.dispatchEvent(new Event("shown"));
    clearTimeout(turning);
    if (every_s && pages > 1 && !alone) turning = setTimeout(() => turn(number + 1), every_s * 1000);
  };
  const turn = (to) => { number = (to - 1 + pages) % pages + 1; alone = ""; show(); };
  const toggle = (tile) => { alone = alone ? "" : tile.dataset.camera; show(); tile.focus(); };
  const goFull = () => document.fullscreenElement ? document.exitFullscreen() : wall.requestFullscreen();
  const awake = () => { if (!document.hidden) navigator.wakeLock?.request("screen").catch(() => {}); };
  const wake = () => {
    wall.classList.remove("is-idle");
    clearTimeout(idle);
    idle = setTimeout(() => wall.classList.toggle("is-idle", !wall.querySelector(".bar :focus")), IDLE_MS);
  };
  for (const tile of tiles) tile.addEventListener("click", (event) => { event.preventDefault(); toggle(tile); });
  for (const link of links) link.addEventListener("click", (event) => { event.preventDefault(); turn(Number(link.dataset.turn)); });
  fill.hidden = !document.fullscreenEnabled;
  fill.addEventListener("click", goFull);
  document.addEventListener("keydown", (event) => {
    wake();
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("select")) return;
    if (event.key === "ArrowRight") turn(number + 1);
    else if (event.key === "ArrowLeft") turn(number - 1);
    else if (event.key === "Escape" && alone) { alone = ""; show(); }
    else if (event.key === "f" && document.fullscreenEnabled) goFull();
  });
  for (const name of ["pointermove", "pointerdown", "focusin"]) document.addEventListener(name, wake);
  document.addEventListener("visibilitychange", awake);
  document.addEventListener("fullscreenchange", show);  // the images have another size now
  awake();
  wake();
  if (every_s) show();
})();
