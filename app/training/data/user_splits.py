"""Training and development splits of a user's own labelled faces, and their description for a run's settings."""

import hashlib
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

from rich.console import Console

from app.core.errors import DataError
from app.core.types import Label
from app.training.data.near_duplicates import shared_faces
from app.training.data.samples import find_samples, labels_of, show_left_out
from app.training.data.splits import Splits, photograph, share, siblings
from app.training.types import Sample

MIN_FACES = 20
MIN_DEV_FACES = 5
DEV_SHARE = 0.15


def user_splits(place: Path, console: Console) -> tuple[Splits, list[tuple[Path, Path]]]:
    """The user's splits, and pairs of near-duplicates across them. Without a validation split, a share of the
    photographs becomes the development split. Training faces that are near-duplicates or augmented copies of faces of
    another split are left out. Raises DataError if a class is missing or there are too few faces.
    """
    found = find_samples(place)
    show_left_out(console, found.left_out)
    parts = dict(found.splits)
    test = parts.pop("test", []) if len(parts) > 1 else []
    train = parts.pop("train", None) or [sample for part in parts.values() for sample in part]
    dev = found.splits.get("validation") if "train" in found.splits else None
    if dev is None:
        dev = held_back(train)
        chosen = {photograph_key(sample.path) for sample in dev}
        train = [sample for sample in train if photograph_key(sample.path) not in chosen]
    labels_of(dev, "the validation split" if found.splits.get("validation") is dev else "the data")
    with console.status(f"searching for near-duplicates of {len(train)} training faces in other splits"):
        copies, dev_copies = across(train, [*dev, *test]), across(dev, test)
    copied = {first for first, _ in copies}
    train = [sample for sample in train if sample not in copied]
    for description, pairs in (
        ("near-duplicates of faces of other splits, left out of training", copies),
        ("development faces that are near-duplicates of test faces", dev_copies),
    ):
        if pairs:
            console.print(f"{description}: {len(pairs)}, for example {pairs[0][0].path}", soft_wrap=True, markup=False)
    _check_counts(place, train, dev, copied)
    return Splits(tuple(train), tuple(dev)), [(one.path, other.path) for one, other in copies + dev_copies]


def _check_counts(place: Path, train: Sequence[Sample], dev: Sequence[Sample], copied: Collection[Sample]) -> None:
    """Raises DataError if a label has too few training faces."""
    counts, held, copies = (Counter(sample.label for sample in part) for part in (train, dev, copied))
    short = []
    for label in labels_of([*train, *dev]):
        if counts[label] < MIN_FACES:
            text = f"{counts[label] + held[label] + copies[label]} of {label.value}"
            short.append(text + (f" ({copies[label]} of them near-duplicates)" if copies[label] else ""))
    if short:
        raise DataError(
            f"{place} has too few faces to learn from: {', '.join(short)}; give each label at least {MIN_FACES} to "
            f"train and {MIN_DEV_FACES} to check the result, of different people; until then, use the bundled model"
        )


def across(first: Sequence[Sample], second: Sequence[Sample]) -> list[tuple[Sample, Sample]]:
    """Faces of ``first`` that are near-duplicates or augmented copies of a face of ``second``, each with that face."""
    copies = dict(shared_faces(first, second)) | dict(siblings(first, second))
    return [(sample, copies[sample]) for sample in dict.fromkeys(first) if sample in copies]


def held_back(samples: Sequence[Sample]) -> list[Sample]:
    """About ``DEV_SHARE`` of the faces of each label. Photographs stay whole, and the choice is reproducible."""
    photographs: dict[tuple[str, Path], list[Sample]] = {}
    for sample in samples:
        photographs.setdefault(photograph_key(sample.path), []).append(sample)
    order = sorted(photographs, key=lambda photo: (share(photo[0]), share(photo[1].name), photo[1]))
    total, held, chosen = Counter(sample.label for sample in samples), Counter[Label](), []
    for label in sorted(total, key=total.__getitem__):
        for name in order:
            if held[label] >= max(DEV_SHARE * total[label], MIN_DEV_FACES):
                break
            part = photographs[name]
            if part and any(sample.label == label for sample in part):
                held.update(sample.label for sample in part)
                chosen += part
                photographs[name] = []
    return chosen


def photograph_key(path: Path) -> tuple[str, Path]:
    """A key that all faces of one photograph share. Augmented copies may be in any folder. Other files with the same
    name in different folders (``alice/face.png``, ``bob/face.png``) are different photographs."""
    name = photograph(path)
    return name, path.parent if name == path.name else Path()


def about(place: Path, splits: Splits) -> dict[str, object]:
    """The description of the data for a run's settings: path, faces per label, and a digest of the samples."""
    parts = {"train": splits.train, "dev": splits.dev}
    faces = {name: dict(Counter(sample.label.value for sample in part)) for name, part in parts.items()}
    return {"path": str(place), "faces": faces, "digest": digest((*splits.train, *splits.dev), place)}


def digest(samples: Sequence[Sample], place: Path) -> str:
    """A digest of names, labels, boxes and file sizes. It stays the same if the folder is moved."""
    lines = sorted(
        f"{path_in(sample.path, place)} {size_of(sample.path)} {sample.label} {sample.box}" for sample in samples
    )
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def path_in(path: Path, place: Path) -> str:
    return path.relative_to(place).as_posix() if path.is_relative_to(place) else path.as_posix()


def size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def check_labels(splits: Splits, labels: tuple[Label, ...]) -> None:
    """Raises DataError if faces have a label that is not one of the network's ``labels``. A network without not_face
    learns to be unsure of such images."""
    for name, part in (("training", splits.train), ("development", splits.dev)):
        other = {sample.label for sample in part} - {*labels, Label.NOT_FACE}
        if other:
            raise DataError(
                f"the {name} faces include {', '.join(sorted(other))}, but the network has only the labels "
                f"{', '.join(labels)}; add such faces to the training split, or remove them"
            )
