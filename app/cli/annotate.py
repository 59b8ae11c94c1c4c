"""``maskwatch annotate``: label the faces of a picture or of a folder of pictures."""

import argparse
import csv
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.core.errors import INTERRUPTED, OutputError, SourceError
from app.core.files import inodes, is_folder
from app.core.text import counted, listed
from app.settings.flags import VISION, add_flags, config_path, flag_values

if TYPE_CHECKING:
    from rich.console import Console

    from app.core.types import Image, Track

_PICTURES = "give a folder of JPEG or PNG files"


@dataclass(frozen=True, slots=True)
class FaceRow:
    """One labelled face of one file; the box is in source pixels."""

    file: str
    face: int
    label: str
    confidence: float
    x: float
    y: float
    width: float
    height: float


def register(commands: Any) -> None:
    parser = commands.add_parser("annotate", help="label the faces of a picture or a folder", description=__doc__)
    parser.add_argument("pictures", nargs="+", type=Path, metavar="PICTURE", help="picture files or folders")
    parser.add_argument("--output", type=Path, default=Path("annotated"), metavar="DIR", help="default: annotated")
    parser.add_argument("--table", type=Path, metavar="FILE", help="write what was found (.csv, .jsonl)")
    parser.add_argument("--blur", action="store_true", help="blur the faces")
    parser.add_argument("--config", metavar="FILE", help="TOML file of settings")
    add_flags(parser, "faces", VISION)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.progress import track as progress

    from app.settings.root import load_settings
    from app.vision.classifier import load_classifier
    from app.vision.detector_loader import load_detector

    settings = load_settings(config_path(args), flag_values(args, VISION))
    paths = _pictures(args.pictures)
    apart = _subfolders(args.pictures, args.output)
    names = output_names(paths)
    _keep_originals(paths, args.output, names)
    table = _open_table(args.table)
    detector, classifier = load_detector(settings.detector), load_classifier(settings.classifier)
    blur = args.blur or settings.view.blur
    console = Console(stderr=True)
    if apart:
        _tell(console, f"{counted(len(apart), 'subfolder')} not looked into: {listed(apart)}")
    found: list[FaceRow] = []
    faceless: list[Path] = []
    done = unreadable = 0
    quiet = len(paths) < 2 or not console.is_terminal
    try:
        for path in progress(paths, "labelling", console=console, transient=True, disable=quiet):
            try:
                faces = _annotate(path, args.output / names[path], blur, detector, classifier)
                found += faces
                faceless += [] if faces else [path]
            except SourceError as error:
                if len(paths) == 1:
                    raise
                _tell(console, f"skipped: {error}", "yellow")
                unreadable += 1
            done += 1
    except KeyboardInterrupt:  # what was done is kept and told
        if done == 0:  # an older table stays
            _tell(console, f"interrupted before the first of {counted(len(paths), 'picture')}; nothing is written")
            return INTERRUPTED
    shown_as = table_names(paths)
    _show(found, shown_as, done - unreadable, args.output)
    if faceless and len(paths) > 1:  # of one picture the table's title says it
        named = listed([shown_as[str(path)] for path in faceless])
        _tell(Console(), f"no face in {len(faceless)} of {done - unreadable}: {named}")
    if table is not None:
        _write_table(found, table)
    if done < len(paths):
        written = f"annotated ones in {args.output}" + ("" if table is None else f", their faces in {table}")
        _tell(console, f"interrupted after {done} of {counted(len(paths), 'picture')}; {written}")
        return INTERRUPTED
    if unreadable == len(paths):
        raise SourceError(f"none of the {len(paths)} pictures can be read; see the lines above")
    return 0


def _annotate(path: Path, target: Path, blur: bool, detector: Any, classifier: Any) -> list[FaceRow]:
    """What was found in the picture ``path``, drawn into ``target``. Raises SourceError where it cannot be read."""
    from app.capture.image_folder import read_picture
    from app.capture.recorder import save_picture
    from app.ui.canvas import canvas, draw_faces, hide_faces

    image = read_picture(path)
    faces = label_faces(image, detector, classifier)
    board, factor = canvas(image, image.shape[1])
    if blur:
        hide_faces(board, [face.box for face in faces], factor)
    draw_faces(board, faces, factor)
    _make_folder(target.parent)
    save_picture(board.image, target)
    return [_found(path, face) for face in faces]


def label_faces(image: "Image", detector: Any, classifier: Any) -> "list[Track]":
    """The faces of one picture, largest first, each as a track of its own with a label decided on sight."""
    from app.core.types import Track
    from app.pipeline.frame_analyzer import cut_faces
    from app.vision.classifier import decide
    from app.vision.preprocess import sharpness

    boxes = sorted((found.box for found in detector.detect(image)), key=lambda box: -box.area)
    crops = cut_faces(image, boxes, classifier.metadata)
    labels = [
        decide(row.tolist(), classifier.metadata, box.size, sharpness(crop))
        for box, crop, row in zip(boxes, crops, classifier.classify(crops), strict=True)
    ]
    return [
        Track(i + 1, box, label, (0.0, 0.0), 0.0, 0.0, 1, 1, True)
        for i, (box, label) in enumerate(zip(boxes, labels, strict=True))
    ]


def _pictures(given_paths: Sequence[Path]) -> list[Path]:
    from app.capture.image_folder import list_pictures

    paths: list[Path] = []
    for path in given_paths:
        if is_folder(path):
            inside = list_pictures(path)
            if not inside:
                below = listed(_subfolders([path], path))
                advice = f"name its subfolders, which are not looked into: {below}" if below else _PICTURES
                raise SourceError(f"folder {path} holds no picture; {advice}")
            paths += inside
        else:
            paths.append(path)
    return list(dict.fromkeys(paths))


def _subfolders(given_paths: Sequence[Path], output: Path) -> list[Path]:
    """The folders in those that were given which are neither given themselves nor the one that is written to."""
    from app.capture.image_folder import natural_key

    known = {path.resolve() for path in (*given_paths, output)}
    inside = (each for path in given_paths if is_folder(path) for each in sorted(path.iterdir(), key=natural_key))
    return [each for each in inside if is_folder(each) and each.name[:1] != "." and each.resolve() not in known]


def _tell(console: "Console", line: str, colour: str = "default") -> None:
    """One line on ``console``, whatever letters are in its names and however narrow it is."""
    console.print(line, style=colour, markup=False, highlight=False, soft_wrap=True)


def _keep_originals(paths: Sequence[Path], output: Path, names: Mapping[Path, str]) -> None:
    """Raises OutputError where an annotated picture would take the place of one that was given."""
    originals = inodes(paths)
    for name in names.values():
        if originals & inodes([output / name]):
            raise OutputError(f"would write over {output / name}, which is to be read; choose another --output")


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write to {folder}: {error.strerror}; choose another --output") from error


def output_names(paths: Sequence[Path]) -> dict[Path, str]:
    """A name for each annotated picture; pictures of one name from two folders do not overwrite each other."""
    names: dict[Path, str] = {}
    taken: set[str] = set()
    for path in paths:
        suffix = path.suffix.lower() if path.suffix.lower() in (".jpg", ".jpeg", ".png") else ".png"
        name, serial = f"{path.stem}{suffix}", 1
        while name.lower() in taken:
            serial += 1
            name = f"{path.stem}-{serial}{suffix}"
        taken.add(name.lower())
        names[path] = name
    return names


def _found(path: Path, face: "Track") -> FaceRow:
    box, label = face.box, face.label
    sides = (round(side, 1) for side in (box.x, box.y, box.width, box.height))
    return FaceRow(str(path), face.id, label.label.value, round(label.confidence, 4), *sides)


def table_names(paths: Sequence[Path]) -> dict[str, str]:
    """What each picture is called in the table, by its path: its name, but its path where another has that name."""
    names = Counter(path.name for path in paths)
    return {str(path): path.name if names[path.name] == 1 else str(path) for path in paths}


def _show(found: Sequence[FaceRow], names: Mapping[str, str], pictures: int, output: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(
        title=f"{counted(len(found), 'face')} in {counted(pictures, 'picture')}; annotated pictures in {output}",
        title_justify="left",
    )
    for name, justify in (
        ("file", "left"),
        ("face", "right"),
        ("label", "left"),
        ("confidence", "right"),
        ("box", "left"),
    ):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for face in found:
        box = f"{face.x:.0f},{face.y:.0f} {face.width:.0f}x{face.height:.0f}"
        table.add_row(names[face.file], str(face.face), face.label, f"{face.confidence:.0%}", box)
    Console(markup=False).print(table)  # brackets of names are no markup


def _open_table(path: Path | None) -> Path | None:
    """Raises OutputError before any work where the table could not be written."""
    from app.capture.recorder import check_output

    if path is None:
        return None
    if path.suffix.lower() not in (".csv", ".jsonl"):
        raise OutputError(f"cannot write a table to {path}: name it .csv or .jsonl")
    check_output(path, "table")
    return path


def _write_table(found: Sequence[FaceRow], path: Path) -> None:
    from app.alerts.export import whole_file

    # A name that is no UTF-8 cannot be written as it is.
    rows = [asdict(face) | {"file": face.file.encode(errors="backslashreplace").decode()} for face in found]
    with whole_file(path) as file:
        if path.suffix.lower() == ".csv":
            writer = csv.DictWriter(file, [field.name for field in fields(FaceRow)])
            writer.writeheader()
            writer.writerows(rows)
        else:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
