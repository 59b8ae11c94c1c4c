"""One run of ``watch``: the monitor and its outputs (events, alerts, files, web view), and settings that change."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from app.alerts.delivery import AlertCenter
from app.alerts.earlier_runs import cameras_left_offline, latest_of_parts
from app.alerts.hook import PART_KINDS
from app.alerts.mutes import Mutes
from app.alerts.part_watch import CLASSIFIER, PartWatch, faults_of_alerts
from app.alerts.store_types import StoreError
from app.cli.count_recorder import CountRecorder
from app.cli.evidence import Evidence
from app.cli.output_files import OutputFiles
from app.cli.watch_console import WatchConsole, event_text
from app.core.errors import DisplayError, ModelError, OutputError, SettingsError
from app.core.secrets import redact
from app.core.types import Event, EventKind, FrameResult
from app.pipeline.event_factory import EventFactory
from app.pipeline.monitor import Monitor
from app.pipeline.monitor_parts import MonitorParts
from app.settings.alerts import AlertSettings
from app.settings.monitor import PolicySettings, overridden
from app.settings.polygons import Polygon
from app.settings.reload import live_part, needs_restart, renamed_cameras, with_cameras_of
from app.settings.root import Settings, unmatched_camera_patterns

if TYPE_CHECKING:  # what not every run needs is imported late, so that the start is fast
    from app.cli.fleet_node import FleetNode
    from app.settings.change import SettingsFile
    from app.ui.image_window import ImageWindow
    from app.web.server import WebServer

log = logging.getLogger(__name__)

_POLL_S = 0.2
"""How long a headless run may take to notice a stop request."""
_STEP_S = 0.5
_NOT_WATCHED = "this camera is not watched any more"
"""It was removed or got another name, and is stopped only within a second."""


class WatchSession:
    """Opens everything that one ``watch`` needs, and closes it in the right order even after an error."""

    def __init__(
        self,
        settings: Settings,
        output: Path | None,
        events: Path | None,
        file: "SettingsFile | None" = None,
        parts: MonitorParts | None = None,
    ) -> None:
        """``file``: what the web view changes, and where a rotation and regions drawn in the window are kept."""
        if settings.view.kiosk and len(settings.camera) > 1:
            raise SettingsError("the kiosk shows one camera; give one --source, or omit --kiosk")
        self._files = OutputFiles(settings.camera, output, events)
        self._console = WatchConsole()
        self._local = _without_store(settings)
        """The settings of this machine: what a hub sent is added to them in ``_settings``."""
        self._node = self._make_node()
        self._next_step_s = 0.0
        self._settings = self._with_hub(self._local)
        self._file = file
        self._parts = parts or MonitorParts()
        self._stack, self._evidence_stack = ExitStack(), ExitStack()
        self._raised: Counter[EventKind] = Counter()
        self.latest: dict[str, FrameResult] = {}
        self.frames = 0
        self._labelled = False
        self._has_window = not settings.view.headless
        self._mutes = Mutes()
        self._zone_channels: dict[tuple[str, str], tuple[str, ...]] = {}  # by camera and zone, of zones that alerted

    def __enter__(self) -> Self:
        with self._stack as stack:  # closes what was opened if a later step fails
            live = [camera.name for camera in self._settings.camera if camera.is_live]
            offline = cameras_left_offline(self._settings.alerts, live)
            online = {name: name not in {event.camera for event in offline} for name in live}  # as far as is known
            self._warn_of_unmatched_cameras()
            self.alerts = AlertCenter(self._settings.alerts, hold_back=self._mutes.hold_back, cameras=online)
            self.counts = CountRecorder(self.alerts, self._settings.camera, lambda: self.monitor.sources)
            self.monitor = Monitor(
                self._settings,
                [self._on_result],
                [self.on_event],
                offline,
                self._mutes.is_muted,
                self._parts,
                self.counts,
                self._node.may_watch if self._node is not None else lambda _: True,
            )
            prefix = f"{self._settings.fleet.node} " if self._settings.fleet.hub else ""
            self._part_watch = PartWatch(prefix, latest_of_parts(self._settings.alerts))
            self.web = self._make_web() if self._settings.web.enabled else None
            self.alerts.start()
            stack.callback(_log_unfinished, self.alerts.close)
            if self._node is not None:
                stack.callback(_log_unfinished, self._node.start(self.alerts, self.monitor).close)
            stack.callback(lambda: self._evidence_stack.close())
            self._open_evidence()
            stack.callback(self._files.close)
            self._enter_monitor(stack)
            if self.web is not None:
                stack.callback(_log_unfinished, self.web.stop)
                self.web.start()
                self._console.print(self.web.welcome)
            self._stack = stack.pop_all()
        return self

    def _open_evidence(self, before: Evidence | None = None) -> None:
        """Starts what the settings ask for; ends ``before``, what they asked for until now. Raises OutputError."""
        self._evidence_stack.close()
        self._evidence_stack = ExitStack()
        evidence = Evidence(self._settings, lambda: self.alerts.retention_now_s, self.change_event)
        try:
            evidence.open(self._evidence_stack)
        finally:
            self.evidence = evidence  # only now: a closed recorder of clips keeps the events for the next one
        if before is not None and before.clips is not None and evidence.clips is not None:
            for event in before.clips.late_events():
                evidence.clips.on_event(event)

    def _enter_monitor(self, stack: ExitStack) -> None:
        """A model that cannot be loaded ends the program, but is reported before."""
        try:
            stack.enter_context(self.monitor)
        except ModelError as error:
            for event in self._part_watch.check({CLASSIFIER: str(error)}, 0.0, time.time(), [CLASSIFIER]):
                self.alerts.submit(event, None)  # the error itself is shown
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)
        if error is None and self._node is not None and self._node.revisions.on_trial:
            self._node.revisions.end_trial()

    def _warn_of_unmatched_cameras(self) -> None:
        for problem in unmatched_camera_patterns(self._settings):
            log.warning("%s", problem)

    def _make_web(self) -> "WebServer":
        try:
            from app.web.server import WebServer
            from app.web.site import Site
        except ImportError as error:
            advice = "pip install 'maskwatch[web]' (from a checkout: pip install '.[web]')"
            raise SettingsError(f"the web view needs {error.name}: {advice}") from error
        web = WebServer(Site(self._settings, self.monitor, self.alerts, self._mutes))
        web.site.setup.file = self._file
        return web

    def _make_node(self) -> "FleetNode | None":
        if not self._local.fleet.hub:
            return None
        from app.cli.fleet_node import FleetNode

        return FleetNode(self._local)

    def step(self) -> None:
        """Uses what the hub sent, and reports parts that fail or work again. The main loop calls it often."""
        now_s = time.monotonic()
        if now_s < self._next_step_s:
            return
        self._next_step_s = now_s + _STEP_S
        if self._node is not None:
            self._node.follow(lambda: self._apply(self._local), self._use_model, self.monitor.fault_of)
        lasting = self.monitor.restarted | (self._node.faults() if self._node is not None else {})
        faults = faults_of_alerts(self.alerts.health()) | lasting
        faults = {part: redact(fault)[:200] for part, fault in faults.items()}
        for event in self._part_watch.check(faults, now_s, time.time(), lasting):
            self.monitor.report(event)

    def _with_hub(self, local: Settings) -> Settings:
        """``local`` with the settings and the models that the hub sent."""
        return local if self._node is None else self._node.over(local)

    def _use_model(self, table: str, model: Path | None) -> None:
        from app.cli.fleet_node import with_model

        uses: dict[str, Callable[[Any], None]] = {
            "classifier": self.monitor.use_classifier,
            "detector": self.monitor.use_detector,
        }
        settings = with_model(getattr(self._local, table), model)
        uses[table](settings)
        self._settings = self._settings.model_copy(update={table: settings})

    def change_event(self, reason: str, result: FrameResult) -> Event:
        """The event that a camera does not see what it usually sees."""
        frame = result.frame
        factory = EventFactory(self.monitor.run_id, frame.camera)
        return factory.of_camera(EventKind.CAMERA_CHANGED, frame.time_s, frame.wall_s, 0.0, reason)

    def run_headless(self, stopped: Callable[[], bool]) -> None:
        names = ", ".join(camera.name for camera in self._settings.camera)
        total = self._total()
        with self._console.progress(names, total) as advance:
            while not self.monitor.finished and not stopped():
                for result in self.monitor.take(_POLL_S):
                    if self.frames == 0 and total is None:  # without a progress bar, print that it runs
                        self._console.print(f"watching {names}; press Ctrl-C to stop")
                    self.take(result)
                    advance()

    def run_window(self, stopped: Callable[[], bool], image_window: "ImageWindow") -> None:
        """Continues without a window if it is lost."""
        from app.ui.kiosk import KioskWindow
        from app.ui.window import Window

        view = self._settings.view
        try:
            if view.kiosk:
                KioskWindow(self.monitor, view, stopped, image_window).run(self.take)
            else:
                Window(self.monitor, view, stopped, self, image_window).run(self.take)
        except DisplayError as error:
            log.error("%s; watching continues without a window, Ctrl-C stops it", error)
            self._has_window = False
            self.run_headless(stopped)

    @property
    def exit_code(self) -> int:
        return int(self._files.has_failed or bool(self.alerts.health().unstored_lost))

    @property
    def is_healthy(self) -> bool:
        return self.monitor.is_healthy

    def reload(self, settings: Settings) -> list[str]:
        """Applies the settings that can change at runtime and reads the channels' files again.

        Returns the settings that need a restart.
        """
        return self._apply(_without_store(settings), any(channel.reads_files for channel in settings.alerts.channels))

    def _apply(self, local: Settings, files_changed: bool = False) -> list[str]:
        before, settings, places = self._settings, self._with_hub(local), []
        if self._files.records_video or before.view.kiosk or before.fleet.failover:
            names = [[camera.name for camera in each.camera] for each in (before, settings)]
            places += ["camera (the list of cameras)"] if names[0] != names[1] else []
            settings, local = with_cameras_of(before, settings), with_cameras_of(self._local, local)
        self._local = live_part(self._local, local)
        places += needs_restart(before, settings)
        self._settings = live_part(before, settings)
        for old, new in renamed_cameras(before.camera, settings.camera).items():
            if (state := self.counts.occupancy(old)) is not None:  # the alert of the old name is ended
                self.counts.keep_occupancy(replace(state, camera=new, alert=None))
        self.monitor.apply(settings)
        self.alerts.watch([camera.name for camera in settings.camera if camera.is_live])
        if files_changed or settings.alerts != before.alerts:
            self._reload_alerts(before.alerts)
        if _kept(before) != _kept(self._settings):
            try:
                self._open_evidence(self.evidence)
            except OutputError as error:
                log.error("%s", error)
        else:
            self.evidence.apply(self._settings)
        if self.web is not None:
            self.web.reload(self._settings, self.alerts)
        return places

    def _reload_alerts(self, before: AlertSettings) -> None:
        self._warn_of_unmatched_cameras()
        try:
            self.alerts.reload(self._settings.alerts)
        except StoreError as error:
            log.error("the alert settings are not changed: %s", error)
            self._settings = self._settings.model_copy(update={"alerts": before})
            return
        store = self._settings.alerts.store
        if store != before.store:
            log.warning(
                "events are stored in %s from now on; those in %s are kept until you delete them with "
                "'maskwatch purge --store'",
                store,
                before.store,
            )

    def regions_of(self, camera: str) -> tuple[Polygon, ...]:
        """The alert regions of ``camera``, as polygons; empty if the whole frame alerts."""
        own = next((each.policy for each in self._settings.camera if each.name == camera), PolicySettings())
        return overridden(self._settings.policy, own).regions

    def turn(self, camera: str) -> str:
        """Rotates ``camera`` by another quarter clockwise. Returns a message for the user."""
        old = next((each for each in self._local.camera if each.name == camera), None)
        if old is None:
            return _NOT_WATCHED
        rotate = (old.rotate + 90) % 360
        if not (fault := self._change(f"camera.{camera}.rotate", rotate)):
            return f"rotate = {rotate} is saved"
        cameras = [each.model_copy(update={"rotate": rotate}) if each is old else each for each in self._local.camera]
        self._apply(self._local.model_copy(update={"camera": tuple(cameras)}))
        return f"rotated by {rotate} degrees until maskwatch stops: {fault}"

    def follow_web(self) -> None:
        """Does what the web view was asked for: to rotate a camera, to use new settings. The main thread calls it now
        and then."""
        while self.web is not None and self.web.site.turns:
            camera = self.web.site.turns.popleft()
            self._console.print(f"{camera}: {self.turn(camera)}")
        while self.web is not None and self.web.site.setup.reloads:
            settings, done = self.web.site.setup.reloads.popleft()
            if done.set_running_or_notify_cancel():
                done.set_result(self.reload(settings))

    def keep_regions(self, camera: str, regions: tuple[Polygon, ...]) -> str:
        """Uses ``regions`` from now on and writes them to the settings file. Returns a message for the user."""
        if all(each.name != camera for each in self._local.camera):
            return _NOT_WATCHED  # and not for all cameras
        corners = [[list(corner) for corner in polygon] for polygon in regions]
        places = (f"camera.{camera}.policy.regions", "policy.regions")  # the file may have no table of the camera
        faults = [self._change(places[0], corners)]
        if faults[0]:
            faults.append(self._change(places[1], corners))
        if not faults[-1]:
            return "regions are saved"
        cameras = tuple(
            each.model_copy(update={"policy": each.policy.model_copy(update={"regions": regions})})
            if each.name == camera
            else each
            for each in self._local.camera
        )
        self._apply(self._local.model_copy(update={"camera": cameras}))
        return f"regions last until maskwatch stops: {faults[-1]}"

    def _change(self, path: str, value: object) -> str:
        """Writes a setting to the settings file, where the web view can undo it, and uses it. Returns why that is not
        possible, or ''."""
        if self._file is None:
            return "start with --config FILE to save it"
        from app.settings.change import Change, revision_of

        try:
            self.reload(self._file.change(revision_of(self._file.read()), [Change(path, value)]))
        except SettingsError as error:
            log.warning("%s", error)
            return str(error)
        return ""

    def _total(self) -> int | None:
        """The number of frames of a single source; None if unknown."""
        first = self._settings.camera[0]
        if len(self._settings.camera) != 1 or first.is_live or first.loop:
            return None
        return self.monitor.sources[0].frame_count

    def take(self, result: FrameResult) -> None:
        if not self._labelled and result.tracks:
            self._labelled = True
            log.info("first labelled frame")  # with -v; benchmarks/executable.py measures the time until this line
        self.frames += 1
        if self._files.records_video:
            regions = self.regions_of(result.frame.camera)
            self._files.write_video(result, self.monitor, self._settings.view, regions)

    def _on_result(self, result: FrameResult) -> None:
        """Called by the dispatcher thread of the monitor."""
        self.latest[result.frame.camera] = result
        self._files.open_events()
        if self.counts.is_counted(result.frame.camera):
            for event in self.evidence.on_result(result):
                self.on_event(event, result)

    def on_event(self, event: Event, result: FrameResult | None) -> None:
        """``result`` is None for events without a frame: a camera is offline or recovered."""
        self._raised[event.kind] += 1
        self._files.write_event(event)
        is_counted = self.counts.is_counted(event.camera)
        self.alerts.submit(
            event,
            self.evidence.snapshot(event, result),
            is_counted or event.kind in PART_KINDS,
            self._channels_of(event),
        )
        if is_counted:
            self.evidence.on_event(event, result)
        if self.web is not None:
            self.web.publish(event)
        if not self._has_window:
            self._console.print(event_text(event))

    def _channels_of(self, event: Event) -> tuple[str, ...]:
        """The channels of the event's zone; empty: all. Those of a removed zone still send the end of its alerts."""
        zones = {
            zone.name: zone for camera in self._settings.camera if camera.name == event.camera for zone in camera.zone
        }
        place = event.camera, event.zone
        if event.zone in zones:
            self._zone_channels[place] = zones[event.zone].channels
        return self._zone_channels.get(place, ())

    def print_summary(self) -> None:
        """Prints people, events and written files to standard error."""
        people = map(self.counts.people, self.latest)
        self._console.print_summary(self.frames, people, self._raised, self._files.written())


def _log_unfinished(close: Callable[[], Sequence[str]]) -> None:
    for unfinished in close():
        log.warning("%s", unfinished)


def _without_store(settings: Settings) -> Settings:
    """``settings`` without an event file if no source is live: files and the demo are not stored unless asked for."""
    if settings.alerts.store_files or any(camera.is_live for camera in settings.camera):
        return settings
    return settings.model_copy(update={"alerts": settings.alerts.model_copy(update={"persist": False})})


def _kept(settings: Settings) -> tuple[object, ...]:
    """What ``Evidence`` depends on."""
    alerts = settings.alerts
    return settings.clips, settings.collect, settings.drift, settings.view.blur, alerts.store, alerts.persist
