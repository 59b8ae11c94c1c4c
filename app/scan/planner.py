"""Plans a scan: finds the videos of an archive, joins the consecutive ones of a camera, and cuts them into shards."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import ceil, inf
from pathlib import Path

from app.capture.recording import RECORDING_SUFFIXES, name_patterns, read_name, video_files
from app.capture.recording_reader import Part, VideoFacts, is_remote, read_facts, remote_videos
from app.core.camera_hours import HOUR_S
from app.core.errors import SourceError
from app.core.files import exists
from app.core.schedule import time_zone
from app.core.secrets import redact
from app.scan.analysis import Shard, lead_in_s
from app.scan.run_folder import Plan, PlannedShard, ScanSettings, UnreadableFile
from app.scan.worker import models_hash
from app.settings.monitor import CameraSettings, overridden
from app.settings.root import Settings
from app.settings.source_uri import check_characters

_JOIN_S, _OVERLAP_S = 2.0, 1.0
"""A video continues the one before if it begins within these times of its end."""
_LONGEST_SEGMENT_S = 600.0
"""Recorders cut a stream into segments of seconds or minutes; longer videos are not joined."""
_DECODE_S_PER_MEGAPIXEL, _PASS_S = 0.002, 0.008
"""Processor time on one core of 2024, for the estimate: of a decoded frame and of a detection pass."""


@dataclass(frozen=True, slots=True)
class ScanOptions:
    """``camera``: the settings of all cameras of the scan. ``shard_s``: length of a shard."""

    camera: CameraSettings
    shard_s: float = 600.0
    thumbnails: bool = False


@dataclass(frozen=True, slots=True)
class _Video:
    uri: str
    camera: str
    facts: VideoFacts

    @property
    def start_s(self) -> float:
        return self.facts.start.wall_s

    @property
    def end_s(self) -> float:
        return self.start_s + self.facts.duration_s


def make_plan(
    archive: Sequence[str], settings: Settings, options: ScanOptions, on_file: Callable[[str], None] = lambda _: None
) -> Plan:
    """``archive``: files, folders and URLs. ``on_file`` is called with each video before it is opened.

    Raises SourceError if a path does not exist or there is no video at all, and SettingsError or ModelError.
    """
    own_models = {each.name: each for each in settings.camera if each.detector.model_fields_set}
    models = {"": models_hash(settings, options.camera)}
    models |= {name: models_hash(settings, each) for name, each in own_models.items()}
    scan = ScanSettings.of(settings, options.camera, models, options.thumbnails)
    for name in scan.cameras:
        models.setdefault(name, models[""])
    videos: list[_Video] = []
    unreadable: list[UnreadableFile] = []
    for uri, below in _uris(archive, lambda folder, reason: unreadable.append(UnreadableFile(folder, reason))):
        on_file(uri)
        try:
            videos.append(_read(uri, below, options.camera))
        except SourceError as error:
            unreadable.append(UnreadableFile(redact(uri), str(error)))
    if not videos and unreadable:
        raise SourceError(
            f"no video of {', '.join(map(redact, archive))} can be read; the first: {unreadable[0].reason}"
        )
    if not videos:
        raise SourceError(
            f"no video in {', '.join(map(redact, archive))}; videos end in {', '.join(sorted(RECORDING_SUFFIXES))}"
        )
    shards: list[PlannedShard] = []
    for recording in _joined(videos):
        shards += _shards(recording, scan, options)
    unique = {each.shard.id: each for each in shards}  # the same video twice counts once
    unreadable += [
        UnreadableFile(redact(each.uri), "has the same content as another video of the archive")
        for each in _copies(videos)
    ]
    hours = sum(each.shard.length_s for each in unique.values()) / HOUR_S
    return Plan(scan, tuple(unique.values()), hours, len(videos), tuple(unreadable))


def _copies(videos: Sequence[_Video]) -> Iterator[_Video]:
    seen: set[tuple[str, str, float]] = set()
    for video in videos:
        key = video.facts.id, video.camera, video.start_s
        if key in seen:
            yield video
        seen.add(key)


def _uris(archive: Sequence[str], on_left_out: Callable[[str, str], None]) -> Iterator[tuple[str, Path | None]]:
    """All videos, each with the folder of the archive that it was found in. ``on_left_out`` is called with each folder
    that cannot be read, and the reason."""
    for given in archive:
        if not given:
            raise SourceError("the name of an archive is empty; give a folder, a video or a URL")
        if is_remote(given):
            for uri in remote_videos(given):
                yield uri, Path(given) if uri != given else None
            continue
        root = Path(given).absolute()
        if not exists(root):
            raise SourceError(f"no such file or folder: {given}; check the path")
        for path in video_files(root, on_left_out):
            yield str(path), root if path != root else None


def _read(uri: str, below: Path | None, template: CameraSettings) -> _Video:
    try:
        check_characters(uri)  # a part of it may be the camera's name
    except ValueError as error:
        raise SourceError(f"{redact(uri)} {error}") from error
    facts = read_facts(template.with_uri(uri))
    patterns = name_patterns(template.name_pattern, time_zone(template.timezone))
    name = read_name(patterns, uri)
    camera = name.camera if name is not None else ""
    if not camera:  # the first folder below the archive, else the video itself
        folders = Path(uri).relative_to(below).parts[:-1] if below is not None else ()
        camera = folders[0] if folders else Path(uri).stem
    return _Video(uri, camera.strip()[:80] or "video", facts)


def _joined(videos: Sequence[_Video]) -> Iterator[list[_Video]]:
    """The videos by recording. Segments of one camera are joined within each full hour, so that a later plan of a
    growing archive has the same recordings for the hours before."""
    ordered = sorted(videos, key=lambda video: (video.camera, video.start_s, video.uri))
    recording: list[_Video] = []
    for video in ordered:
        if recording and not _continues(recording[-1], video):
            yield recording
            recording = []
        recording.append(video)
    if recording:
        yield recording


def _continues(last: _Video, video: _Video) -> bool:
    return (
        video.camera == last.camera
        and video.facts.start.origin == last.facts.start.origin == "name"
        and -_OVERLAP_S <= video.start_s - last.end_s <= _JOIN_S
        and max(last.facts.duration_s, video.facts.duration_s) <= _LONGEST_SEGMENT_S
        and last.start_s // HOUR_S == video.start_s // HOUR_S
    )


def _shards(recording: Sequence[_Video], scan: ScanSettings, options: ScanOptions) -> Iterator[PlannedShard]:
    first = recording[0]
    ids = [video.facts.id for video in recording]
    origin = ids[0] if len(ids) == 1 else hashlib.sha256("".join(ids).encode()).hexdigest()[:16]
    parts: list[Part] = []
    for video in recording:
        before_s = parts[-1].offset_s + parts[-1].duration_s if parts else 0.0
        offset_s = max(video.start_s - first.start_s, before_s)
        parts.append(Part(video.uri, offset_s, video.facts.size, video.facts.duration_s))
    length_s = parts[-1].offset_s + parts[-1].duration_s
    is_seekable = all(video.facts.is_seekable for video in recording)
    count = max(ceil(length_s / options.shard_s - 0.25), 1) if is_seekable else 1  # a short rest joins the last shard
    settings, camera = scan.load(first.camera)
    lead_s = lead_in_s(overridden(settings.tracking, camera.tracking))
    for i in range(count):
        start_s, end_s = i * options.shard_s, (i + 1) * options.shard_s if i < count - 1 else inf
        content = (origin, first.camera, first.start_s, start_s, end_s, scan.digest)
        shard_id = hashlib.sha256(repr(content).encode()).hexdigest()[:16]
        shard = Shard(shard_id, origin, first.camera, first.start_s, start_s, end_s, tuple(parts))
        lead_in = min(start_s, lead_s)
        estimate_s = _estimate_s(first.facts, shard.length_s + lead_in, options.camera)
        yield PlannedShard(shard, first.facts.start.origin, lead_in, estimate_s)


def _estimate_s(facts: VideoFacts, length_s: float, camera: CameraSettings) -> float:
    """The processor time of a shard with people; an empty one takes less."""
    megapixels = facts.width_px * facts.height_px / 1e6
    frames_a_s = 0.5 if camera.key_frames else facts.fps
    analysed_a_s = min(1 / camera.every_s if camera.every_s else frames_a_s, frames_a_s)
    return length_s * (frames_a_s * megapixels * _DECODE_S_PER_MEGAPIXEL + analysed_a_s * _PASS_S)
