"""Prometheus metrics, read at the moment they are asked for: nothing is counted on the way of the pictures."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from app import __version__
from app.capture.capture import SourceState
from app.core.types import Label
from app.web.middleware import SecurityMiddleware
from app.web.site import Site


class MetricsPage:
    """The text of ``/metrics``."""

    def __init__(self, site: Site, guard: SecurityMiddleware) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_Collected(site, guard))
        ProcessCollector(registry=self._registry)

    def text(self) -> bytes:
        return generate_latest(self._registry)


class _Collected(Collector):
    def __init__(self, site: Site, guard: SecurityMiddleware) -> None:
        self._site = site
        self._guard = guard

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        yield from self._cameras()
        yield from self._alerts()
        yield from self._web()

    def _cameras(self) -> Iterator[Metric]:
        def gauge(name: str, words: str, *more: str) -> GaugeMetricFamily:
            return GaugeMetricFamily(f"maskwatch_{name}", words, labels=("camera", *more))

        up = gauge("camera_up", "Whether its pictures come")
        state = gauge("camera_state", "1 for the state it is in", "state")
        fps = gauge("camera_frames_per_second", "Pictures that come")
        analysed = gauge("analysis_frames_per_second", "Pictures that are analysed")
        age = gauge("camera_frame_age_seconds", "Age of the newest picture")
        faces = gauge("faces", "Faces in the picture", "label")
        people = gauge("people_seen", "People seen since the start, by how they wore a mask", "label")
        alerts = gauge("open_alerts", "Alerts that nothing has resolved yet")
        muted = gauge("camera_muted", "Whether its alerts are held back")
        stage = gauge("stage_duration_seconds", "Time one picture took in each stage", "stage")
        frames = CounterMetricFamily("maskwatch_camera_frames", "Pictures received", labels=("camera",))
        dropped = CounterMetricFamily(
            "maskwatch_camera_frames_dropped", "Pictures not analysed, for a newer one came", labels=("camera",)
        )
        reconnects = CounterMetricFamily("maskwatch_camera_reconnects", "Connections made again", labels=("camera",))
        status, names = self._site.status(), self._site.camera_labels()
        for camera, view in zip(status.cameras, self._site.monitor.views(), strict=True):
            name = [names[camera.id - 1]]
            up.add_metric(name, float(camera.state is SourceState.LIVE))
            for each in SourceState:
                state.add_metric([*name, each.value], float(camera.state is each))
            fps.add_metric(name, camera.fps)
            analysed.add_metric(name, camera.analysis_fps)
            if camera.age_s is not None:
                age.add_metric(name, camera.age_s)
            for label in Label:
                faces.add_metric([*name, label.value], getattr(camera.now, label.value))
                if label is not Label.UNSURE:
                    people.add_metric([*name, label.value], getattr(camera.seen, label.value))
            alerts.add_metric(name, len(view.alerts))
            muted.add_metric(name, float(camera.muted_until_s is not None))
            if view.times is not None:
                for word in ("detect", "classify", "total"):
                    stage.add_metric([*name, word], getattr(view.times, f"{word}_s"))
            frames.add_metric(name, camera.frames)
            dropped.add_metric(name, camera.dropped)
            reconnects.add_metric(name, camera.reconnects)
        yield from (up, state, fps, analysed, age, faces, people, alerts, muted, stage, frames, dropped, reconnects)

    def _alerts(self) -> Iterator[Metric]:
        events = CounterMetricFamily("maskwatch_events", "Events of this run", labels=("camera", "kind"))
        for key, count in sorted(self._site.feed.counts().items()):
            events.add_metric(key, count)
        yield events
        health = self._site.center.health()
        stored = GaugeMetricFamily("maskwatch_store_up", "Whether events reach the disk")
        stored.add_metric([], float(not health.store_fault))
        up = GaugeMetricFamily("maskwatch_alert_channel_up", "Whether its last attempt went well", labels=("channel",))
        waiting = GaugeMetricFamily("maskwatch_alerts_waiting", "Alerts not sent yet", labels=("channel",))
        delivered = CounterMetricFamily("maskwatch_alerts_delivered", "Alerts sent", labels=("channel",))
        lost = CounterMetricFamily("maskwatch_alerts_undelivered", "Alerts given up", labels=("channel",))
        for channel in health.channels:
            up.add_metric([channel.name], float(channel.state != "retrying"))
            waiting.add_metric([channel.name], channel.waiting)
            delivered.add_metric([channel.name], channel.delivered)
            lost.add_metric([channel.name], channel.undelivered)
        yield from (stored, up, waiting, delivered, lost)

    def _web(self) -> Iterator[Metric]:
        viewers = GaugeMetricFamily("maskwatch_web_viewers", "Live pictures being sent", labels=("camera",))
        encoded = CounterMetricFamily("maskwatch_web_pictures_encoded", "Pictures encoded", labels=("camera",))
        names = self._site.camera_labels()
        for index, (watching, count) in sorted(self._site.pictures.facts().items()):
            viewers.add_metric([names[index]], watching)
            encoded.add_metric([names[index]], count)
        requests = CounterMetricFamily("maskwatch_web_requests", "Requests answered", labels=("method", "status"))
        for (method, status), count in sorted(self._guard.served.items()):
            requests.add_metric([method, str(status)], count)
        build = GaugeMetricFamily("maskwatch_build_info", "The version that runs", labels=("version",))
        build.add_metric([__version__], 1.0)
        yield from (viewers, encoded, requests, build)
