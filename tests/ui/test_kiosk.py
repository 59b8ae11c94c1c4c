"""The kiosk: one large sentence to the people in view, in every shape of screen and direction of writing."""

from dataclasses import replace

import numpy as np
import pytest
from fakes import plain_frame
from fakes_window import FakeImageWindow, FakeMonitor
from test_kiosk_sign import track

from app.capture.capture import SourceState, SourceStatus
from app.cli.watch_session import WatchSession
from app.core.errors import SettingsError
from app.core.types import Box, Counts, FrameResult, Image, Label, StageTimes, Track
from app.pipeline.camera import CameraView
from app.settings.load import load_settings
from app.settings.view import ViewSettings
from app.ui import kiosk
from app.ui.image_window import Closed, Key, Resized
from app.ui.kiosk import LOOKS, KioskWindow, draw_kiosk, fitted
from app.ui.kiosk_sign import Sign
from app.ui.sentences import SENTENCES, Sentences
from app.ui.typeface import starts_rtl

SETTINGS = ViewSettings(kiosk=True, kiosk_sound="off", language="en")
ENGLISH = SENTENCES["en"]


def view_of(image: Image, *tracks: Track, state: SourceState = SourceState.LIVE, error: str = "") -> CameraView:
    frame = replace(plain_frame(3), image=image)
    status = SourceStatus("door", state, 0.0, last_error=error)
    return CameraView("door", status, True, frame, tuple(tracks))


def halves() -> Image:
    """Dark on the left, bright on the right."""
    image = np.zeros((90, 160, 3), np.uint8)
    image[:, 80:] = 200
    return image


@pytest.mark.parametrize("size_px", [(1920, 1080), (1080, 1920), (640, 480), (3840, 2160)])
def test_picture_is_mirrored_and_the_sign_has_its_colour(size_px: tuple[int, int]) -> None:
    image = draw_kiosk(view_of(halves()), Sign.WEAR_MASK, ENGLISH, size_px, SETTINGS)
    width, height = size_px
    assert image.shape == (height, width, 3)
    assert image[height // 4, width // 8].tolist() == [200] * 3
    assert image[height // 4, -width // 8].tolist() == [0] * 3
    assert tuple(image[-3, 3].tolist()) == LOOKS[Sign.WEAR_MASK].fill
    plain = draw_kiosk(
        view_of(halves()), Sign.WEAR_MASK, ENGLISH, size_px, SETTINGS.model_copy(update={"kiosk_mirror": False})
    )
    assert plain[height // 4, width // 8].tolist() == [0] * 3


@pytest.mark.parametrize("language", SENTENCES)
@pytest.mark.parametrize("room", [(1400.0, 220.0), (970.0, 390.0), (300.0, 60.0)])
def test_every_sentence_is_whole_and_fits(language: str, room: tuple[float, float]) -> None:
    for name in Sentences.__dataclass_fields__:
        sentence = getattr(SENTENCES[language], name)
        lines, size_px = fitted(sentence, *room)
        assert " ".join(lines) == sentence
        assert size_px >= 12
        assert len(lines) * size_px * 1.2 <= room[1] + size_px


def test_long_own_sentence_is_shrunk() -> None:
    lines, size_px = fitted("word " * 39, 1400, 220)
    assert len(lines) >= 3
    assert len(lines) * size_px * 1.22 <= 220


def test_icon_stands_where_reading_starts() -> None:
    def icon_share(sentence: str) -> float:
        """How much of the ink of the band is in its left quarter."""
        own = replace(ENGLISH, wear_mask=sentence)
        band = draw_kiosk(view_of(halves()), Sign.WEAR_MASK, own, (800, 400), SETTINGS)[300:]
        ink = (np.abs(band.astype(int) - LOOKS[Sign.WEAR_MASK].fill) > 40).any(axis=2)
        return float(ink[:, :400].sum() / ink.sum())

    assert starts_rtl("يرجى")
    assert not starts_rtl("123 mask")
    assert icon_share("m") > 0.6
    assert icon_share("م") < 0.5


def test_faces_are_hidden_if_so_set() -> None:
    image = np.random.default_rng(1).integers(0, 255, (360, 640, 3), np.uint8)
    view = view_of(image)
    assert view.frame is not None
    counts = Counts({}, {})
    result = FrameResult(view.frame, (), (), counts, (), (), StageTimes(), (Box(200, 60, 120, 120),))
    shown = replace(view, analysed=result)
    size_px = 640, 514  # 360 px of picture, so that nothing is scaled
    clear = draw_kiosk(shown, Sign.UNSURE, ENGLISH, size_px, SETTINGS)
    blurred = draw_kiosk(shown, Sign.UNSURE, ENGLISH, size_px, SETTINGS.model_copy(update={"blur": True}))
    changed = (clear != blurred).any(axis=2)
    assert changed[90:150, 360:400].mean() > 0.9, "at its place in the mirror"
    assert not changed[:, :250].any()
    assert image.std() > 60, "the frame itself is unchanged"


def test_idle_screen_has_a_clock_and_says_why_a_camera_is_offline() -> None:
    size_px = 960, 540
    online = draw_kiosk(view_of(halves()), Sign.IDLE, ENGLISH, size_px, SETTINGS)
    offline = view_of(halves(), state=SourceState.RECONNECTING, error="connection refused")
    fault = draw_kiosk(offline, Sign.IDLE, ENGLISH, size_px, SETTINGS)
    changed = (online != fault).any(axis=(1, 2))
    assert changed[-60:].any()
    assert (online[180:300] > 200).any(), "the clock"


class People(FakeMonitor):
    """One camera; ``label`` is what the person in view wears."""

    def __init__(self) -> None:
        super().__init__(1)
        self.label: Label | None = None
        self.state = SourceState.LIVE

    def views(self) -> list[CameraView]:
        tracks = [] if self.label is None else [track(self.label)]
        return [view_of(halves(), *tracks, state=self.state)]


def test_signs_follow_the_people_in_view(monkeypatch: pytest.MonkeyPatch) -> None:
    people, clock = People(), [100.0]
    monkeypatch.setattr(kiosk.time, "monotonic", lambda: clock[0])
    window = KioskWindow(people, SETTINGS, lambda: False, FakeImageWindow())  # type: ignore[arg-type]

    def after(label: Label | None, for_s: float) -> Sign:
        people.label = label
        for _ in range(round(for_s * 10)):
            clock[0] += 0.1
            window.redraw()
        return window.sign

    assert after(None, 1.0) is Sign.IDLE
    assert after(Label.UNSURE, 0.5) is Sign.UNSURE
    assert after(Label.NO_MASK, 1.2) is Sign.WEAR_MASK
    assert after(Label.INCORRECT, 1.2) is Sign.COVER_NOSE
    assert after(Label.MASK, 1.0) is Sign.THANK_YOU
    people.state = SourceState.STALE
    assert after(Label.MASK, 3.0) is Sign.IDLE, "a picture that stands still thanks nobody"


def test_upright_screen_shows_the_part_with_the_nearest_person() -> None:
    image = np.zeros((360, 640, 3), np.uint8)
    image[:, 500:] = 200
    size_px = 360, 600
    for mirror in (True, False):
        settings = SETTINGS.model_copy(update={"kiosk_mirror": mirror})
        view = view_of(image, replace(track(Label.MASK), box=Box(540, 100, 80, 80)))
        near = draw_kiosk(view, Sign.THANK_YOU, ENGLISH, size_px, settings, kiosk.nearest_centre(view))
        middle = draw_kiosk(view, Sign.THANK_YOU, ENGLISH, size_px, settings)
        assert near[100].mean() > middle[100].mean() + 30
    assert kiosk.nearest_centre(view_of(image)) == (0.5, 0.42), "nobody is there"


def test_a_face_low_in_the_picture_is_not_cut_off() -> None:
    """Regression: on a wide screen the lower part was cut off, with the mask of a person who stood near."""
    image = np.zeros((360, 640, 3), np.uint8)
    image[250:330] = 200
    view = view_of(image, replace(track(Label.MASK), box=Box(300, 250, 80, 80)))
    shown = draw_kiosk(view, Sign.THANK_YOU, ENGLISH, (1280, 720), SETTINGS, kiosk.nearest_centre(view))
    assert (shown[:504, 640] == 200).all(axis=1).sum() > 150, "the face is whole: 160 px high"


@pytest.mark.parametrize("state", [SourceState.LIVE, SourceState.CONNECTING])
def test_a_camera_that_starts_has_no_fault(state: SourceState) -> None:
    """Regression: the kiosk said "door: live" beside the icon of a camera that is off."""
    quiet = draw_kiosk(view_of(halves()), Sign.IDLE, ENGLISH, (640, 360), SETTINGS)
    starting = replace(view_of(halves(), state=state), frame=None)
    assert (draw_kiosk(starting, Sign.IDLE, ENGLISH, (640, 360), SETTINGS) == quiet).all()


def test_kiosk_fills_the_screen_and_ends_with_esc() -> None:
    for end in (Key(27), Closed(), Key(ord("q"), True)):
        image_window = FakeImageWindow([Resized(400, 700), Key(ord("b"))], [end])
        KioskWindow(People(), SETTINGS, lambda: False, image_window).run(lambda _: None)  # type: ignore[arg-type]
        assert image_window.shown[-1].shape == (700, 400, 3)
        assert image_window.is_closed


def test_kiosk_needs_one_camera_and_a_window() -> None:
    with pytest.raises(SettingsError, match="the kiosk shows one camera"):
        WatchSession(load_settings(flags={"view": {"kiosk": True}, "camera": [{"uri": "0"}, {"uri": "1"}]}), None, None)
    with pytest.raises(SettingsError, match="kiosk needs a window"):
        load_settings(flags={"view": {"kiosk": True, "headless": True}})
