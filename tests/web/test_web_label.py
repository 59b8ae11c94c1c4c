"""The label page: which face comes first, labels and boxes by forms and by programs, taking a label back."""

import re
from pathlib import Path

import numpy as np
import pytest
from fakes_review import FACE, add_face
from fakes_web import Running, make_event

from app.core.types import Box, Label
from app.review.collected import SCENE, CollectedFaces

IMAGE = np.full((120, 160, 3), 90, np.uint8)


@pytest.fixture
def faces(running: Running) -> CollectedFaces:
    """Three faces; the model is least sure about 'b', and 'c' is a disagreement."""
    faces = running.server.site.collected
    add_face(faces, "1.5-a", IMAGE, label="mask", confidence=0.9)
    add_face(faces, "2.5-b", IMAGE, label="no_mask", confidence=0.6)
    add_face(faces, "3.5-c", IMAGE, label="mask", confidence=0.95, reason="disagreement")
    return faces


def shown(page: str) -> str:
    found = re.search(r"/api/v1/faces/([^/]+)/label\" data-labelling", page)
    return found[1] if found else ""


def labels(faces: CollectedFaces) -> dict[str, Label | None]:
    return {face.id: face.known_label for face in faces.faces()}


def test_the_most_useful_face_is_first_until_all_have_a_label(running: Running, faces: CollectedFaces) -> None:
    with running.browser() as (client, secret):
        order = []
        while face := shown(client.get("/label").text):
            order.append(face)
            answer = client.post(f"/api/v1/faces/{face}/label", headers=secret, json={"label": "no_mask"})
            assert answer.json() == {"id": face, "label": "no_mask"}
        assert order == ["3.5-c", "2.5-b", "1.5-a"]
        assert "Every collected face has a label" in client.get("/label").text
    assert set(labels(faces).values()) == {Label.NO_MASK}


def test_without_faces_the_page_says_how_to_collect_some(running: Running) -> None:
    assert "No faces are collected yet" in running.get("/label").text


def test_a_form_labels_and_takes_back_without_javascript(running: Running, faces: CollectedFaces) -> None:
    with running.browser() as (client, secret):
        assert shown(client.get("/label?skip=1").text) == "2.5-b"
        fields = {"csrf": secret["X-CSRF-Token"], "back": "/label?last=2.5-b", "box": "", "label": "not_face"}
        response = client.post("/api/v1/faces/2.5-b/label", data=fields)
        assert response.headers["location"] == "/label?last=2.5-b&said=labelled"
        assert labels(faces)["2.5-b"] is Label.NOT_FACE
        assert "Undo the last label" in client.get(response.headers["location"]).text
        undo = client.post("/api/v1/faces/2.5-b/label", data={**fields, "label": "", "back": "/label?face=2.5-b"})
        assert shown(client.get(undo.headers["location"]).text) == "2.5-b"
    assert labels(faces)["2.5-b"] is None


def test_a_corrected_box_moves_in_scene_and_crop(running: Running, faces: CollectedFaces) -> None:
    with running.browser() as (client, secret):
        body = {"label": "mask", "box": [FACE.x + 3, FACE.y - 2, 40, 44]}
        assert client.post("/api/v1/faces/2.5-b/label", headers=secret, json=body).status_code == 200
    face = faces.find("2.5-b")
    assert face is not None
    assert face.box == face.crop_box == Box(FACE.x + 3, FACE.y - 2, 40, 44)
    assert face.known_label is Label.MASK


def test_a_box_stays_in_the_crop_from_which_a_model_learns(running: Running, faces: CollectedFaces) -> None:
    with running.browser() as (client, secret):
        for box, code in ([2000, 2000, 40, 40], 400), ([100, 100, 200, 200], 200):
            body = {"label": "mask", "box": box}
            assert client.post("/api/v1/faces/2.5-b/label", headers=secret, json=body).status_code == code
    face = faces.find("2.5-b")
    assert face is not None
    assert face.crop_box == Box(100, 100, 60, 20)


def test_a_label_is_the_verdict_on_the_event_of_the_face(running: Running, faces: CollectedFaces) -> None:
    event = running.add_event(make_event(1))
    add_face(faces, event.id, IMAGE, label="no_mask", reason="event")
    with running.browser() as (client, secret):
        for label, verdict in (("mask", ("wrong_label", "mask")), ("no_mask", ("right", "")), ("", ("", ""))):
            client.post(f"/api/v1/faces/{event.id}/label", headers=secret, json={"label": label})
            record = client.get(f"/api/v1/events/{event.id}").json()
            assert (record["verdict"], record["verdict_label"]) == verdict


def test_what_is_wrong_is_refused(running: Running, faces: CollectedFaces) -> None:
    with running.browser() as (client, secret):
        path = "/api/v1/faces/2.5-b/label"
        assert client.post(path, json={"label": "mask"}).status_code == 403
        for body in ({"label": "hat"}, {}, {"label": "mask", "box": [1, 2, 3]}, {"label": "mask", "box": [1, 2, 0, 4]}):
            assert client.post(path, headers=secret, json=body).status_code == 400
        assert client.post("/api/v1/faces/none/label", headers=secret, json={"label": "mask"}).status_code == 404
        assert client.get("/api/v1/faces/none/picture.jpg").status_code == 404
    assert labels(faces)["2.5-b"] is None


def test_the_page_is_offered_only_where_faces_are_collected(running: Running, tmp_path: Path) -> None:
    assert 'href="/label"' not in running.get("/review").text
    faces = running.server.site.collected
    add_face(faces, "1.5-a", IMAGE)
    assert 'href="/label"' in running.get("/review").text
    assert running.get("/api/v1/faces/1.5-a/picture.jpg").content == faces.folder.read("1.5-a", SCENE)
