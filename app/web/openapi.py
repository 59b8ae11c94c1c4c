"""The OpenAPI document, generated from the same models as the responses."""

from typing import Any

from pydantic.json_schema import models_json_schema

from app import __version__
from app.core.types import EventKind
from app.web import push, schemas
from app.web.mjpeg import WIDTHS_PX

_JSON, _JPEG = "application/json", "image/jpeg"
_REFS = "#/components/schemas/{model}"
_MODELS = [
    each
    for module in (schemas, push)
    for each in vars(module).values()
    if isinstance(each, type) and issubclass(each, schemas.Record) and each is not schemas.Record
]


def _ref(model: type) -> dict[str, Any]:
    return {"$ref": _REFS.format(model=model.__name__)}


def _content(model: type | str) -> dict[str, Any]:
    """``model``: of JSON, or another media type."""
    if isinstance(model, str):
        return {model: {"schema": {"type": "string"}}}
    return {_JSON: {"schema": _ref(model) if issubclass(model, schemas.Record) else {"type": "object"}}}


def _error(description: str) -> dict[str, Any]:
    return {"description": description, "content": _content(schemas.Fault)}


def _parameter(name: str, location: str, schema: dict[str, Any], description: str = "") -> dict[str, Any]:
    return {"name": name, "in": location, "required": location == "path", "schema": schema, "description": description}


_TIME = {"type": "number", "minimum": 0, "maximum": 1e10}
_NUMBER = {"type": "integer", "minimum": 1, "maximum": 10_000}
_NAMES = {"type": "array", "items": {"type": "string", "pattern": r"^[^\x00]{0,200}$"}, "maxItems": 100}
_KINDS = {"type": "array", "items": {"type": "string", "enum": [kind.value for kind in EventKind]}, "maxItems": 100}
_ID = {"type": "string", "minLength": 1, "maxLength": 200}
_FILTER = (
    _parameter("since", "query", _TIME, "Unix time, inclusive"),
    _parameter("until", "query", _TIME, "Unix time, exclusive"),
    _parameter("camera", "query", _NAMES, "camera name"),
    _parameter("kind", "query", _KINDS),
)
_BLURRED = {"type": "string", "maxLength": 10}
_LIMIT = {"type": "integer", "minimum": 1, "maximum": 500, "default": 50}
_DAY, _SINCE = {"type": "string", "format": "date"}, {"type": "integer", "minimum": 0}
_WIDTH = {"type": "number", "minimum": 1, "maximum": 10_000}
_ABOUT_WIDTH = (
    f"width at which a camera is shown, px; the images have the next of {WIDTHS_PX}, and at most web.max_width_px"
)
_OF_PATH = {
    "camera": _parameter("camera", "path", _NUMBER, "camera number, from 1"),
    "event": _parameter("event", "path", _ID, "event id; write '/' as %2F"),
    "face": _parameter("face", "path", _ID, "id of a collected face"),
    "key": _parameter("key", "path", {"type": "string", "minLength": 1, "maxLength": 100}),
}
_OF_QUERY = {
    "events": (*_FILTER, _parameter("limit", "query", _LIMIT)),
    "eventsCsv": _FILTER,
    "compliance": _FILTER[:3],
    "day": (_parameter("day", "query", _DAY, "local day") | {"required": True}, _FILTER[2]),
    "eventPicture": (_parameter("blurred", "query", _BLURRED, "if given, the event's face is blurred too"),),
    "stream": (_parameter("after", "query", _SINCE, "id of the last received event: later events are sent first"),),
    "live": (
        _parameter("camera", "query", {"type": "array", "items": _NUMBER}, "all if not given"),
        _parameter("width", "query", _WIDTH, _ABOUT_WIDTH),
    ),
}
"""By operation."""
_BODIES: dict[str, type] = {
    "mute": schemas.Mute,
    "judge": schemas.Judgement,
    "labelFace": schemas.FaceLabelling,
    "acknowledgeAll": schemas.EventIds,
    "subscribe": push.Subscription,
    "unsubscribe": push.Endpoint,
    "changeSettings": schemas.SettingsChanges,
    "tryCamera": schemas.TryAddress,
}
_CAMERA, _EVENT, _FACE = "/cameras/{camera}", "/events/{event}", "/faces/{face}"
_OPERATIONS: tuple[tuple[str, str, str, str, type | str, tuple[int, ...]], ...] = (
    ("get", "/session", "session", "The CSRF secret for POST requests", schemas.SessionRecord, ()),
    ("get", "/status", "status", "Current state of cameras, alerts and delivery", schemas.Status, ()),
    ("get", "/cameras", "cameras", "All cameras", schemas.CameraList, ()),
    ("get", _CAMERA, "camera", "One camera", schemas.CameraRecord, (404,)),
    ("get", f"{_CAMERA}/picture.jpg", "cameraPicture", "Latest frame with bounding boxes", _JPEG, (404,)),
    ("get", f"{_CAMERA}/stream.mjpeg", "cameraStream", "Live stream (MJPEG)", "multipart/x-mixed-replace", (404, 503)),
    ("get", "/live", "live", "All cameras in one stream: camera number and length of the JPEG as 32-bit big-endian "
     "integers, then the JPEG", "application/octet-stream", (400, 404, 503)),
    ("post", f"{_CAMERA}/mute", "mute", "Mute the camera", schemas.Muted, (400, 403, 404)),
    ("post", f"{_CAMERA}/unmute", "unmute", "Unmute the camera", schemas.Muted, (403, 404)),
    ("post", f"{_CAMERA}/turn", "turn", "Rotate the camera by a quarter clockwise", schemas.Turned, (403, 404)),
    ("get", "/events", "events", "Stored events", schemas.EventList, (400, 503)),
    ("get", "/events.csv", "eventsCsv", "Stored events as CSV", "text/csv", (400, 503)),
    ("get", _EVENT, "event", "One event", schemas.EventRecord, (404, 503)),
    ("get", f"{_EVENT}/picture.jpg", "eventPicture", "Snapshot of the event", _JPEG, (404, 503)),
    ("get", f"{_EVENT}/clip.mp4", "clip", "Video of the event", "video/mp4", (404,)),
    ("get", f"{_EVENT}/clip.json", "clipBoxes", "Faces in the video", dict, (404,)),
    ("get", f"{_EVENT}/clip.jpg", "clipPoster", "Image of the video", _JPEG, (404,)),
    ("post", f"{_EVENT}/verdict", "judge", "Store a verdict", schemas.Judged, (400, 403, 404, 409, 503)),
    ("get", f"{_FACE}/picture.jpg", "facePicture", "Scene of the face", _JPEG, (404,)),
    ("post", f"{_FACE}/label", "labelFace", "Label a face", schemas.Labelled, (400, 403, 404, 503)),
    ("get", "/day.zip", "day", "Events, clips and snapshots of a day", "application/zip", (400, 503)),
    ("post", "/alerts/acknowledge", "acknowledgeAll", "Acknowledge several", schemas.AllAcknowledged, (400, 403, 503)),
    ("get", "/alerts", "alerts", "Open alerts", schemas.EventList, ()),
    ("post", "/alerts/test", "testAlert", "Send a test alert to every channel", schemas.TestResults, (403, 409)),
    ("post", "/alerts/{event}/acknowledge", "acknowledge", "Acknowledge the alert", schemas.Acknowledged,
     (403, 404, 503)),
    ("get", "/push", "pushKey", "The key to subscribe to alerts with", push.PushKey, (409, 503)),
    ("post", "/push/subscribe", "subscribe", "Send alerts to this browser", push.PushDevice, (400, 403, 409, 503)),
    ("post", "/push/unsubscribe", "unsubscribe", "Send no more alerts to this browser", push.Unsubscribed,
     (400, 403, 409, 503)),
    ("get", "/compliance", "compliance", "People and alerts by hour", schemas.Compliance, (400, 503)),
    ("get", "/stream", "stream", "Live updates (server-sent events)", "text/event-stream", (503,)),
    ("get", "/openapi.json", "document", "This document", dict, ()),
    ("get", "/settings", "settings", "The settings without secrets", schemas.SettingsRecord, (400,)),
    ("post", "/settings", "changeSettings", "Change the settings file", schemas.SavedSettings, (400, 403, 409)),
    ("post", "/settings/undo", "undoSettings", "Take the last change back", schemas.SavedSettings, (400, 403, 409)),
    ("post", "/setup/try", "tryCamera", "Open an address", schemas.TriedAddress, (400, 403, 409)),
    ("get", "/setup/tried/{key}/picture.jpg", "triedPicture", "Picture of an address", _JPEG, (404,)),
)  # fmt: skip
"""Method, path, name, summary, answer (a model or a media type) and errors."""


def _paths() -> dict[str, dict[str, Any]]:
    reasons = {400: "invalid request", 403: "CSRF secret missing", 404: "not found", 409: "conflict"}
    paths: dict[str, dict[str, Any]] = {}
    for method, path, name, summary, answer, errors in _OPERATIONS:
        responses = {"200": {"description": "success", "content": _content(answer)}, "401": _error("not signed in")}
        responses |= {str(status): _error(reasons.get(status, "try again later")) for status in errors}
        operation: dict[str, Any] = {"operationId": name, "summary": summary, "responses": responses}
        of_path = [each for key, each in _OF_PATH.items() if f"{{{key}}}" in path]
        if parameters := [*of_path, *_OF_QUERY.get(name, ())]:
            operation["parameters"] = parameters
        if name in _BODIES:
            operation["requestBody"] = {"required": True, "content": _content(_BODIES[name])}
        paths.setdefault(path, {})[method] = operation
    return paths


def document(root: str = "") -> dict[str, Any]:
    """OpenAPI 3.1; ``root`` is the path under which a proxy serves the web view."""
    _, definitions = models_json_schema([(model, "serialization") for model in _MODELS], ref_template=_REFS)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "maskwatch",
            "version": __version__,
            "description": "Cameras, events, alerts and statistics of a running maskwatch.",
        },
        "servers": [{"url": f"{root}/api/v1"}],
        "security": [{"token": []}, {"session": []}],
        "paths": _paths(),
        "components": {
            "schemas": definitions["$defs"],
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "cookie", "name": "maskwatch_session"},
            },
        },
    }
