"use strict";
// Turns alerts on this device (web push) on and off.
(() => {
  const card = document.querySelector("[data-device]");
  if (!card) return;
  const form = card.querySelector("form"), root = document.body.dataset.root, csrf = document.querySelector('meta[name="csrf"]').content;
  const all = (selector) => card.querySelectorAll(selector);
  const why = !window.isSecureContext ? "insecure" : !navigator.serviceWorker || !window.PushManager ? "missing" : "";
  const show = (outcome, text = "") => {
    const blocked = why || (outcome === "off" && Notification.permission === "denied" ? "denied" : "");
    for (const hint of all("[data-why]")) hint.hidden = hint.dataset.why !== blocked;
    for (const note of all("[data-outcome]")) note.hidden = note.dataset.outcome !== outcome;
    if (outcome === "failed") card.querySelector('[data-outcome="failed"]').textContent = text;
    else for (const button of all("[data-when]")) button.hidden = button.dataset.when !== outcome;
    form.hidden = Boolean(blocked);
    card.hidden = false;
  };
  const call = async (path, body) => {
    const response = await fetch(`${root}/api/v1/push${path}`, body && {
      method: "POST", headers: {"Content-Type": "application/json", "X-CSRF-Token": csrf}, body: JSON.stringify(body),
    });
    const answer = await response.json();
    if (!response.ok) throw new Error(card.dataset.refused.replace("{0}", () => answer.error));
    return answer;
  };
  const subscribed = async () => (await navigator.serviceWorker.ready).pushManager.getSubscription();
  const register = async (subscription, wanted) => {
    const {endpoint, keys} = subscription.toJSON(), device = await call("/subscribe", {endpoint, keys, language: document.documentElement.lang, ...wanted});
    [form.elements.from.value, form.elements.to.value] = (device.quiet[0] ?? "-").split("-");
    form.elements.urgent.checked = device.urgent;
    show("on");
  };
  const run = (action) => async (event) => {
    event?.preventDefault();
    try { await action(); } catch (error) { show("failed", error.message); }
  };
  const turnOn = async () => {
    const {key} = await call(""), manager = (await navigator.serviceWorker.ready).pushManager;
    const {from, to, urgent} = form.elements;
    const subscription = await manager.subscribe({userVisibleOnly: true, applicationServerKey: key}).catch((error) => {
      if (Notification.permission !== "denied") throw error;
    });
    if (!subscription) { show("off"); return; }
    await register(subscription, {
      quiet: from.value && to.value ? [`${from.value}-${to.value}`] : [], urgent: urgent.checked,
      timezone: Intl.DateTimeFormat().resolvedOptions().timeZone,
    });
  };
  const turnOff = async () => {
    const subscription = await subscribed();
    if (subscription) { await call("/unsubscribe", {endpoint: subscription.endpoint}); await subscription.unsubscribe(); }
    show("off");
  };
  form.addEventListener("submit", run(turnOn));
  card.querySelector("[data-off]").addEventListener("click", run(turnOff));
  if (why) show("off");
  else run(async () => {  // sent again at each visit: the server may have lost it, or another user may be signed in
    const subscription = await subscribed();
    if (subscription) await register(subscription, {}); else show("off");
  })();
})();
