"""One run of ``watch``: the monitor and its outputs (events, alerts, video, console messages)."""

import logging
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import datetime
from functools import cached_property, partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from app import __version__
from app.alerts.day_counts import stored_occupancy
from app.alerts.delivery import AlertCenter
from app.alerts.event_records import EventLog
from app.alerts.hook import PART_KINDS
from app.alerts.mutes import Mutes
from app.alerts.offline_cameras import cameras_left_offline
from app.alerts.part_watch import CLASSIFIER, PartWatch, faults_of_alerts, latest_of_parts
from app.alerts.store_types import CameraHour, Occupancy, StoreInUseError
from app.capture.reader import FALLBACK_FPS
from app.capture.recorder import VideoWriter, check_output
from app.cli.evidence import Evidence
from app.core.errors import DisplayError, ModelError, OutputError, SettingsError
from app.core.files import inodes
from app.core.secrets import redact
from app.core.standard_streams import fault_tolerant_stderr
from app.core.text import counted, reason_text
from app.core.types import Event, EventKind, FrameResult, Label
from app.pipeline.event_factory import EventFactory
from app.pipeline.monitor import Monitor, MonitorParts
from app.settings.alerts import AlertSettings, NatsChannel
from app.settings.monitor import PolicySettings, Polygon, overridden
from app.settings.reload import live_part, needs_restart, renamed_cameras, with_cameras_of
from app.settings.root import Settings, unmatched_camera_patterns
from app.settings.source import SourceKind

if TYPE_CHECKING:  # what not every run needs is imported late, so that the start is fast
    from rich.console import Console

    from app.cli.fleet_node import FleetNode
    from app.fleet.agent import FleetAgent
    from app.fleet.messages import NodeHealth
    from app.settings.change import SettingsFile
    from app.ui.image_window import ImageWindow
    from app.web.server import WebServer

log = logging.getLogger(__name__)

_POLL_S = 0.2
"""How long a headless run may take to notice a stop request."""
_LIVE_VIDEO_FPS = 15.0
_STEP_S = 0.5
EVENT_SUFFIXES = (".jsonl", ".csv")
_COUNTED_LABELS = (Label.MASK, Label.NO_MASK, Label.INCORRECT)


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
        if events is not None and events.suffix.lower() not in EVENT_SUFFIXES:
            raise OutputError(f"cannot write events to {events}: name it .jsonl or .csv")
        if output is not None and len(settings.camera) > 1:
            raise SettingsError("--output records one source; give one --source, or omit --output")
        if settings.view.kiosk and len(settings.camera) > 1:
            raise SettingsError("the kiosk shows one camera; give one --source, or omit --kiosk")
        self.exit_code = 0
        self._local = _without_store(settings)
        """The settings of this machine: what a hub sent is added to them in ``_settings``."""
        self._node = self._make_node()
        self._next_step_s = 0.0
        self._settings = self._with_hub(self._local)
        self._output = output
        self._events_path = events
        self._file = file
        self._parts = parts or MonitorParts()
        self._stack, self._evidence_stack = ExitStack(), ExitStack()
        self._event_log: EventLog | None = None
        self.video: VideoWriter | None = None
        self._print_above: Callable[[str], None] | None = None
        self._raised: Counter[EventKind] = Counter()
        self.latest: dict[str, FrameResult] = {}
        self._people: dict[str, CameraHour] = {}  # of this run, by camera
        self.frames = 0
        self._labelled = False
        self._events_failed = False
        self._has_window = not settings.view.headless
        self._mutes = Mutes()
        self._zone_channels: dict[tuple[str, str], tuple[str, ...]] = {}  # by camera and zone, of zones that alerted
        self._is_live: dict[str, bool] = {}  # by camera, also those that are removed: their last events come later
        self._occupancy: dict[str, Occupancy] = {}  # by camera, also of earlier runs

    def __enter__(self) -> Self:
        with self._stack as stack:  # closes what was opened if a later step fails
            if self._output is not None:
                self._check_output(self._output, "video")
            if self._events_path is not None:
                self._check_output(self._events_path, "events")
            live = [camera.name for camera in self._settings.camera if camera.is_live]
            offline = cameras_left_offline(self._settings.alerts, live)
            uncounted = [
                each.name for each in self._settings.camera if not (each.is_live or self._settings.alerts.store_files)
            ]
            stored = stored_occupancy(self._settings.alerts)  # also of cameras that are added later
            self._occupancy = {name: state for name, state in stored.items() if name not in uncounted}
            may_watch = self._node.may_watch if self._node is not None else lambda _: True
            self.monitor = Monitor(
                self._settings,
                [self._on_result],
                [self.on_event],
                offline,
                self._mutes.is_muted,
                self._parts,
                self,
                may_watch,
            )
            prefix = f"{self._settings.fleet.node} " if self._settings.fleet.hub else ""
            self._part_watch = PartWatch(prefix, latest_of_parts(self._settings.alerts))
            self.alerts = self._make_alerts({name: name not in {event.camera for event in offline} for name in live})
            self.web = self._make_web() if self._settings.web.enabled else None
            self.alerts.start()
            stack.callback(self._close_alerts)
            if self._settings.fleet.hub:
                self._start_fleet(stack)
            stack.callback(lambda: self._evidence_stack.close())
            self._open_evidence()
            stack.callback(self._close_outputs)
            self._enter_monitor(stack)
            if self.web is not None:
                stack.callback(self._close_web)
                self.web.start()
                self._print(self.web.welcome)
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
        if error is None and self._node is not None and self._node.revisions.is_on_trial:
            self._node.revisions.end_trial()

    def _check_output(self, path: Path, what: str) -> None:
        """Raises OutputError if ``path`` cannot be written, or is one of the sources."""
        check_output(path, what)
        for camera in self._settings.camera:
            if camera.kind is SourceKind.FILE and inodes([path]) & inodes([Path(camera.uri)]):
                raise OutputError(f"cannot write {what} {path}: it is the source; choose another name")

    def _make_alerts(self, cameras: Mapping[str, bool]) -> AlertCenter:
        """``cameras``: whether each live camera is online, as far as is known."""
        self._warn_of_unmatched_cameras()
        return AlertCenter(self._settings.alerts, hold_back=self._mutes.hold_back, cameras=cameras)

    def _warn_of_unmatched_cameras(self) -> None:
        for problem in unmatched_camera_patterns(self._settings):
            log.warning("%s", problem)

    def _make_web(self) -> "WebServer":
        try:
            from app.web.server import WebServer
        except ImportError as error:
            advice = "pip install 'maskwatch[web]' (from a checkout: pip install '.[web]')"
            raise SettingsError(f"the web view needs {error.name}: {advice}") from error
        web = WebServer(self._settings, self.monitor, self.alerts, self._mutes)
        web.site.setup.file = self._file
        return web

    def _make_node(self) -> "FleetNode | None":
        if not self._local.fleet.hub:
            return None
        from app.cli.fleet_node import FleetNode

        return FleetNode(self._local)

    def _start_fleet(self, stack: ExitStack) -> None:
        from app.fleet.agent import FleetAgent

        fleet, stores = self._settings.fleet, self._settings.alerts.persist
        counts_as = fleet.node if stores else f"{fleet.node} {time.time():.0f}"
        assert self._node is not None
        parts = self._node.leases, self._node.revisions
        agent = FleetAgent(fleet, self._node_health, self.alerts.final_hours, counts_as, *parts)
        agent.start()
        stack.callback(self._close_fleet, agent)

    def step(self) -> None:
        """Uses what the hub sent, and reports parts that fail or work again. The main loop calls it often."""
        now_s = time.monotonic()
        if now_s < self._next_step_s:
            return
        self._next_step_s = now_s + _STEP_S
        if self._node is not None:
            self._node.follow(self._apply_hub, self._use_model, self.monitor.restarted)
        lasting = self.monitor.restarted | (self._node.faults() if self._node is not None else {})
        faults = faults_of_alerts(self.alerts.health()) | lasting
        faults = {part: redact(fault)[:200] for part, fault in faults.items()}
        for event in self._part_watch.check(faults, now_s, time.time(), lasting):
            self.monitor.report(event)

    def _with_hub(self, local: Settings) -> Settings:
        """``local`` with the settings and the classifier that the hub sent."""
        return local if self._node is None else self._node.over(local)

    def _apply_hub(self) -> None:
        self._apply(self._local)

    def _use_model(self, model: Path | None) -> None:
        from app.cli.fleet_node import with_model

        classifier = with_model(self._local.classifier, model)
        self.monitor.use_classifier(classifier)
        self._settings = self._settings.model_copy(update={"classifier": classifier})

    def _close_fleet(self, agent: "FleetAgent") -> None:
        for stuck in agent.close():
            log.warning("%s", stuck)

    def _node_health(self) -> "NodeHealth":
        """Called by the thread of the fleet."""
        from app.fleet.messages import NodeHealth

        alerts = self.alerts.health()
        faults = [f"{part}: {fault}" for part, fault in faults_of_alerts(alerts).items()]
        return NodeHealth(
            version=__version__,
            heartbeat_s=self._settings.fleet.heartbeat_s,
            waiting=sum(each.waiting for each in alerts.channels if each.name == self._hub_channel),
            cameras={view.camera: view.status.state.value for view in self.monitor.views()},
            faults=tuple(redact(fault)[:200] for fault in faults),
            applied=self._node.revisions.applied() if self._node is not None else {},
            failover=self._settings.fleet.failover,
        )

    @property
    def _hub_channel(self) -> str:
        """The channel that sends to the hub."""
        return next((each.name for each in self._settings.alerts.channels if isinstance(each, NatsChannel)), "")

    def change_event(self, reason: str, result: FrameResult) -> Event:
        """The event that a camera does not see what it usually sees."""
        frame = result.frame
        factory = EventFactory(self.monitor.run_id, frame.camera)
        return factory.of_camera(EventKind.CAMERA_CHANGED, frame.time_s, frame.wall_s, 0.0, reason)

    def _close_web(self) -> None:
        assert self.web is not None
        for stuck in self.web.stop():
            log.warning("%s", stuck)

    def _close_alerts(self) -> None:
        for unsent in self.alerts.close():
            log.warning("%s", unsent)
        if self.alerts.health().unstored_lost:
            self.exit_code = 1

    def _close_outputs(self) -> None:
        try:
            if self._event_log is not None:
                self._event_log.close()
        finally:
            if self.video is not None:
                self.video.close()

    def run_headless(self, stopped: Callable[[], bool]) -> None:
        total = self._total()
        with self._progress(total) as advance:
            while not self.monitor.finished and not stopped():
                for result in self.monitor.take(_POLL_S):
                    if self.frames == 0 and total is None:  # without a progress bar, print that it runs
                        names = ", ".join(camera.name for camera in self._settings.camera)
                        self._print(f"watching {names}; press Ctrl-C to stop")
                    self._take(result)
                    advance()

    def run_window(self, stopped: Callable[[], bool], image_window: "ImageWindow") -> None:
        """Continues without a window if it is lost."""
        from app.ui.kiosk import KioskWindow
        from app.ui.window import Window

        view = self._settings.view
        try:
            if view.kiosk:
                KioskWindow(self.monitor, view, stopped, image_window).run(self._take)
            else:
                Window(self.monitor, view, stopped, self, image_window).run(self._take)
        except DisplayError as error:
            log.error("%s; watching continues without a window, Ctrl-C stops it", error)
            self._has_window = False
            self.run_headless(stopped)

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
        if self._output is not None or before.view.kiosk or before.fleet.failover:
            names = [[camera.name for camera in each.camera] for each in (before, settings)]
            places += ["camera (the list of cameras)"] if names[0] != names[1] else []
            settings, local = with_cameras_of(before, settings), with_cameras_of(self._local, local)
        self._local = live_part(self._local, local)
        places += needs_restart(before, settings)
        self._settings = live_part(before, settings)
        for old, new in renamed_cameras(before.camera, settings.camera).items():
            if (state := self._occupancy.get(old)) is not None:  # the alert of the old name is ended
                self.keep_occupancy(replace(state, camera=new, alert=None))
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
        except StoreInUseError as error:
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
        if old is None:  # it was removed or got another name, and is stopped only within a second
            return "this camera is not watched any more"
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
            self._print(f"{camera}: {self.turn(camera)}")
        while self.web is not None and self.web.site.setup.reloads:
            settings, done = self.web.site.setup.reloads.popleft()
            if done.set_running_or_notify_cancel():
                done.set_result(self.reload(settings))

    def keep_regions(self, camera: str, regions: tuple[Polygon, ...]) -> str:
        """Uses ``regions`` from now on and writes them to the settings file. Returns a message for the user."""
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

    @contextmanager
    def _progress(self, total: int | None) -> Iterator[Callable[[], None]]:
        """Shows a progress bar of ``total`` frames in a terminal. Yields the function to call after each frame."""
        if total is None or sys.stderr is None or not sys.stderr.isatty():
            yield lambda: None
            return
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self._console, transient=True) as progress:
            task = progress.add_task(self._settings.camera[0].name, total=total)
            self._print_above = partial(progress.print, markup=False, highlight=False, soft_wrap=True)
            try:
                yield lambda: progress.advance(task)
            finally:
                self._print_above = None

    @cached_property
    def _console(self) -> "Console":
        from rich.console import Console

        return Console(stderr=True, file=fault_tolerant_stderr())

    def _print(self, text: str) -> None:
        """Prints one line to standard error, above a progress bar."""
        if self._print_above is not None:
            self._print_above(text)
        elif (stderr := fault_tolerant_stderr()) is not None:  # a full disk must not stop the run
            print(text, file=stderr)

    def _total(self) -> int | None:
        """The number of frames of a single source; None if unknown."""
        if len(self._settings.camera) != 1 or self._settings.camera[0].loop:
            return None
        return self._parts.make_source(self._settings.camera[0]).frame_count

    def _take(self, result: FrameResult) -> None:
        if not self._labelled and result.tracks:
            self._labelled = True
            log.info("first labelled frame")  # with -v; benchmarks/executable.py measures the time until this line
        self.frames += 1
        if self._output is not None:
            self._write_video(result, self._output)

    def _write_video(self, result: FrameResult, path: Path) -> None:
        """Raises OutputError if the video of a file cannot be written; a live source continues without a video."""
        from app.ui.hud import render_result

        camera = self._settings.camera[0]
        source = self.monitor.sources[0]
        is_live = source.is_live
        view, shown = self._settings.view, self.monitor.views()[0]
        image = render_result(result, view.blur, view.verbose, shown, self.regions_of(camera.name))
        try:
            if self.video is None:
                fps = source.fps or (_LIVE_VIDEO_FPS if is_live else FALLBACK_FPS)
                self.video = VideoWriter(path, fps, (image.shape[1], image.shape[0]), is_live=is_live)
            self.video.write(image, None if camera.kind is SourceKind.IMAGES else result.frame.time_s)
        except OutputError as error:
            if not is_live:
                raise
            log.error("%s; watching continues without a video", error)
            self._output, self.exit_code = None, 1

    def _on_result(self, result: FrameResult) -> None:
        """Called by the dispatcher thread of the monitor."""
        self.latest[result.frame.camera] = result
        self._open_event_log()
        if self._is_counted(result.frame.camera):
            for event in self.evidence.on_result(result):
                self.on_event(event, result)

    def _is_counted(self, camera: str) -> bool:
        """Whether ``camera`` is stored and counted: live cameras are, files and the demo only if that is asked for."""
        self._is_live.update({source.name: source.is_live for source in self.monitor.sources})
        return self._is_live.get(camera, False) or self._settings.alerts.store_files

    def record(self, hours: Sequence[CameraHour], in_view: Sequence[CameraHour] = ()) -> None:
        """Called by the monitor with the people and the watched time of its cameras, and with who is in view."""
        for hour in hours:
            self._people[hour.camera] = self._people.get(hour.camera, CameraHour(hour.camera, 0)).plus(hour)
        lists = ([each for each in some if self._is_counted(each.camera)] for some in (hours, in_view))
        self.alerts.add_hours(*lists)

    def today(self, camera: str) -> Mapping[Label, int] | None:
        """The people whom ``camera`` counted today, also those in view; None if it is not counted."""
        if not self._is_counted(camera):
            return None
        day = self.alerts.today(camera)
        return {Label.MASK: day.masked, Label.NO_MASK: day.bare, Label.INCORRECT: day.incorrect}

    def occupancy(self, camera: str) -> Occupancy | None:
        return self._occupancy.get(camera)

    def keep_occupancy(self, state: Occupancy) -> None:
        self._occupancy[state.camera] = state
        if self._is_counted(state.camera):
            self.alerts.keep_occupancy(state)

    def _open_event_log(self) -> None:
        """Opened with the first result or event, so a source that cannot be opened leaves no file."""
        if self._event_log is None and self._events_path is not None and not self._events_failed:
            self._event_log = EventLog(self._events_path)

    def on_event(self, event: Event, result: FrameResult | None) -> None:
        """``result`` is None for events without a frame: a camera is offline or recovered."""
        self._raised[event.kind] += 1
        self._open_event_log()
        try:
            if self._event_log is not None:
                self._event_log.write(event)
        except OutputError as error:  # a full disk must not stop the run, but changes the exit code
            if not self._events_failed:
                log.error("%s", error)
            self._events_failed, self.exit_code = True, 1
        is_counted = event.kind in PART_KINDS or self._is_counted(event.camera)
        self.alerts.submit(event, self.evidence.snapshot(event, result), is_counted, self._channels_of(event))
        if self._is_counted(event.camera):
            self.evidence.on_event(event, result)
        if self.web is not None:
            self.web.publish(event)
        if not self._has_window:
            self._print(event_text(event))

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
        """Prints people, events and written files to standard error; standard output is reserved for data."""
        from rich.table import Table

        from app.ui.palette import STYLES

        table = Table(title=f"{counted(self.frames, 'frame')} analysed", title_justify="left")
        table.add_column("source")
        for label in _COUNTED_LABELS:
            table.add_column(STYLES[label].word, justify="right")
        for name in self.latest:
            people = self._people.get(name, CameraHour(name, 0))
            table.add_row(name, *map(str, (people.masked, people.bare, people.incorrect)))
        self._console.print(table)
        counts = ", ".join(f"{count} {kind.value}" for kind, count in sorted(self._raised.items())) or "none"
        self._print(f"events: {counts}")
        if written := self._written():
            self._print(f"written: {', '.join(map(str, written))}")

    def _written(self) -> list[Path]:
        """The written files; a video without frames is never created."""
        video = self.video.path if self.video is not None and self.video.frames else None
        events = self._events_path if self._event_log is not None else None
        return [path for path in (video, events) if path is not None]


def _without_store(settings: Settings) -> Settings:
    """``settings`` without an event file if no source is live: files and the demo are not stored unless asked for."""
    if settings.alerts.store_files or any(camera.is_live for camera in settings.camera):
        return settings
    return settings.model_copy(update={"alerts": settings.alerts.model_copy(update={"persist": False})})


def _kept(settings: Settings) -> tuple[object, ...]:
    """What ``Evidence`` depends on."""
    alerts = settings.alerts
    return settings.clips, settings.collect, settings.drift, settings.view.blur, alerts.store, alerts.persist


def event_text(event: Event) -> str:
    """One readable line."""
    when = datetime.fromtimestamp(event.wall_s).strftime("%H:%M:%S")
    what = f"{event.kind.value}" + (f" ({reason_text(event.reason)})" if event.reason else "")
    who = f", person #{event.track_id}, {event.confidence:.0%}" if event.track_id else ""
    if event.people > 1:
        who = f", {event.people} people{who}"
    return f"{when} {event.camera} at {event.time_s:.1f} s: {what}{who}, {event.duration_s:.1f} s"
