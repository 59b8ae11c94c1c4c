"""maskwatch: a real-time face-mask monitor.

``label_faces(image)`` labels the faces of one image; ``Monitor(load_settings(path))`` watches cameras and videos.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from app.pipeline.image_labeler import LabeledFace, label_faces
    from app.pipeline.monitor import Monitor
    from app.settings.load import load_settings

__version__ = "1.0.0"

__all__ = ["LabeledFace", "Monitor", "__version__", "label_faces", "load_settings"]

_HOMES = {
    "LabeledFace": "app.pipeline.image_labeler",
    "Monitor": "app.pipeline.monitor",
    "label_faces": "app.pipeline.image_labeler",
    "load_settings": "app.settings.load",
}


def __getattr__(name: str) -> Any:
    """Loads a public name when it is first used: importing the package stays fast."""
    if name not in _HOMES:
        raise AttributeError(f"module 'app' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
