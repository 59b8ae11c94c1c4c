"use strict";
// Shows alerts as notifications, and a page of its own when maskwatch cannot be reached. It keeps that page and its
// style sheet, and nothing else: no pictures, no events.
const CACHE = "maskwatch-1", PAGE = "offline.html", STYLE = "style.css";
const pages = self.registration.scope;

self.addEventListener("install", (event) => {
  self.skipWaiting();
  event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll([PAGE, STYLE])));
});
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));

self.addEventListener("fetch", (event) => {
  const file = event.request.mode === "navigate" ? PAGE : event.request.url === new URL(STYLE, self.location).href ? STYLE : "";
  if (file) event.respondWith(fetch(event.request).catch(() => caches.match(new URL(file, self.location).href)));
});

const show = async (alert) => {
  const at = new Date(alert.at), time = at.toLocaleTimeString([], {hour: "2-digit", minute: "2-digit", second: "2-digit"});
  await self.registration.showNotification(alert.title, {
    body: `${time} ${alert.text}`,
    tag: alert.tag,
    timestamp: at.getTime(),
    icon: new URL("icon-192.png", self.location).href,
    // A message has no room for the picture: the browser loads it from the web view, if it is signed in there.
    image: alert.picture ? `${pages}api/v1/events/${encodeURIComponent(alert.event)}/picture.jpg` : undefined,
    data: alert.event ? `${pages}review?event=${encodeURIComponent(alert.event)}` : pages,
  });
};
self.addEventListener("push", (event) => event.waitUntil(show(event.data.json())));

self.addEventListener("notificationclick", (event) => {
  event.notification.close();
  event.waitUntil(self.clients.openWindow(event.notification.data));
});
