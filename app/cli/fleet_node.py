"""This machine as a node of a fleet: the settings and the models that the hub sent, its leases and its reports."""

import logging
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from app import __version__
from app.alerts.delivery import AlertCenter
from app.alerts.part_watch import faults_of_alerts
from app.core.errors import MaskwatchError, SettingsError
from app.core.secrets import redact
from app.fleet.agent import FleetAgent
from app.fleet.leases import Leases
from app.fleet.messages import TABLES, NodeHealth
from app.fleet.revisions import NodeRevisions
from app.pipeline.monitor import Monitor
from app.settings.alerts import NatsChannel
from app.settings.pushed import PushedSettings, read_pushed, with_pushed
from app.settings.root import Settings
from app.settings.vision import ClassifierSettings, DetectorSettings

log = logging.getLogger(__name__)

TRIAL_S = 60.0
"""A model of the hub that has worked for so long is kept."""
M = TypeVar("M", ClassifierSettings, DetectorSettings)


def with_model(own: M, model: Path | None) -> M:
    """``own`` with a model of the hub, if there is one."""
    if model is None:
        return own
    update: dict[str, object] = {"model": model, "backend": "litert"}
    return own.model_copy(update=update | ({"kind": "cnn"} if isinstance(own, DetectorSettings) else {}))


class FleetNode:
    """``may_watch`` may be called from any thread, all else from the main thread."""

    def __init__(self, local: Settings) -> None:
        self._settings = fleet = local.fleet
        store = local.alerts.store
        shared = [camera.name for camera in local.camera if camera.is_live]
        self.leases = Leases(fleet, shared) if fleet.failover else None
        self.revisions = NodeRevisions(fleet, store.with_name(f"{store.name}.fleet"))
        self._pushed = PushedSettings()
        self._trial_ends_s = 0.0
        try:
            self._pushed = read_pushed(self.revisions.settings_text)
        except SettingsError as error:  # another version wrote them
            log.error("the settings that the hub sent are not used: %s", error)

    def start(self, alerts: AlertCenter, monitor: Monitor) -> FleetAgent:
        """Reports to the hub from now on. Raises SettingsError."""
        counts_as = self._settings.node if alerts.settings.persist else f"{self._settings.node} {time.time():.0f}"
        health = partial(self._health, alerts, monitor)
        agent = FleetAgent(self._settings, health, alerts.final_hours, counts_as, self.leases, self.revisions)
        agent.start()
        return agent

    def _health(self, alerts: AlertCenter, monitor: Monitor) -> NodeHealth:
        """Called by the thread of the agent."""
        health = alerts.health()
        to_hub = [each.name for each in alerts.settings.channels if isinstance(each, NatsChannel)]
        faults = [f"{part}: {fault}" for part, fault in faults_of_alerts(health).items()]
        return NodeHealth(
            version=__version__,
            heartbeat_s=self._settings.heartbeat_s,
            waiting=sum(each.waiting for each in health.channels if each.name in to_hub),
            cameras={view.camera: view.status.state.value for view in monitor.views()},
            faults=tuple(redact(fault)[:200] for fault in faults),
            applied=self.revisions.applied(),
            failover=self._settings.failover,
        )

    def may_watch(self, camera: str) -> bool:
        return self.leases is None or self.leases.owns(camera)

    def over(self, local: Settings) -> Settings:
        """The settings of this machine with what the hub sent. A node that shares its cameras does not end because the
        one that it takes over cannot be reached yet."""
        settings = with_pushed(local, self._pushed)
        monitor = settings.monitor.model_copy(update={"retry_at_start": True}) if self.leases else settings.monitor
        models = {
            table: with_model(getattr(local, table), self.revisions.model(part)) for part, table in TABLES.items()
        }
        return settings.model_copy(update={"monitor": monitor, **models})

    def faults(self) -> dict[str, str]:
        applied = self.revisions.applied()
        return {
            table: f"the model of the hub is refused: {applied[part].reason}"
            for part, table in TABLES.items()
            if applied[part].refused
        }

    def follow(
        self, apply: Callable[[], object], use_model: Callable[[str, Path | None], None], fault_of: Callable[[str], str]
    ) -> None:
        """Uses what the hub sent since the last call. ``apply`` uses ``over``. ``use_model`` uses a model for a table
        of the settings, None is that of this machine; it raises MaskwatchError if it cannot be loaded. ``fault_of``:
        why a thread that runs the model of a table was restarted since then, or ''."""
        revisions, now_s = self.revisions, time.monotonic()
        if tried := revisions.on_trial:
            if fault := fault_of(TABLES[tried]):
                revisions.roll_back(f"while it was tried, {fault}")
                use_model(TABLES[tried], revisions.model(tried))
            elif now_s >= self._trial_ends_s:
                revisions.end_trial()
        while (taken := revisions.take()) is not None:
            part, revision = taken
            try:
                if part == "settings":
                    self._pushed = read_pushed(revision.content)
                    apply()
                else:
                    use_model(TABLES[part], revisions.path_of(revision))
                    self._trial_ends_s = now_s + TRIAL_S
                revisions.accept(part, revision)
            except MaskwatchError as error:
                revisions.refuse(part, revision, str(error))
