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


def _content(model: type | None, media_type: str = _JSON) -> dict[str, Any]:
    return {media_type: {"schema": _ref(model) if model else {"type": "string"}}}


def _error(description: str) -> dict[str, Any]:
    return {"description": description, "content": _content(schemas.Fault)}


def _operation(
    name: str, summary: str, model: type | None, media_type: str = _JSON, errors: tuple[int, ...] = (), **more: Any
) -> dict[str, Any]:
    reasons = {400: "invalid request", 403: "CSRF secret missing", 404: "not found", 409: "conflict"}
    responses = {
        "200": {"description": "success", "content": _content(model, media_type)},
        "401": _error("not signed in"),
    }
    responses |= {str(status): _error(reasons.get(status, "try again later")) for status in errors}
    return {"operationId": name, "summary": summary, "responses": responses, **more}


def _parameter(name: str, location: str, schema: dict[str, Any], description: str = "") -> dict[str, Any]:
    return {"name": name, "in": location, "required": location == "path", "schema": schema, "description": description}


def _body(model: type) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {_JSON: {"schema": _ref(model)}}}}


_CAMERA = _parameter("camera", "path", {"type": "integer", "minimum": 1, "maximum": 10_000}, "camera number, from 1")
_NUMBERS = {"type": "array", "items": _CAMERA["schema"]}
_EVENT = _parameter("event", "path", {"type": "string", "minLength": 1, "maxLength": 200}, "event id; write '/' as %2F")
_FACE = _parameter("face", "path", {"type": "string", "minLength": 1, "maxLength": 200}, "id of a collected face")
_TIME = {"type": "number", "minimum": 0, "maximum": 1e10}
_FILTER = [
    _parameter("since", "query", _TIME, "Unix time, inclusive"),
    _parameter("until", "query", _TIME, "Unix time, exclusive"),
    _parameter(
        "camera",
        "query",
        {"type": "array", "items": {"type": "string", "pattern": r"^[^\x00]{0,200}$"}, "maxItems": 100},
        "camera name",
    ),
    _parameter(
        "kind",
        "query",
        {"type": "array", "items": {"type": "string", "enum": [kind.value for kind in EventKind]}, "maxItems": 100},
    ),
]
_BLURRED = _parameter(
    "blurred", "query", {"type": "string", "maxLength": 10}, "if given, the event's face is blurred too"
)
_LIMIT = _parameter("limit", "query", {"type": "integer", "minimum": 1, "maximum": 500, "default": 50})
_AFTER = _parameter(
    "after", "query", {"type": "integer", "minimum": 0}, "id of the last received event: later events are sent first"
)


def _paths() -> dict[str, Any]:
    get, store = _operation, (400, 503)
    camera: dict[str, Any] = {"parameters": [_CAMERA]}
    event: dict[str, Any] = {"parameters": [_EVENT]}
    face: dict[str, Any] = {"parameters": [_FACE]}
    bodies = (schemas.Mute, schemas.Judgement, schemas.EventIds, schemas.FaceLabelling)
    body, judgement, ids, labelling = (_body(model) for model in bodies)
    day = _parameter("day", "query", {"type": "string", "format": "date"}, "local day") | {"required": True}
    return {
        "/session": {"get": get("session", "The CSRF secret for POST requests", schemas.SessionRecord)},
        "/status": {"get": get("status", "Current state of cameras, alerts and delivery", schemas.Status)},
        "/cameras": {"get": get("cameras", "All cameras", schemas.CameraList)},
        "/cameras/{camera}": {"get": get("camera", "One camera", schemas.CameraRecord, errors=(404,), **camera)},
        "/cameras/{camera}/picture.jpg": {
            "get": get("cameraPicture", "Latest frame with bounding boxes", None, _JPEG, (404,), **camera)
        },
        "/cameras/{camera}/stream.mjpeg": {
            "get": get(
                "cameraStream", "Live stream (MJPEG)", None, "multipart/x-mixed-replace", (404, 503), **camera
            )
        },
        "/live": {
            "get": get(
                "live",
                "All cameras in one stream: camera number and length of the JPEG as 32-bit big-endian integers, then "
                "the JPEG",
                None,
                "application/octet-stream",
                (400, 404, 503),
                parameters=[
                    _parameter("camera", "query", _NUMBERS, "all if not given"),
                    _parameter(
                        "width", "query", {"type": "number", "minimum": 1, "maximum": 10_000},
                        f"width at which a camera is shown, px; the images have the next of {WIDTHS_PX}, and at most "
                        "web.max_width_px",
                    ),
                ],
            )
        },
        "/cameras/{camera}/mute": {
            "post": get("mute", "Mute the camera", schemas.Muted, _JSON, (400, 403, 404), **camera, **body)
        },
        "/cameras/{camera}/unmute": {
            "post": get("unmute", "Unmute the camera", schemas.Muted, errors=(403, 404), **camera)
        },
        "/cameras/{camera}/turn": {
            "post": get("turn", "Rotate the camera by a quarter clockwise", schemas.Turned, errors=(403, 404), **camera)
        },
        "/events": {
            "get": get("events", "Stored events", schemas.EventList, errors=store, parameters=[*_FILTER, _LIMIT])
        },
        "/events.csv": {
            "get": get("eventsCsv", "Stored events as CSV", None, "text/csv", store, parameters=_FILTER)
        },
        "/events/{event}": {"get": get("event", "One event", schemas.EventRecord, errors=(404, 503), **event)},
        "/events/{event}/picture.jpg": {
            "get": get(
                "eventPicture", "Snapshot of the event", None, _JPEG, (404, 503), parameters=[_EVENT, _BLURRED]
            )
        },
        "/events/{event}/clip.mp4": {"get": get("clip", "Video of the event", None, "video/mp4", (404,), **event)},
        "/events/{event}/clip.json": {"get": get("clipBoxes", "Faces in the video", dict, errors=(404,), **event)},
        "/events/{event}/clip.jpg": {"get": get("clipPoster", "Image of the video", None, _JPEG, (404,), **event)},
        "/events/{event}/verdict": {
            "post": get(
                "judge", "Store a verdict", schemas.Judged, _JSON, (400, 403, 404, 409, 503), **event, **judgement
            )
        },
        "/faces/{face}/picture.jpg": {"get": get("facePicture", "Scene of the face", None, _JPEG, (404,), **face)},
        "/faces/{face}/label": {
            "post": get("labelFace", "Label a face", schemas.Labelled, _JSON, (400, 403, 404, 503), **face, **labelling)
        },
        "/day.zip": {
            "get": get(
                "day", "Events, clips and snapshots of a day", None, "application/zip", store,
                parameters=[day, _FILTER[2]],
            )
        },
        "/alerts/acknowledge": {
            "post": get("acknowledgeAll", "Acknowledge several", schemas.AllAcknowledged, _JSON, (400, 403, 503), **ids)
        },
        "/alerts": {"get": get("alerts", "Open alerts", schemas.EventList)},
        "/alerts/test": {
            "post": get("testAlert", "Send a test alert to every channel", schemas.TestResults, errors=(403, 409))
        },
        "/alerts/{event}/acknowledge": {
            "post": get("acknowledge", "Acknowledge the alert", schemas.Acknowledged, errors=(403, 404, 503), **event)
        },
        "/push": {"get": get("pushKey", "The key to subscribe to alerts with", push.PushKey, errors=(409, 503))},
        "/push/subscribe": {
            "post": get(
                "subscribe", "Send alerts to this browser", push.PushDevice, _JSON, (400, 403, 409, 503),
                **_body(push.Subscription),
            )
        },
        "/push/unsubscribe": {
            "post": get(
                "unsubscribe", "Send no more alerts to this browser", push.Unsubscribed, _JSON, (400, 403, 409, 503),
                **_body(push.Endpoint),
            )
        },
        "/compliance": {
            "get": get("compliance", "People and alerts by hour", schemas.Compliance, errors=store, parameters=_FILTER)
        },
        "/stream": {
            "get": get(
                "stream", "Live updates (server-sent events)", None, "text/event-stream", (503,), parameters=[_AFTER]
            )
        },
        "/openapi.json": {"get": get("document", "This document", dict)},
        **_setup_paths(),
    }  # fmt: skip


def _setup_paths() -> dict[str, Any]:
    refused, key = (400, 403), _parameter("key", "path", {"type": "string", "minLength": 1, "maxLength": 100})

    def post(name: str, summary: str, answer: type, body: type | None = None) -> dict[str, Any]:
        given = {} if body is None else _body(body)
        return {"post": _operation(name, summary, answer, _JSON, (*refused, 409), **given)}

    return {
        "/settings": {
            "get": _operation("settings", "The settings without secrets", schemas.SettingsRecord, errors=(400,)),
            **post("changeSettings", "Change the settings file", schemas.SavedSettings, schemas.SettingsChanges),
        },
        "/settings/undo": post("undoSettings", "Take the last change back", schemas.SavedSettings),
        "/setup/try": post("tryCamera", "Open an address", schemas.TriedAddress, schemas.TryAddress),
        "/setup/tried/{key}/picture.jpg": {
            "get": _operation("triedPicture", "Picture of an address", None, _JPEG, (404,), parameters=[key])
        },
    }


def document(root: str = "") -> dict[str, Any]:
    """OpenAPI 3.1; ``root`` is the path under which a proxy serves the web view."""
    _, definitions = models_json_schema([(model, "serialization") for model in _MODELS], ref_template=_REFS)
    paths = _paths()
    for path in ("/openapi.json", "/events/{event}/clip.json"):
        paths[path]["get"]["responses"]["200"]["content"] = {_JSON: {"schema": {"type": "object"}}}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "maskwatch",
            "version": __version__,
            "description": "Cameras, events, alerts and statistics of a running maskwatch.",
        },
        "servers": [{"url": f"{root}/api/v1"}],
        "security": [{"token": []}, {"session": []}],
        "paths": paths,
        "components": {
            "schemas": definitions["$defs"],
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "cookie", "name": "maskwatch_session"},
            },
        },
    }
