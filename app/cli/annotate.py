"""``maskwatch annotate``: label the faces in images or folders of images."""

import argparse
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.core.errors import INTERRUPTED, OutputError, SourceError
from app.core.files import inodes, is_folder, output_errors
from app.core.text import CsvWriter, counted, listed
from app.settings.flags import VISION, add_flags, config_path, flag_values

if TYPE_CHECKING:
    from rich.console import Console

    from app.core.types import Track
    from app.pipeline.image_labeler import ImageLabeler, LabeledFace

_IMAGE_ADVICE = "give a folder of JPEG or PNG files"


@dataclass(frozen=True, slots=True)
class FaceRow:
    """One labelled face of one file; the bounding box is in image pixels."""

    file: str
    face: int
    label: str
    confidence: float
    x: float
    y: float
    width: float
    height: float


def register(commands: Any) -> None:
    parser = commands.add_parser("annotate", help="label the faces in images or folders", description=__doc__)
    parser.add_argument("pictures", nargs="+", type=Path, metavar="IMAGE", help="image files or folders")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("annotated"),
        metavar="DIR",
        help="folder for annotated images (default: annotated)",
    )
    parser.add_argument("--table", type=Path, metavar="FILE", help="write a table of the faces (.csv, .jsonl)")
    parser.add_argument("--blur", action="store_true", help="blur the faces")
    parser.add_argument("--config", metavar="FILE", help="TOML file of settings")
    add_flags(parser, "faces", VISION)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.progress import track as progress

    from app.pipeline.image_labeler import for_photos, load_labeler
    from app.settings.load import load_settings

    settings = for_photos(load_settings(config_path(args), flag_values(args, VISION)))
    paths = _image_paths(args.pictures)
    skipped_folders = _subfolders(args.pictures, args.output)
    names = output_names(paths)
    _check_originals(paths, args.output, names)
    table = _open_table(args.table)
    labeler = load_labeler(settings)
    blur = args.blur or settings.view.blur
    console = Console(stderr=True)
    if skipped_folders:
        _print_line(console, f"{counted(len(skipped_folders), 'subfolder')} not searched: {listed(skipped_folders)}")
    found: list[FaceRow] = []
    faceless: list[Path] = []
    done = unreadable = 0
    hide_progress = len(paths) < 2 or not console.is_terminal
    try:
        for path in progress(paths, "labelling", console=console, transient=True, disable=hide_progress):
            try:
                faces = _annotate(path, args.output / names[path], blur, labeler)
                found += faces
                faceless += [] if faces else [path]
            except SourceError as error:
                if len(paths) == 1:
                    raise
                _print_line(console, f"skipped: {error}", "yellow")
                unreadable += 1
            done += 1
    except KeyboardInterrupt:  # finished images are kept and reported
        if done == 0:  # an existing table stays
            _print_line(console, f"interrupted before the first of {counted(len(paths), 'image')}; no file was written")
            return INTERRUPTED
    names_shown = table_names(paths)
    _show(found, names_shown, done - unreadable, args.output)
    if faceless and len(paths) > 1:  # for one image the title of the table says it
        names_without = listed([names_shown[str(path)] for path in faceless])
        _print_line(Console(), f"no face in {len(faceless)} of {done - unreadable}: {names_without}")
    if table is not None:
        _write_table(found, table)
    if done < len(paths):
        written = f"annotated images in {args.output}" + ("" if table is None else f", faces in {table}")
        _print_line(console, f"interrupted after {done} of {counted(len(paths), 'image')}; {written}")
        return INTERRUPTED
    if unreadable == len(paths):
        raise SourceError(f"cannot read any of the {len(paths)} images; see the lines above")
    return 0


def _annotate(path: Path, target: Path, blur: bool, labeler: "ImageLabeler") -> list[FaceRow]:
    """Writes the annotated image to ``target`` and returns its faces. Raises SourceError if ``path`` is unreadable."""
    from app.capture.image_folder import read_image
    from app.capture.recorder import save_image
    from app.core.types import Label
    from app.ui.faces import FaceOptions, canvas, draw_faces, hide_faces

    image = read_image(path)
    detections = labeler.label_detections(image)
    faces = [face for face in detections if face.label.label is not Label.NOT_FACE]
    board, factor = canvas(image, image.shape[1])
    if blur:
        hide_faces(board, [face.box for face in detections], factor)  # a rejected detection may still be a face
    draw_faces(board, [_as_track(i + 1, face) for i, face in enumerate(faces)], factor, FaceOptions(verbose=True))
    with output_errors(f"to {target.parent}", "choose another --output"):
        target.parent.mkdir(parents=True, exist_ok=True)
    save_image(board.image, target)
    return [_face_row(path, i + 1, face) for i, face in enumerate(faces)]


def _as_track(number: int, face: "LabeledFace") -> "Track":
    """What ``draw_faces`` draws: a track of one detection."""
    from app.core.types import Track

    return Track(number, face.box, face.label, (0.0, 0.0), 0.0, 0.0, 1, 1, True)


def _image_paths(given_paths: Sequence[Path]) -> list[Path]:
    from app.capture.image_folder import list_images

    paths: list[Path] = []
    for path in given_paths:
        if is_folder(path):
            images = list_images(path)
            if not images:
                subfolders = listed(_subfolders([path], path))
                advice = f"give its subfolders, which are not searched: {subfolders}" if subfolders else _IMAGE_ADVICE
                raise SourceError(f"folder {path} contains no images; {advice}")
            paths += images
        else:
            paths.append(path)
    return list(dict.fromkeys(paths))


def _subfolders(given_paths: Sequence[Path], output: Path) -> list[Path]:
    """The subfolders of the given folders, without those that are given themselves and without ``output``."""
    from app.capture.image_folder import natural_key

    excluded = {os.path.realpath(path) for path in (*given_paths, output)}  # resolve() may raise for a link to itself
    children = (each for path in given_paths if is_folder(path) for each in sorted(path.iterdir(), key=natural_key))
    return [
        each for each in children if is_folder(each) and each.name[:1] != "." and os.path.realpath(each) not in excluded
    ]


def _print_line(console: "Console", line: str, colour: str = "default") -> None:
    """Prints one line without wrapping; brackets in names are not markup."""
    console.print(line, style=colour, markup=False, highlight=False, soft_wrap=True)


def _check_originals(paths: Sequence[Path], output: Path, names: Mapping[Path, str]) -> None:
    """Raises OutputError if an annotated image would overwrite an input image."""
    originals = inodes(paths)
    for name in names.values():
        if originals & inodes([output / name]):
            raise OutputError(f"would overwrite the input {output / name}; choose another --output")


def output_names(paths: Sequence[Path]) -> dict[Path, str]:
    """A unique file name for each annotated image, also for images of the same name in different folders."""
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


def _face_row(path: Path, number: int, face: "LabeledFace") -> FaceRow:
    box, label = face.box, face.label
    sides = (round(side, 1) for side in (box.x, box.y, box.width, box.height))
    return FaceRow(str(path), number, label.label.value, round(label.confidence, 4), *sides)


def table_names(paths: Sequence[Path]) -> dict[str, str]:
    """The name of each image in the table, by path: its file name, or its path if the file name is not unique."""
    names = Counter(path.name for path in paths)
    return {str(path): path.name if names[path.name] == 1 else str(path) for path in paths}


def _show(found: Sequence[FaceRow], names: Mapping[str, str], images: int, output: Path) -> None:
    from rich.console import Console
    from rich.table import Column, Table

    face, confidence = Column("face", justify="right"), Column("confidence", justify="right")
    title = f"{counted(len(found), 'face')} in {counted(images, 'image')}; annotated images in {output}"
    table = Table("file", face, "label", confidence, "box", title=title, title_justify="left")
    for each in found:
        box = f"{each.x:.0f},{each.y:.0f} {each.width:.0f}x{each.height:.0f}"
        table.add_row(names[each.file], str(each.face), each.label, f"{each.confidence:.0%}", box)
    Console(markup=False).print(table)  # brackets in names are not markup


def _open_table(path: Path | None) -> Path | None:
    """Raises OutputError if the table cannot be written, before any image is processed."""
    from app.capture.recorder import check_output

    if path is None:
        return None
    if path.suffix.lower() not in (".csv", ".jsonl"):
        raise OutputError(f"cannot write a table to {path}: name it .csv or .jsonl")
    check_output(path, "table")
    return path


def _write_table(found: Sequence[FaceRow], path: Path) -> None:
    from app.alerts.export import atomic_text_file

    # File names that are not valid UTF-8 are escaped.
    rows = [asdict(face) | {"file": face.file.encode(errors="backslashreplace").decode()} for face in found]
    with atomic_text_file(path) as file:
        if path.suffix.lower() == ".csv":
            writer = CsvWriter(file, [field.name for field in fields(FaceRow)])
            writer.writeheader()
            writer.writerows(rows)
        else:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
