"""Contract tests with schemathesis: the API behaves as its OpenAPI document says."""

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from fakes_web import TOKEN, FakeMonitor, Running, make_event, serving
from hypothesis import HealthCheck, Phase, settings

from app.web import openapi

schemathesis = pytest.importorskip("schemathesis", reason="needs schemathesis: pip install '.[test]'")
STREAMS = ("/cameras/{camera}/stream.mjpeg", "/live", "/stream")
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("contract")
    (folder / "token").write_text(TOKEN)
    channels = [
        {"kind": "command", "name": "c", "argv": ["true"]},
        {"kind": "push", "name": "p", "contact": "mailto:a@b.example"},
    ]
    alerts = {"channels": channels, "snapshots": "blur_all"}
    with ExitStack() as stack:
        running = stack.enter_context(serving(folder, FakeMonitor("door", "yard"), alerts, token_file=folder / "token"))
        running.add_event(make_event(1), b"\xff\xd8")
        yield running


NOT_IN_A_SCHEMA = ("/push/subscribe",)  # its keys must be points of a curve; test_web_push.py
schema = schemathesis.openapi.from_dict(openapi.document()).exclude(path=[*STREAMS, *NOT_IN_A_SCHEMA])


@schema.parametrize()
@settings(
    max_examples=12,
    derandomize=True,
    database=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
def test_the_api_follows_its_document(served: Running, case: "schemathesis.Case") -> None:
    case.call_and_validate(base_url=f"{served.base}/api/v1", headers=BEARER)


def test_the_served_document_is_the_generated_one(served: Running) -> None:
    with served.client(headers=BEARER) as client:
        assert client.get("/api/v1/openapi.json").json() == json.loads(json.dumps(openapi.document()))


def test_every_object_of_the_document_is_described() -> None:
    document = json.dumps(openapi.document())
    named = set(re.findall(r'"#/components/schemas/(\w+)"', document))
    assert named == openapi.document()["components"]["schemas"].keys()


def test_every_route_is_in_the_document() -> None:
    from app.web import api

    documented = {(path, method.upper()) for path, methods in openapi.document()["paths"].items() for method in methods}
    routes = {
        (route.path.removeprefix("/api/v1").replace(":int", "").replace(":path", ""), method)
        for route in api.routes()
        for method in (route.methods or set()) - {"HEAD"}
    }
    assert documented == routes


def test_streams_have_the_documented_media_type(served: Running) -> None:
    for path in STREAMS:
        media_type = next(iter(openapi.document()["paths"][path]["get"]["responses"]["200"]["content"]))
        url = "/api/v1" + path.format(camera=1)
        with served.client(headers=BEARER) as client, client.stream("GET", url) as response:
            assert response.status_code == 200
            assert response.headers["content-type"].startswith(media_type)
