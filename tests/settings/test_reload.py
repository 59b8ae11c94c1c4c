"""Which cameras only got another name."""

import pytest

from app.settings.monitor import CameraSettings
from app.settings.reload import renamed_cameras

DOOR, YARD = ("door", "rtsp://10.0.0.7/live"), ("yard", "rtsp://10.0.0.8/live")


@pytest.mark.parametrize(
    ("after", "renamed"),
    [
        ([("gate", DOOR[1]), YARD], {"door": "gate"}),
        ([YARD, ("gate", DOOR[1])], {"door": "gate"}),
        ([("yard", DOOR[1]), ("hall", YARD[1])], {}),  # door is gone, yard shows something else: nobody follows
        ([("gate", "rtsp://10.0.0.9/live"), YARD], {}),  # another camera
        ([YARD], {}),
        ([("gate", DOOR[1]), ("hall", DOOR[1]), YARD], {}),  # which of them?
        ([("gate", DOOR[1]), ("hall", YARD[1])], {"door": "gate", "yard": "hall"}),
    ],
)
def test_renamed_cameras(after: list[tuple[str, str]], renamed: dict[str, str]) -> None:
    old, new = ([CameraSettings(name=name, uri=uri) for name, uri in some] for some in ((DOOR, YARD), after))
    assert renamed_cameras(old, new) == renamed
