"""The alert policy, a pure function."""

import itertools
import math
from dataclasses import replace
from datetime import datetime

import pytest
from fakes import plain_frame
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from app.core.types import FACE_LABELS, Box, Event, EventKind, FaceLabel, Frame, Label, Track
from app.pipeline.alert_policy import PolicyState, in_regions, step, waiting
from app.pipeline.event_factory import EventFactory
from app.settings.monitor import CameraSettings, PolicySettings, ZoneSettings

SETTINGS = PolicySettings(dwell_s=1.0, min_observations=3, cooldown_s=5.0, resolve_after_s=0.5, grace_s=0.35)
EVENTS = EventFactory("run", "test")
FPS = 10.0


def person(frame: Frame, label: Label, track_id: int = 1, size: float = 60.0, confidence: float = 0.95) -> Track:
    box = Box(8 + 2 * track_id, 10, size, size)
    probabilities = {} if label is Label.UNSURE else {label: confidence}
    label_ = FaceLabel(label, confidence)
    return Track(track_id, box, label_, (0, 0), 0.0, frame.time_s, 50, 5, True, probabilities, frame.time_s)


def play(labels: list[dict[int, Label]], policy: PolicySettings = SETTINGS, fps: float = FPS) -> list[Event]:
    """The events of a sequence of frames, each a label per track id; a track without a label has left."""
    state, events, before = PolicyState(), [], {}
    for i, frame_labels in enumerate(labels):
        frame = plain_frame(i, fps)
        tracks = {id_: person(frame, label, id_) for id_, label in frame_labels.items()}
        left = [track for id_, track in before.items() if id_ not in tracks]
        state, new = step(policy, EVENTS, state, frame, list(tracks.values()), left)
        events += new
        before = tracks
    return events


def kinds(events: list[Event]) -> list[EventKind]:
    return [event.kind for event in events]


def test_a_bare_face_alerts_once_after_the_dwell_time() -> None:
    events = play([{1: Label.NO_MASK}] * 100)
    assert kinds(events) == [EventKind.NO_MASK]
    assert events[0].time_s == 1.0
    assert events[0].duration_s == 1.0
    assert events[0].track_id == 1


def test_putting_on_a_mask_resolves_the_alert() -> None:
    events = play([{1: Label.NO_MASK}] * 15 + [{1: Label.MASK}] * 20)
    assert kinds(events) == [EventKind.NO_MASK, EventKind.RESOLVED]
    assert events[1].resolves == events[0].id
    assert events[1].reason == "mask"


def test_leaving_resolves_the_alert() -> None:
    events = play([{1: Label.NO_MASK}] * 15 + [{}])
    assert kinds(events) == [EventKind.NO_MASK, EventKind.RESOLVED]
    assert events[1].reason == "left"


@pytest.mark.parametrize("resolved_events", [True, False])
def test_an_alert_is_open_until_its_people_wear_masks_or_leave(resolved_events: bool) -> None:
    story = [{1: Label.NO_MASK}] * 15 + [{1: Label.NO_MASK, 2: Label.NO_MASK}] * 75
    story += [{2: Label.NO_MASK}] * 5 + [{2: Label.MASK}] * 10
    policy, state, counts = replace_policy(resolved_events=resolved_events), PolicyState(), []
    before: dict[int, Track] = {}
    for i, frame_labels in enumerate(story):
        frame = plain_frame(i, FPS)
        tracks = {id_: person(frame, label, id_) for id_, label in frame_labels.items()}
        left = [track for id_, track in before.items() if id_ not in tracks]
        state, _ = step(policy, EVENTS, state, frame, list(tracks.values()), left)
        counts.append(len(state.open_alerts))
        before = tracks
    assert [counts[9], counts[10], counts[89], counts[90], counts[94], counts[104]] == [0, 1, 2, 1, 1, 0]


def test_a_short_unsure_period_does_not_restart_the_dwell_time_but_a_mask_does() -> None:
    unsure = play([{1: Label.NO_MASK}] * 8 + [{1: Label.UNSURE}] * 2 + [{1: Label.NO_MASK}] * 4)
    masked = play([{1: Label.NO_MASK}] * 8 + [{1: Label.MASK}] * 2 + [{1: Label.NO_MASK}] * 4)
    assert kinds(unsure) == [EventKind.NO_MASK]
    assert masked == []


@pytest.mark.parametrize("fps", [0.1, 0.9, 1.0, 1.4, 1.5, 5.0])
def test_a_face_that_is_bare_in_every_frame_alerts_at_any_frame_rate(fps: float) -> None:
    assert kinds(play([{1: Label.NO_MASK}] * 30, fps=fps)) == [EventKind.NO_MASK]


def test_an_unsure_frame_restarts_the_dwell_time_at_a_low_frame_rate() -> None:
    bare, unsure = {1: Label.NO_MASK}, {1: Label.UNSURE}
    assert play([bare, bare, unsure] * 10, replace_policy(dwell_s=2.0), fps=1.0) == []


def test_incorrect_alerts_only_if_configured() -> None:
    frames = [{1: Label.INCORRECT}] * 30
    assert play(frames) == []
    assert kinds(play(frames, replace_policy(alert_on=("no_mask", "incorrect")))) == [EventKind.INCORRECT]


def test_small_and_low_confidence_faces_never_alert() -> None:
    frame = plain_frame(0)
    for track in (person(frame, Label.NO_MASK, size=20), person(frame, Label.NO_MASK, confidence=0.5)):
        state = PolicyState()
        for i in range(50):
            frame = plain_frame(i)
            state, events = step(SETTINGS, EVENTS, state, frame, [replace(track, seen_s=frame.time_s)])
            assert events == ()


@pytest.mark.parametrize(("threshold", "alerts"), [(0.94, 1), (0.96, 0)])
def test_a_label_below_the_confidence_of_the_camera_does_not_alert(threshold: float, alerts: int) -> None:
    assert len(play([{1: Label.NO_MASK}] * 40, replace_policy(min_label_confidence=threshold))) == alerts


def first_alert_s(confidences: list[float], policy: PolicySettings = SETTINGS) -> float | None:
    """When a face alerts whose label is no_mask with these confidences, one per frame."""
    state = PolicyState()
    for i, confidence in enumerate(confidences):
        frame = plain_frame(i, FPS)
        track = replace(person(frame, Label.NO_MASK), latest={Label.NO_MASK: confidence})
        state, events = step(policy, EVENTS, state, frame, [track])
        if events:
            return frame.time_s
    return None


@pytest.mark.parametrize(("confidence", "alert_s"), [(0.99, 1.0), (0.9, 1.0), (0.75, 2.0), (0.65, 3.5), (0.5, None)])
def test_a_face_alerts_when_the_evidence_suffices(confidence: float, alert_s: float | None) -> None:
    assert first_alert_s([confidence] * 100) == alert_s


def test_inferences_in_quick_succession_count_once() -> None:
    assert first_alert_s([0.75] * 4 + [0.5] * 100) is None


def test_a_single_certain_inference_does_not_alert_but_two_do() -> None:
    certain, undecided = [0.9999], [0.5] * 4
    assert first_alert_s(certain + undecided * 20, replace_policy(dwell_s=0)) is None
    assert first_alert_s(certain + undecided + certain, replace_policy(dwell_s=0)) == 0.5


def test_a_label_that_flickers_does_not_alert() -> None:
    story = ([{1: Label.NO_MASK}] * 4 + [{1: Label.MASK}] * 4) * 30
    assert play(story) == []


def test_a_mask_that_is_taken_off_ten_times_alerts_ten_times() -> None:
    events = play(([{1: Label.NO_MASK}] * 80 + [{1: Label.MASK}] * 20) * 10)
    assert kinds(events) == [EventKind.NO_MASK, EventKind.RESOLVED] * 10


def test_a_suppressed_alert_starts_no_cooldown_and_is_raised_when_the_cooldown_ends() -> None:
    # Person 2 is bare during person 1's cooldown: the alert is raised when it ends, not one cooldown later.
    events = play([{1: Label.NO_MASK}] * 20 + [{1: Label.NO_MASK, 2: Label.NO_MASK}] * 60)
    assert kinds(events) == [EventKind.NO_MASK, EventKind.NO_MASK]
    assert events[1].track_id == 2
    assert events[1].time_s == 6.0


@pytest.mark.parametrize("muted", [True, False])
def test_an_alert_of_a_muted_camera_starts_no_cooldown(muted: bool) -> None:
    state, times = PolicyState(), []
    for i in range(40):
        frame = plain_frame(i)
        ids = [1, 2] if i >= 5 else [1]
        people = [person(frame, Label.NO_MASK, id_) for id_ in ids]
        state, events = step(SETTINGS, EVENTS, state, frame, people, muted=muted)
        times += [event.time_s for event in events]
    assert times == ([1.0, 1.5] if muted else [1.0])


def test_a_jump_of_the_stream_time_raises_no_alert() -> None:
    """After a suspend, the faces before and after it do not count as bare in between."""
    state, events = PolicyState(), []
    for i in [*range(9), *range(300_000, 300_009)]:
        frame = plain_frame(i)
        state, new = step(SETTINGS, EVENTS, state, frame, [person(frame, Label.NO_MASK)])
        events += new
    assert events == []


def replace_policy(**values: object) -> PolicySettings:
    return PolicySettings.model_validate({**SETTINGS.model_dump(), **values})


scenes = st.dictionaries(st.integers(1, 4), st.sampled_from(FACE_LABELS), max_size=4)
stories = st.lists(scenes, min_size=1, max_size=120)


@settings(max_examples=150)
@given(stories, st.floats(0, 3), st.floats(0, 10), st.integers(0, 3))
def test_invariants_hold_for_any_story(
    story: list[dict[int, Label]], dwell_s: float, cooldown_s: float, digest_over: int
) -> None:
    """At most one open alert per track, none for unsure or masked faces, none within a cooldown, ids are unique.

    Every ``resolved`` event refers to an alert of the same track.
    """
    policy = replace_policy(
        dwell_s=dwell_s, cooldown_s=cooldown_s, alert_on=("no_mask", "incorrect"), digest_over=digest_over
    )
    # The tracker never reuses ids: a track that returns gets a new one.
    renumbered, serial, new_ids = [], 0, {}
    for frame_labels in story:
        for id_ in [id_ for id_ in new_ids if id_ not in frame_labels]:
            del new_ids[id_]
        for id_ in frame_labels:
            if id_ not in new_ids:
                serial += 1
                new_ids[id_] = serial
        renumbered.append({new_ids[id_]: label for id_, label in frame_labels.items()})
    events = play(renumbered, policy)
    alerts = [event for event in events if event.kind is not EventKind.RESOLVED]
    assert len({event.id for event in events}) == len(events)
    for event in alerts:
        label = renumbered[round(event.time_s * FPS)][event.track_id]
        assert label.value == event.kind.value
        assert event.duration_s >= dwell_s
    for first, second in itertools.pairwise(alerts):
        assert second.time_s - first.time_s >= cooldown_s
    by_id: dict[str, Event] = {}
    for event in events:
        if event.kind is EventKind.RESOLVED:
            alert = by_id.pop(event.resolves)  # at most once
            assert alert.people > 1 or alert.track_id == event.track_id
        else:
            assert event.track_id not in {each.track_id for each in by_id.values() if each.people == 1}
            by_id[event.id] = event


@settings(max_examples=150)
@given(st.lists(st.tuples(scenes, st.integers(1, 20)), min_size=1, max_size=6), st.floats(0.1, 4))
def test_only_a_raised_alert_starts_a_cooldown(lasting: list[tuple[dict[int, Label], int]], cooldown_s: float) -> None:
    """A face that meets all conditions but raises no alert must be within the cooldown of a raised alert."""
    story = [scene for scene, frames in lasting for _ in range(frames)]
    policy, state, raised_s, before = replace_policy(cooldown_s=cooldown_s, dwell_s=0.2), PolicyState(), [], {}
    for i, frame_labels in enumerate(story):
        frame = plain_frame(i, FPS)
        tracks = {id_: person(frame, label, id_) for id_, label in frame_labels.items()}
        left = [track for id_, track in before.items() if id_ not in tracks]
        state, events = step(policy, EVENTS, state, frame, list(tracks.values()), left)
        raised_s += [event.time_s for event in events if event.kind is not EventKind.RESOLVED]
        for id_, label in frame_labels.items():
            track = state.tracks[id_]
            bare = track.bare.get("")
            is_ready = bare and bare.dwell.lasted_s >= 0.2 and bare.evidence >= math.log(99)
            if label is Label.NO_MASK and is_ready and not track.alert:
                assert raised_s
                assert frame.time_s - raised_s[-1] < cooldown_s
        before = tracks


MONDAY_NOON_S = datetime(2026, 3, 2, 12, 0).timestamp()


@pytest.mark.parametrize(
    ("hours", "alerts"),
    [
        ({"quiet_hours": ("mon 11:00-13:00",)}, False),
        ({"quiet_hours": ("22:00-06:00",)}, True),
        ({"schedule": ("mon-fri 08:00-18:00",)}, True),
        ({"schedule": ("sat,sun 08:00-18:00",)}, False),
        ({"schedule": ("mon 08:00-18:00",), "quiet_hours": ("12:00-12:30",)}, False),
    ],
)
def test_schedule_and_quiet_hours_decide_whether_faces_alert(hours: dict[str, object], alerts: bool) -> None:
    policy, state, events = replace_policy(**hours), PolicyState(), []
    for i in range(30):
        frame = replace(plain_frame(i), wall_s=MONDAY_NOON_S + i / FPS)
        state, new = step(policy, EVENTS, state, frame, [person(frame, Label.NO_MASK)])
        events += new
    assert bool(events) is alerts


def test_a_face_alerts_when_quiet_hours_end_without_a_cooldown() -> None:
    policy, state, events = replace_policy(quiet_hours=("12:00-12:01",)), PolicyState(), []
    for i in range(700):
        frame = replace(plain_frame(i), wall_s=MONDAY_NOON_S + i / FPS)
        state, new = step(policy, EVENTS, state, frame, [person(frame, Label.NO_MASK)])
        events += new
    assert [event.time_s for event in events] == [60.0]


def test_only_faces_in_a_region_alert() -> None:
    left, right = ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0)), ((0.6, 0.0), (1.0, 0.0), (1.0, 1.0))
    frames = [{1: Label.NO_MASK}] * 30  # its centre is at a third of the width and height
    assert kinds(play(frames, replace_policy(regions=(left,)))) == [EventKind.NO_MASK]
    assert play(frames, replace_policy(regions=(right,))) == []
    assert kinds(play(frames, replace_policy(regions=(right, left)))) == [EventKind.NO_MASK]


LEFT, RIGHT = ((0, 0), (0.5, 0), (0.5, 1), (0, 1)), ((0.5, 0), (1, 0), (1, 1), (0.5, 1))


def zone(name: str, polygon: object = LEFT, **rules: object) -> ZoneSettings:
    return ZoneSettings.model_validate({"name": name, "polygon": polygon, **rules})


def walk(
    places: list[tuple[float, Label]], *zones: ZoneSettings, wall_s: float = MONDAY_NOON_S, **policy: object
) -> list[Event]:
    """The events of one face whose centre is at these shares of the width, frame by frame."""
    camera = CameraSettings(uri="0", zone=zones)
    rules = camera.policy_over(replace_policy(cooldown_s=0, **policy))
    state, events = PolicyState(), []
    for i, (x, label) in enumerate(places):
        frame = replace(plain_frame(i), wall_s=wall_s + i / FPS)
        track = replace(person(frame, label), box=Box(120 * x - 30, 30, 60, 60))
        state, new = step(rules, EVENTS, state, frame, [track])
        events += new
    return events


def test_faces_alert_only_in_zones_each_with_its_own_dwell_time() -> None:
    bare = [(0.25, Label.NO_MASK)] * 40
    (alert,) = walk(bare, zone("ward", dwell_s=3))
    assert (alert.time_s, alert.zone) == (3.0, "ward")
    assert walk(bare, zone("ward", RIGHT)) == []
    (alert,) = walk(bare, zone("ward", RIGHT, dwell_s=0.1), regions=(LEFT,))
    assert (alert.time_s, alert.zone) == (1.0, ""), "regions alert beside the zones, with the rules of the camera"
    (alert,) = walk(bare, zone("desk", dwell_s=2), zone("hall", dwell_s=0))
    assert (alert.time_s, alert.zone) == (2.0, "desk"), "the first zone that contains the face counts"


def test_the_end_of_an_alert_belongs_to_its_zone() -> None:
    """Also if the face has moved on into another one."""
    story = [(0.25, Label.NO_MASK)] * 15 + [(0.75, Label.NO_MASK)] * 5 + [(0.75, Label.MASK)] * 10
    events = walk(story, zone("ward"), zone("hall", RIGHT, dwell_s=60))
    assert [(event.kind, event.zone) for event in events] == [
        (EventKind.NO_MASK, "ward"),
        (EventKind.RESOLVED, "ward"),
    ]


def test_a_zone_chooses_the_labels_that_alert() -> None:
    wrong = [(0.25, Label.INCORRECT)] * 40
    assert walk(wrong, zone("ward")) == []
    assert kinds(walk(wrong, zone("ward", alert_on=["no_mask", "incorrect"]))) == [EventKind.INCORRECT]
    assert walk([(0.25, Label.NO_MASK)] * 40, zone("ward", alert_on=[])) == []
    story = [(0.25, Label.INCORRECT)] * 20 + [(0.75, Label.NO_MASK)] * 8
    both = zone("ward", dwell_s=60, alert_on=["no_mask", "incorrect"]), zone("hall", RIGHT)
    assert walk(story, *both) == [], "evidence and time of one zone do not count in the other"


def test_a_zone_without_alerts_does_not_end_them() -> None:
    story = [(0.25, Label.NO_MASK)] * 15 + [(0.75, Label.NO_MASK)] * 20
    zones = zone("ward"), zone("lounge", RIGHT, alert_on=[])
    assert kinds(walk(story, *zones)) == [EventKind.NO_MASK]
    assert kinds(walk([*story, *[(0.75, Label.MASK)] * 10], *zones)) == [EventKind.NO_MASK, EventKind.RESOLVED]


def test_a_zone_has_hours_of_its_own() -> None:
    bare = [(0.25, Label.NO_MASK)] * 30
    closed = zone("ward", schedule=["sat 08:00-18:00"])
    assert walk(bare, closed) == []
    assert kinds(walk(bare, closed, zone("hall"))) == [], "the first zone counts, also while it is closed"
    always = zone("ward", schedule=[])
    assert kinds(walk(bare, always, schedule=("sat 08:00-18:00",))) == [EventKind.NO_MASK]
    assert walk(bare, always, quiet_hours=("11:00-13:00",)) == []


def test_a_face_that_flickers_over_the_edge_of_two_zones_alerts() -> None:
    bare = [(x, Label.NO_MASK) for _ in range(30) for x in (0.49, 0.51)]
    assert len(walk(bare, zone("ward"), zone("hall", RIGHT))) == 1


def test_a_crowd_alerts_once_in_each_zone() -> None:
    policy = CameraSettings(uri="0", zone=(zone("ward"), zone("hall", RIGHT))).policy_over(
        replace_policy(digest_over=1, cooldown_s=0)
    )
    state, events = PolicyState(), []
    for i in range(15):
        frame = plain_frame(i)
        tracks = [
            replace(person(frame, Label.NO_MASK, id_), box=Box(120 * x - 30, 30, 60, 60))
            for id_, x in enumerate((0.2, 0.3, 0.7, 0.8), 1)
        ]
        state, new = step(policy, EVENTS, state, frame, tracks)
        events += new
    assert [(event.zone, event.people) for event in events] == [("ward", 2), ("hall", 2)]
    assert set(waiting(policy, PolicyState(), tracks, MONDAY_NOON_S)) == set()


@pytest.mark.parametrize("regions", [[[[0, 0], [1, 1]]], [[[0, 0], [1, 0], [1.5, 1]]]])
def test_a_region_that_is_no_polygon_in_the_image_is_rejected(regions: object) -> None:
    with pytest.raises(ValueError, match="regions"):
        replace_policy(regions=regions)


@given(st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_points_inside_and_outside_of_a_concave_polygon(x: float, y: float) -> None:
    corner = ((0.0, 0.0), (1.0, 0.0), (1.0, 0.5), (0.5, 0.5), (0.5, 1.0), (0.0, 1.0))  # an L
    assume(abs(x - 0.5) > 1e-9 and abs(y - 0.5) > 1e-9)
    assert in_regions([corner], x, y) is (x < 0.5 or y < 0.5)


def test_a_crowd_raises_one_alert_that_is_resolved_with_its_last_face() -> None:
    crowd = dict.fromkeys(range(1, 6), Label.NO_MASK)
    story = (
        [crowd] * 20 + [{**crowd, 1: Label.MASK, 2: Label.MASK}] * 20 + [dict.fromkeys(range(1, 6), Label.MASK)] * 20
    )
    events = play(story, replace_policy(digest_over=3))
    assert kinds(events) == [EventKind.NO_MASK, EventKind.RESOLVED]
    assert events[0].people == 5
    assert events[1].resolves == events[0].id
    assert events[1].time_s > 4.0
    assert len([e for e in play(story, replace_policy(digest_over=0, cooldown_s=0)) if e.people == 1]) == 10


def waiting_after(
    seconds: float, label: Label = Label.NO_MASK, policy: PolicySettings = SETTINGS, size: float = 60.0
) -> dict[int, float]:
    state, frame, track = PolicyState(), plain_frame(0), person(plain_frame(0), label)
    for i in range(round(seconds * FPS) + 1):
        frame = plain_frame(i, FPS)
        track = person(frame, label, size=size)
        state, _ = step(policy, EVENTS, state, frame, [track])
    return waiting(policy, state, [track], frame.wall_s)


def test_the_window_shows_how_much_of_the_dwell_time_has_passed() -> None:
    assert waiting_after(0.0) == {1: 0.0}
    assert waiting_after(0.5) == {1: pytest.approx(0.5)}
    assert waiting_after(1.5) == {}, "the alert is raised"
    assert waiting_after(9.0, policy=SETTINGS.model_copy(update={"min_observations": 99})) == {1: 1.0}


def test_nothing_is_waiting_that_cannot_alert() -> None:
    region = {"regions": (((0.9, 0.9), (1.0, 0.9), (1.0, 1.0)),)}
    assert waiting_after(0.5, Label.MASK) == {}
    assert waiting_after(0.5, Label.INCORRECT) == {}
    assert waiting_after(0.5, size=20) == {}
    assert waiting_after(0.5, policy=SETTINGS.model_copy(update=region)) == {}
    assert waiting_after(0.5, policy=SETTINGS.model_copy(update={"quiet_hours": ("00:00-24:00",)})) == {}
