"""The region editor: clicks, and saving to the settings file without other changes."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.errors import OutputError
from app.settings.load import load_settings
from app.settings.polygons import Polygon
from app.ui.faces import canvas
from app.ui.palette import INK
from app.ui.region_editor import RegionDraft, draw_regions, save_policy

TRIANGLE = ((0.1, 0.1), (0.9, 0.1), (0.5, 0.8))


def clicked(*corners: tuple[float, float]) -> RegionDraft:
    draft = RegionDraft()
    for x, y in corners:
        draft = draft.click(x, y)
    return draft


def test_clicks_become_a_region() -> None:
    assert clicked(*TRIANGLE).close() == RegionDraft((TRIANGLE,))
    assert clicked(*TRIANGLE[:2]).close() == RegionDraft(), "two corners do not form a region"
    assert clicked((-3, 0.5), (7, 7)).corners == ((0.0, 0.5), (1.0, 1.0))


def test_a_region_that_crosses_itself_cannot_be_closed() -> None:
    bow = clicked((0.1, 0.1), (0.9, 0.9), (0.9, 0.1), (0.1, 0.9))
    assert not bow.can_close
    assert bow.undo().can_close
    assert clicked((0.1, 0.1), (0.1, 0.1)).can_close, "it is discarded"


def test_undo_removes_corners_and_then_regions() -> None:
    draft = RegionDraft((TRIANGLE,)).click(0.5, 0.5)
    assert draft.undo() == RegionDraft((TRIANGLE,))
    assert draft.undo().undo() == RegionDraft()
    assert RegionDraft().undo() == RegionDraft()


def test_regions_are_drawn() -> None:
    board, _ = canvas(np.zeros((200, 300, 3), np.uint8), 300)
    draw_regions(board, [], RegionDraft((TRIANGLE,), ((0.2, 0.9), (0.8, 0.9))))
    colours = {tuple(pixel) for pixel in board.image.reshape(-1, 3).tolist()}
    assert INK in colours
    assert board.image[20, 40:260].min() > 120, "the upper edge of the triangle"
    assert not board.image[60, 145:155].any(), "the inside is not filled"


FILE = """# two doors
[[camera]]
uri = "front.mp4"   # the street
name = "front"

[[camera]]
uri = "back.mp4"
name = "back"

[policy]
dwell_s = 3.0
"""


def save_regions(path: Path, camera: str, regions: list[Polygon]) -> None:
    save_policy(path, camera, "regions", [[list(corner) for corner in polygon] for polygon in regions])


def test_regions_are_saved_for_their_camera_only(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text(FILE)
    save_regions(path, "back", [TRIANGLE])
    settings = load_settings(path)
    assert settings.camera[1].policy.regions == (TRIANGLE,)
    assert settings.camera[0].policy.regions == settings.policy.regions == ()
    assert settings.policy.dwell_s == 3.0
    for line in FILE.splitlines():
        assert line in path.read_text()
    save_regions(path, "back", [])
    assert load_settings(path).camera[1].policy.regions == ()
    assert [each.name for each in tmp_path.iterdir()] == ["settings.toml"]


def test_an_unnamed_camera_is_identified_by_its_address(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text('[[camera]]\nuri = "front.mp4"\n\n[[camera]]\nuri = "0"\n\n[[camera]]\nuri = "front.mp4"\n')
    save_regions(path, "front-2", [TRIANGLE])
    save_regions(path, "Camera 1", [TRIANGLE, TRIANGLE])
    settings = load_settings(path)
    assert [len(camera.policy.regions) for camera in settings.camera] == [0, 2, 1]
    assert settings.policy.regions == ()


def test_regions_are_saved_in_inline_tables_too(tmp_path: Path) -> None:
    path = tmp_path / "maskwatch.toml"
    path.write_text("camera = [{uri = '0', name = 'front'}, {uri = '1', name = 'back'}] # both\n\n[web]\nport = 99\n")
    save_regions(path, "back", [TRIANGLE])
    save_regions(path, "back", [TRIANGLE, TRIANGLE])
    settings = load_settings(path)
    assert [len(camera.policy.regions) for camera in settings.camera] == [0, 2]
    assert settings.web.port == 99
    assert "# both" in path.read_text()


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions and links")
def test_permissions_and_links_of_the_file_are_kept(tmp_path: Path) -> None:
    path, link = tmp_path / "settings.toml", tmp_path / "link.toml"
    path.write_text(FILE)
    path.chmod(0o600)
    link.symlink_to(path)
    save_regions(link, "back", [TRIANGLE])
    assert link.is_symlink()
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_settings(path).camera[1].policy.regions == (TRIANGLE,)


def test_an_invalid_file_is_not_changed(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text('[[camera]]\nuri = "demo"\nwidth_px = -1\n')
    with pytest.raises(OutputError, match="width_px"):
        save_regions(path, "demo", [TRIANGLE])
    assert "regions" not in path.read_text()


def test_regions_of_an_unlisted_camera_go_to_the_common_policy(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text("[policy]\ndwell_s = 3.0\n")
    save_regions(path, "demo", [TRIANGLE])
    assert load_settings(path).policy.regions == (TRIANGLE,)


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"none\.toml"):
        save_regions(tmp_path / "none.toml", "demo", [TRIANGLE])


@given(st.lists(st.one_of(st.tuples(st.floats(-1, 2), st.floats(-1, 2)), st.sampled_from(["close", "undo"]))))
def test_any_clicks_give_valid_polygons(steps: list[object]) -> None:
    draft = RegionDraft()
    for action in steps:
        if action == "close":
            draft = draft.close()
        elif action == "undo":
            draft = draft.undo()
        else:
            draft = draft.click(*action)  # type: ignore[misc]
    for polygon in draft.closed:
        assert len(polygon) >= 3
        assert all(0 <= value <= 1 for corner in polygon for value in corner)
