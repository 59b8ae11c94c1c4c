"""Stores the people and the watched time of the cameras that ``watch`` counts."""

from collections.abc import Callable, Mapping, Sequence

from app.alerts.delivery import AlertCenter
from app.alerts.earlier_runs import stored_occupancy
from app.capture.source import FrameSource
from app.core.camera_hours import CameraHour, Occupancy
from app.core.types import Label
from app.settings.monitor import CameraSettings


class CountRecorder:
    """Live cameras are stored and counted, files and the demo only if that is asked for."""

    def __init__(
        self, alerts: AlertCenter, cameras: Sequence[CameraSettings], sources: Callable[[], Sequence[FrameSource]]
    ) -> None:
        """``sources``: those of the monitor."""
        self._alerts = alerts
        self._sources = sources
        self._is_live: dict[str, bool] = {}  # also those that are removed: their last events come later
        self._people: dict[str, CameraHour] = {}  # of this run
        stored = stored_occupancy(alerts.settings)  # of earlier runs, also of cameras that are added later
        uncounted = [each.name for each in cameras if not (each.is_live or alerts.settings.store_files)]
        self._occupancy = {name: state for name, state in stored.items() if name not in uncounted}

    def is_counted(self, camera: str) -> bool:
        self._is_live.update({source.name: source.is_live for source in self._sources()})
        return self._is_live.get(camera, False) or self._alerts.settings.store_files

    def people(self, camera: str) -> CameraHour:
        """The people of this run."""
        return self._people.get(camera, CameraHour(camera, 0))

    def record(self, hours: Sequence[CameraHour], in_view: Sequence[CameraHour] = ()) -> None:
        for hour in hours:
            self._people[hour.camera] = self.people(hour.camera).plus(hour)
        lists = ([each for each in some if self.is_counted(each.camera)] for some in (hours, in_view))
        self._alerts.add_hours(*lists)

    def today(self, camera: str) -> Mapping[Label, int] | None:
        if not self.is_counted(camera):
            return None
        day = self._alerts.today(camera)
        return {Label.MASK: day.masked, Label.NO_MASK: day.bare, Label.INCORRECT: day.incorrect}

    def occupancy(self, camera: str) -> Occupancy | None:
        return self._occupancy.get(camera)

    def keep_occupancy(self, state: Occupancy) -> None:
        self._occupancy[state.camera] = state
        if self.is_counted(state.camera):
            self._alerts.keep_occupancy(state)
