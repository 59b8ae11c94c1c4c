"""This machine as a node of a fleet: the settings and the classifier that the hub sent, its leases and its reports."""

import logging
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from app import __version__
from app.alerts.delivery import AlertCenter
from app.alerts.part_watch import CLASSIFIER, faults_of_alerts
from app.core.errors import MaskwatchError, SettingsError
from app.core.secrets import redact
from app.fleet.agent import FleetAgent
from app.fleet.leases import Leases
from app.fleet.messages import NodeHealth
from app.fleet.revisions import NodeRevisions
from app.pipeline.monitor import CLASSIFIER_THREAD, Monitor
from app.settings.alerts import NatsChannel
from app.settings.pushed import PushedSettings, read_pushed, with_pushed
from app.settings.root import Settings
from app.settings.vision import ClassifierSettings

log = logging.getLogger(__name__)

TRIAL_S = 60.0
"""A classifier of the hub that has worked for so long is kept."""


def with_model(own: ClassifierSettings, model: Path | None) -> ClassifierSettings:
    return own if model is None else own.model_copy(update={"model": model, "backend": "litert"})


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
        classifier = with_model(local.classifier, self.revisions.model)
        return settings.model_copy(update={"monitor": monitor, "classifier": classifier})

    def faults(self) -> dict[str, str]:
        applied = self.revisions.applied()["model"]
        return {CLASSIFIER: f"the model of the hub is refused: {applied.reason}"} if applied.refused else {}

    def follow(
        self,
        apply: Callable[[], None],
        use_model: Callable[[Path | None], None],
        restarted: Mapping[str, str],
    ) -> None:
        """Uses what the hub sent since the last call. ``apply`` uses ``over``; ``use_model`` raises MaskwatchError if a
        model cannot be loaded, None is that of this machine. ``restarted``: the threads that were restarted lately."""
        revisions, now_s = self.revisions, time.monotonic()
        if revisions.is_on_trial and CLASSIFIER_THREAD in restarted:
            revisions.roll_back("the classifier hung while it was tried")
            use_model(revisions.model)
        elif revisions.is_on_trial and now_s >= self._trial_ends_s:
            revisions.end_trial()
        while (taken := revisions.take()) is not None:
            part, revision = taken
            try:
                if part == "settings":
                    self._pushed = read_pushed(revision.content)
                    apply()
                else:
                    use_model(revisions.path_of(revision))
                    self._trial_ends_s = now_s + TRIAL_S
                revisions.accept(part, revision)
            except MaskwatchError as error:
                revisions.refuse(part, revision, str(error))
