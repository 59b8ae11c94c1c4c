"""Prometheus metrics, collected when they are requested and not on the path of the frames."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from app import __version__
from app.capture.capture import SourceState
from app.core.types import FACE_LABELS, Label
from app.pipeline.camera import CameraView
from app.web.middleware import SecurityMiddleware
from app.web.schemas import camera_record
from app.web.site import Site


def metrics_of(site: Site, middleware: SecurityMiddleware) -> Callable[[], bytes]:
    """Renders ``/metrics``."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_SiteCollector(site, middleware))
    ProcessCollector(registry=registry)
    return partial(generate_latest, registry)


class _SiteCollector(Collector):
    def __init__(self, site: Site, middleware: SecurityMiddleware) -> None:
        self._site = site
        self._middleware = middleware

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        yield from self._cameras()
        yield from self._alerts()
        yield from self._web()
        if self._site.fleet_store is not None:
            yield from _fleet(self._site.fleet_store)

    def _cameras(self) -> Iterator[Metric]:
        def gauge(name: str, description: str, *more: str) -> GaugeMetricFamily:
            return GaugeMetricFamily(f"maskwatch_{name}", description, labels=("camera", *more))

        up = gauge("camera_up", "1 if frames arrive")
        state = gauge("camera_state", "1 for the current state, 0 for the others", "state")
        fps = gauge("camera_frames_per_second", "Frames received per second")
        analysed = gauge("analysis_frames_per_second", "Frames analysed per second")
        age = gauge("camera_frame_age_seconds", "Age of the newest frame")
        faces = gauge("faces", "People in view now, by mask label", "label")
        people = gauge("people_seen", "People counted today, each once, by mask label", "label")
        time_s = gauge("time_seconds", "Seconds of today by what was done: watched, offline, paused or behind", "state")
        alerts = gauge("open_alerts", "Alerts that are not resolved")
        muted = gauge("camera_muted", "1 if the camera is muted")
        passed = gauge("line_passed", "People who passed the counting line since the last reset", "line", "direction")
        inside = gauge("people_inside", "People inside: who came in over the counting lines and did not go out")
        limit = gauge("people_inside_limit", "Occupancy limit")
        stage = gauge("stage_duration_seconds", "Time of one frame in each stage", "stage")
        frames = CounterMetricFamily("maskwatch_camera_frames", "Frames received", labels=("camera",))
        dropped = CounterMetricFamily(
            "maskwatch_camera_frames_dropped", "Frames not analysed because a newer one arrived", labels=("camera",)
        )
        reconnects = CounterMetricFamily("maskwatch_camera_reconnects", "Reconnections", labels=("camera",))
        views = self._site.monitor.views()
        for number, (view, label) in enumerate(zip(views, camera_labels(views), strict=True), 1):
            camera, name = camera_record(number, view, self._site.mutes.until_s(view.camera)), [label]
            up.add_metric(name, float(camera.state is SourceState.LIVE))
            for each in SourceState:
                state.add_metric([*name, each.value], float(camera.state is each))
            fps.add_metric(name, camera.fps)
            analysed.add_metric(name, camera.analysis_fps)
            if camera.age_s is not None:
                age.add_metric(name, camera.age_s)
            for each_label in FACE_LABELS if self._site.counts(camera.is_live) else ():
                faces.add_metric([*name, each_label.value], getattr(camera.now, each_label.value))
                if each_label is not Label.UNSURE:
                    people.add_metric([*name, each_label.value], getattr(camera.seen, each_label.value))
            for kind in ("watched", "offline", "paused", "behind") if self._site.counts(camera.is_live) else ():
                time_s.add_metric([*name, kind], getattr(self._site.center.today(camera.name), f"{kind}_s"))
            alerts.add_metric(name, len(view.open_alerts))
            if camera.occupancy is not None:
                inside.add_metric(name, camera.occupancy.inside)
                if camera.occupancy.limit is not None:
                    limit.add_metric(name, camera.occupancy.limit)
                for line in camera.occupancy.lines:
                    passed.add_metric([*name, line.name, "in"], line.entered)
                    passed.add_metric([*name, line.name, "out"], line.exited)
            muted.add_metric(name, float(camera.muted_until_s is not None))
            if view.times is not None:
                for step in ("detect", "classify", "total"):
                    stage.add_metric([*name, step], getattr(view.times, f"{step}_s"))
            frames.add_metric(name, camera.frames)
            dropped.add_metric(name, camera.dropped)
            reconnects.add_metric(name, camera.reconnects)
        yield from (up, state, fps, analysed, age, faces, people, time_s, alerts, muted, passed, inside, limit, stage)
        yield from (frames, dropped, reconnects)

    def _alerts(self) -> Iterator[Metric]:
        events = CounterMetricFamily("maskwatch_events", "Events of this run", labels=("camera", "kind"))
        counted = {view.camera for view in self._site.monitor.views() if self._site.counts(view.is_live)}
        for (camera, kind), count in sorted(self._site.feed.counts().items()):
            if camera in counted:
                events.add_metric([camera, kind], count)
        yield events
        health = self._site.center.health()
        stored = GaugeMetricFamily("maskwatch_store_up", "1 if events are written to disk")
        stored.add_metric([], float(not health.store_fault))
        up = GaugeMetricFamily("maskwatch_alert_channel_up", "1 if the last attempt succeeded", labels=("channel",))
        waiting = GaugeMetricFamily("maskwatch_alerts_waiting", "Alerts waiting to be sent", labels=("channel",))
        delivered = CounterMetricFamily("maskwatch_alerts_delivered", "Alerts sent", labels=("channel",))
        lost = CounterMetricFamily("maskwatch_alerts_undelivered", "Alerts given up", labels=("channel",))
        for channel in health.channels:
            up.add_metric([channel.name], float(channel.state != "retrying"))
            waiting.add_metric([channel.name], channel.waiting)
            delivered.add_metric([channel.name], channel.delivered)
            lost.add_metric([channel.name], channel.undelivered)
        yield from (stored, up, waiting, delivered, lost)

    def _web(self) -> Iterator[Metric]:
        viewers = GaugeMetricFamily("maskwatch_web_viewers", "Open live streams", labels=("camera",))
        encoded = CounterMetricFamily(
            "maskwatch_web_pictures_encoded", "Frames encoded for viewers", labels=("camera",)
        )
        names = camera_labels(self._site.monitor.views())
        for index, (watching, count) in sorted(self._site.streams.stats().items()):
            if index >= len(names):  # a camera was removed
                continue
            viewers.add_metric([names[index]], watching)
            encoded.add_metric([names[index]], count)
        requests = CounterMetricFamily("maskwatch_web_requests", "Requests answered", labels=("method", "status"))
        for (method, status), count in sorted(self._middleware.responses.items()):
            requests.add_metric([method, str(status)], count)
        build = GaugeMetricFamily("maskwatch_build_info", "The running version", labels=("version",))
        build.add_metric([__version__], 1.0)
        yield from (viewers, encoded, requests, build)


def camera_labels(views: Sequence[CameraView]) -> list[str]:
    """The camera names; duplicates get their position as a suffix."""
    names = [view.camera for view in views]
    return [name if names.count(name) == 1 else f"{name} ({i})" for i, name in enumerate(names, 1)]


def _fleet(path: Path) -> Iterator[Metric]:
    """What a hub knows of its nodes, and the sums of each site. Reads from disk."""
    from app.fleet.hub_store import HubStore, camera_rows, site_rows

    def gauge(name: str, description: str, *more: str) -> GaugeMetricFamily:
        return GaugeMetricFamily(f"maskwatch_fleet_{name}", description, labels=("site", *more))

    up = gauge("node_up", "1 if the node reports", "node")
    age = gauge("node_silent_seconds", "Time since the last message of the node", "node")
    waiting = gauge("events_waiting", "Events that the node has not sent yet", "node")
    faults = gauge("node_faults", "Parts of the node that do not work", "node")
    used = gauge("revision", "Revision of the hub that the node uses; 0: its own", "node", "part")
    refused = gauge("revision_refused", "Latest revision that the node refused", "node", "part")
    cameras = gauge("cameras", "Cameras by state", "state")
    people = gauge("people_seen", "People counted today, each once, by mask label", "label")
    watched = gauge("watched_seconds", "Seconds watched today, summed over the cameras")
    now_s = time.time()
    with closing(HubStore(path, create=False)) as store:
        nodes, rows = store.nodes(), camera_rows(store, now_s)
    for node in nodes:
        names, health = [node.site, node.node], node.health
        up.add_metric(names, float(node.is_online(now_s)))
        age.add_metric(names, max(now_s - node.seen_s, 0.0))
        waiting.add_metric(names, health.waiting)
        faults.add_metric(names, len(health.faults))
        for part, applied in health.applied.items():
            used.add_metric([*names, part], applied.number)
            refused.add_metric([*names, part], applied.refused)
    for (site, state), count in sorted(Counter((row.site, row.state) for row in rows).items()):
        cameras.add_metric([site, state], count)
    for row in site_rows(rows):
        for label, count in (
            ("mask", row.today.masked),
            ("no_mask", row.today.bare),
            ("incorrect", row.today.incorrect),
        ):
            people.add_metric([row.site, label], count)
        watched.add_metric([row.site], row.today.watched_s)
    yield from (up, age, waiting, faults, used, refused, cameras, people, watched)
