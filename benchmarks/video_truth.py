"""Runs the program on seven annotated videos with its default settings and compares it with the ground truth.

    python benchmarks/video_truth.py DATA [--video NAME …] [--json docs/results/video_truth.json]

DATA is the folder of the test data; its videos are in DATA/clips. ``benchmarks/truth/README.md`` states the rules of
the ground truth and what each score means. Exit code 1 if a bar is missed: people and alerts exact, no track on
nothing, at most one identity switch in a video, 95 % of the faces followed and rightly labelled.
"""

import argparse
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

from app import Monitor, load_settings  # noqa: E402
from app.core.types import Event, EventKind, Label, Track  # noqa: E402
from app.training.metrics import Rate, wilson  # noqa: E402
from app.training.trainer import write_json  # noqa: E402
from benchmarks.annotated_videos import Video, read_truth  # noqa: E402

FOLLOWED_IOU, TOUCH_IOU = 0.4, 0.2
START_S = 0.5
RIGHT_SHARE, MOST_SWITCHES = 0.95, 1
COLUMNS = (
    *("video", "people, truth", "others", "alerts, deserved", "wrong", "tracks on nothing", "s on nothing"),
    *("followed", "and right", "switches"),
)


@dataclass(frozen=True, slots=True)
class Shown:
    """The tracks that the program shows at one frame."""

    frame: int
    time_s: float
    tracks: tuple[Track, ...]


@dataclass(frozen=True, slots=True)
class Score:
    """One video beside its ground truth. ``people``: those that the program counted, without ``others``, the tracks on
    people who need not be counted; the ground truth is ``least_people`` to ``most_people``. ``alert_delays_s``: from
    the earliest justified time of each right alert."""

    video: str
    people: int
    others: int
    least_people: int
    most_people: int
    alerts_right: int
    alerts_deserved: int
    alerts_wrong: int
    alert_delays_s: tuple[float, ...]
    tracks_on_nothing: int
    seconds_on_nothing: float
    faces: int
    followed: int
    followed_and_right: int
    switches: int

    @property
    def meets_bars(self) -> bool:
        """Whether people, alerts, tracks on nothing and identity switches meet the bars."""
        return (
            self.least_people <= self.people <= self.most_people
            and self.alerts_right == self.alerts_deserved
            and self.alerts_wrong == self.tracks_on_nothing == 0
            and self.switches <= MOST_SWITCHES
        )


def owners(video: Video, shown: Iterable[Shown]) -> tuple[dict[int, str], float]:
    """The person of each track, or "" if it touches no face in at least half of the frames in which it was detected.
    Then the seconds in which boxes touch no face, summed over all boxes."""
    touched: dict[int, Counter[str]] = defaultdict(Counter)
    seconds, last_s = 0.0, 0.0
    for each in shown:
        boxes = video.boxes_at(each.time_s)
        for track in each.tracks:
            person = max(boxes, key=lambda name: boxes[name].iou(track.box), default="")
            touches = person != "" and boxes[person].iou(track.box) >= TOUCH_IOU
            touched[track.id][person if touches else ""] += int(track.seen_s == each.time_s)
            seconds += 0.0 if touches else each.time_s - last_s
        last_s = each.time_s
    people = {}
    for id_, counts in touched.items():
        on_nothing = 2 * counts[""] >= counts.total()
        people[id_] = "" if on_nothing else max((name for name in counts if name), key=counts.__getitem__)
    return people, seconds


def follow(video: Video, shown: Sequence[Shown]) -> tuple[int, int, int, int]:
    """(clear faces after the start of a period, those followed, those also labelled rightly, identity switches)."""
    at_frame = {each.frame: each.tracks for each in shown}
    followed, right, total, switches = 0, 0, 0, 0
    last_ids: dict[tuple[str, float], int] = {}  # person and start of the period
    periods = {person.id: person.periods for person in video.people}
    for face in video.faces:
        start_s = next(start for start, end in periods[face.person] if start <= face.time_s < end)
        if face.is_hard or face.time_s < start_s + START_S:
            continue
        total += 1
        track = max(at_frame.get(face.frame, ()), key=lambda each: each.box.iou(face.box), default=None)
        if track is None or track.box.iou(face.box) < FOLLOWED_IOU:
            continue
        followed += 1
        right += face.label in (Label.UNSURE, track.label.label)
        switches += last_ids.setdefault((face.person, start_s), track.id) != track.id
        last_ids[face.person, start_s] = track.id
    return total, followed, right, switches


def compare(video: Video, shown: Sequence[Shown], counted: int, events: Sequence[Event]) -> Score:
    """``counted``: the people that the program counted; ``events``: all its events."""
    people, seconds = owners(video, shown)
    labelled = {track.id for each in shown for track in each.tracks if track.label.label is not Label.UNSURE}
    counting = {person.id for person in video.people if person.counts}
    others = sum(people[id_] not in counting | {""} for id_ in labelled)
    faces, followed, right, switches = follow(video, shown)
    open_alerts, delays, wrong = list(video.alerts), [], 0
    for event in events:
        if event.kind not in (EventKind.NO_MASK, EventKind.INCORRECT):
            continue
        key = (people.get(event.track_id, ""), event.kind)
        fits = [a for a in open_alerts if (a.person, a.kind) == key and a.from_s <= event.time_s <= a.until_s]
        if fits:
            open_alerts.remove(fits[0])
            delays.append(round(event.time_s - fits[0].from_s, 2))
        wrong += not fits
    return Score(
        video=video.name,
        people=counted - others,
        others=others,
        least_people=len(counting),
        most_people=sum(len(person.periods) for person in video.people if person.counts),
        alerts_right=len(delays),
        alerts_deserved=len(video.alerts),
        alerts_wrong=wrong,
        alert_delays_s=tuple(delays),
        tracks_on_nothing=sum(people[id_] == "" for id_ in labelled),
        seconds_on_nothing=round(seconds, 1),
        faces=faces,
        followed=followed,
        followed_and_right=right,
        switches=switches,
    )


def watch(video: Video) -> Score:
    """Analyses every frame of the video with the default settings."""
    settings = load_settings(flags={"camera": [{"uri": str(video.path), "name": video.name}]})
    shown, events, counted = [], [], 0
    with Monitor(settings) as monitor:
        for result in monitor:
            shown.append(Shown(result.frame.index, result.frame.time_s, result.tracks))
            events += result.events
            counted = sum(result.counts.seen.values())
    return compare(video, shown, counted, events)


def _percent(rate: Rate) -> str:
    return f"{rate.share:.0%} ({rate.low:.0%} to {rate.high:.0%}) of {rate.total}" if rate.total else "-"


def to_table(scores: Sequence[Score], total: Rate) -> Table:
    table = Table(title=f"followed and right, all videos: {_percent(total)}")
    for name in COLUMNS:
        table.add_column(name)
    for s in scores:
        truth = f"{s.least_people} to {s.most_people}" if s.most_people > s.least_people else str(s.least_people)
        people, alerts = f"{s.people}, {truth}", f"{s.alerts_right}, {s.alerts_deserved}"
        counts = (people, s.others, alerts, s.alerts_wrong, s.tracks_on_nothing, s.seconds_on_nothing)
        rates = (_percent(wilson(right, s.faces)) for right in (s.followed, s.followed_and_right))
        table.add_row(s.video, *map(str, counts), *rates, str(s.switches))
    return table


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--video", action="append", help="only this video; may be repeated")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    videos = read_truth(args.data)
    if unknown := set(args.video or ()) - {video.name for video in videos}:
        parser.error(
            f"no annotated video {', '.join(sorted(unknown))}; use {', '.join(video.name for video in videos)}"
        )
    videos = [video for video in videos if not args.video or video.name in args.video]
    if missing := [video.path for video in videos if not video.path.is_file()]:
        parser.error(f"no video {missing[0]}; give the folder that contains clips")
    scores = [watch(video) for video in videos]
    total = wilson(sum(score.followed_and_right for score in scores), sum(score.faces for score in scores))
    Console(width=200).print(to_table(scores, total))
    if args.json:
        write_json(args.json, {"followed_and_right": asdict(total), "videos": [asdict(score) for score in scores]})
    is_right = total.total == 0 or total.share >= RIGHT_SHARE
    return 0 if is_right and all(score.meets_bars for score in scores) else 1


if __name__ == "__main__":
    sys.exit(main())
