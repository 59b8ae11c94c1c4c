"""The OpenAPI document of the API, made from the records that its answers are made from."""

from typing import Any

from pydantic.json_schema import models_json_schema

from app import __version__
from app.core.types import EventKind
from app.web import schemas

_JSON, _JPEG = "application/json", "image/jpeg"
_REFS = "#/components/schemas/{model}"
_MODELS = (
    schemas.Acknowledged,
    schemas.CameraList,
    schemas.CameraRecord,
    schemas.Compliance,
    schemas.EventList,
    schemas.EventRecord,
    schemas.Fault,
    schemas.Mute,
    schemas.Muted,
    schemas.SessionRecord,
    schemas.Status,
    schemas.TestResults,
)


def _ref(model: type) -> dict[str, Any]:
    return {"$ref": _REFS.format(model=model.__name__)}


def _content(model: type | None, kind: str = _JSON) -> dict[str, Any]:
    return {kind: {"schema": _ref(model) if model else {"type": "string"}}}


def _fault(words: str) -> dict[str, Any]:
    return {"description": words, "content": _content(schemas.Fault)}


def _operation(
    name: str, summary: str, model: type | None, kind: str = _JSON, faults: tuple[int, ...] = (), **more: Any
) -> dict[str, Any]:
    words = {400: "the request is faulty", 403: "no form secret", 404: "no such thing", 409: "not now"}
    answers = {"200": {"description": "well", "content": _content(model, kind)}, "401": _fault("not signed in")}
    answers |= {str(status): _fault(words.get(status, "try again later")) for status in faults}
    return {"operationId": name, "summary": summary, "responses": answers, **more}


def _parameter(name: str, place: str, schema: dict[str, Any], words: str = "") -> dict[str, Any]:
    return {"name": name, "in": place, "required": place == "path", "schema": schema, "description": words}


_CAMERA = _parameter("camera", "path", {"type": "integer", "minimum": 1, "maximum": 10_000}, "place, from 1")
_EVENT = _parameter("event", "path", {"type": "string", "minLength": 1, "maxLength": 200}, "id; write '/' as %2F")
_TIME = {"type": "number", "minimum": 0, "maximum": 1e10}
_FILTER = [
    _parameter("since", "query", _TIME, "Unix time, included"),
    _parameter("until", "query", _TIME, "Unix time, not included"),
    _parameter(
        "camera",
        "query",
        {"type": "array", "items": {"type": "string", "pattern": r"^[\x20-\x7E]{1,80}$"}, "maxItems": 20},
        "name",
    ),
    _parameter(
        "kind",
        "query",
        {"type": "array", "items": {"type": "string", "enum": [kind.value for kind in EventKind]}, "maxItems": 20},
    ),
]
_LIMIT = _parameter("limit", "query", {"type": "integer", "minimum": 1, "maximum": 500, "default": 50})
_AFTER = _parameter(
    "after", "query", {"type": "integer", "minimum": 0}, "id of the last event had: those since come too"
)


def _paths() -> dict[str, Any]:
    get, store = _operation, (400, 503)
    camera: dict[str, Any] = {"parameters": [_CAMERA]}
    event: dict[str, Any] = {"parameters": [_EVENT]}
    body: dict[str, Any] = {"requestBody": {"required": True, "content": {_JSON: {"schema": _ref(schemas.Mute)}}}}
    return {
        "/session": {"get": get("session", "The secret that POSTs of a browser must carry", schemas.SessionRecord)},
        "/status": {"get": get("status", "Everything as of now", schemas.Status)},
        "/cameras": {"get": get("cameras", "All cameras", schemas.CameraList)},
        "/cameras/{camera}": {"get": get("camera", "One camera", schemas.CameraRecord, faults=(404,), **camera)},
        "/cameras/{camera}/picture.jpg": {
            "get": get("cameraPicture", "Its newest picture, boxes drawn", None, _JPEG, (404,), **camera)
        },
        "/cameras/{camera}/stream.mjpeg": {
            "get": get(
                "cameraStream", "Live pictures (MJPEG)", None, "multipart/x-mixed-replace", (404, 503), **camera
            )
        },
        "/cameras/{camera}/mute": {
            "post": get("mute", "Send no alerts of it", schemas.Muted, _JSON, (400, 403, 404), **camera, **body)
        },
        "/cameras/{camera}/unmute": {
            "post": get("unmute", "Send its alerts again", schemas.Muted, faults=(403, 404), **camera)
        },
        "/events": {
            "get": get("events", "Kept events", schemas.EventList, faults=store, parameters=[*_FILTER, _LIMIT])
        },
        "/events.csv": {
            "get": get("eventsCsv", "Kept events as a table", None, "text/csv", store, parameters=_FILTER)
        },
        "/events/{event}": {"get": get("event", "One event", schemas.EventRecord, faults=(404, 503), **event)},
        "/events/{event}/picture.jpg": {
            "get": get("eventPicture", "The picture kept with it", None, _JPEG, (404, 503), **event)
        },
        "/alerts": {"get": get("alerts", "Open alerts", schemas.EventList)},
        "/alerts/test": {
            "post": get("testAlert", "Send a test alert through every channel", schemas.TestResults, faults=(403, 409))
        },
        "/alerts/{event}/acknowledge": {
            "post": get("acknowledge", "Someone has seen it", schemas.Acknowledged, faults=(403, 404, 503), **event)
        },
        "/compliance": {
            "get": get("compliance", "People by whole hours", schemas.Compliance, faults=store, parameters=_FILTER)
        },
        "/stream": {
            "get": get(
                "stream", "Live changes (server-sent events)", None, "text/event-stream", (503,), parameters=[_AFTER]
            )
        },
        "/openapi.json": {"get": get("document", "This document", dict)},
    }  # fmt: skip


def document() -> dict[str, Any]:
    """OpenAPI 3.1."""
    _, definitions = models_json_schema([(model, "serialization") for model in _MODELS], ref_template=_REFS)
    paths = _paths()
    paths["/openapi.json"]["get"]["responses"]["200"]["content"] = {_JSON: {"schema": {"type": "object"}}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "maskwatch", "version": __version__, "description": "What maskwatch sees, and what it did."},
        "servers": [{"url": "/api/v1"}],
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
