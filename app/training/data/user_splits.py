"""A user's own labelled faces: which to learn from, which to choose by, and what a run's settings keep of them."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from app.core.errors import DataError
from app.core.types import Label
from app.training.data.near_duplicates import shared_faces
from app.training.data.samples import Sample, find_samples, labels_of, show_left_out
from app.training.data.splits import Splits, photograph, share, siblings

MIN_FACES = 20
MIN_DEV_FACES = 5
DEV_SHARE = 0.15


def user_splits(place: Path, console: Console) -> tuple[Splits, list[tuple[Path, Path]]]:
    """The user's own splits, and pairs of near-duplicates across them; without a validation split, a share of the
    photographs becomes the development split. Training faces that nearly equal one of another split, or are varied
    copies of its photographs, are left out.

    Raises DataError where a class is missing or there are too few faces.
    """
    found = find_samples(place)
    show_left_out(console, found.left_out)
    parts = dict(found.splits)
    test = parts.pop("test", []) if len(parts) > 1 else []
    train = parts.pop("train", None) or [sample for part in parts.values() for sample in part]
    dev = found.splits.get("validation") if "train" in found.splits else None
    if dev is None:
        dev = held_back(train)
        chosen = {taken_together(sample.path) for sample in dev}
        train = [sample for sample in train if taken_together(sample.path) not in chosen]
    labels_of(dev, "the validation split" if found.splits.get("validation") is dev else "the data")
    with console.status(f"comparing {len(train)} faces with those of other splits"):
        copies, judged_by = across(train, [*dev, *test]), across(dev, test)
    copied = {first for first, _ in copies}
    train = [sample for sample in train if sample not in copied]
    for words, pairs in (
        ("near-duplicates of faces of other splits, left out of training", copies),
        ("development faces that nearly equal test faces", judged_by),
    ):
        if pairs:
            console.print(f"{words}: {len(pairs)}, as {pairs[0][0].path}", soft_wrap=True, markup=False)
    for label in labels_of([*train, *dev]):
        count = sum(sample.label == label for sample in train)
        if count < MIN_FACES:
            held = sum(sample.label == label for sample in dev)
            copies_of = sum(sample.label == label for sample in copied)
            others = f"beside {held} to choose by and {copies_of} near-duplicates; at least {MIN_FACES} are needed"
            raise DataError(f"{place} has {count} faces of {label.value} to learn from, {others}")
    return Splits(tuple(train), tuple(dev)), [(one.path, other.path) for one, other in copies + judged_by]


def across(first: Sequence[Sample], second: Sequence[Sample]) -> list[tuple[Sample, Sample]]:
    """Each face of ``first`` that is one of ``second`` too, nearly or as a varied copy, with that one."""
    copies = dict(shared_faces(first, second)) | dict(siblings(first, second))
    return [(sample, copies[sample]) for sample in dict.fromkeys(first) if sample in copies]


def held_back(samples: Sequence[Sample]) -> list[Sample]:
    """Of each label about ``DEV_SHARE`` of its faces, whole photographs together, the same ones every time."""
    photographs: dict[tuple[str, Path], list[Sample]] = {}
    for sample in samples:
        photographs.setdefault(taken_together(sample.path), []).append(sample)
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


def taken_together(path: Path) -> tuple[str, Path]:
    """What the faces of one photograph share: its varied copies may lie anywhere, but files of different folders that
    are called alike (``alice/face.png``, ``bob/face.png``) are different photographs."""
    name = photograph(path)
    return name, path.parent if name == path.name else Path()


def about(place: Path, splits: Splits) -> dict[str, object]:
    """What a run's settings keep of its data: where, how many of each label, and a digest of which."""
    parts = {"train": splits.train, "dev": splits.dev}
    faces = {name: dict(Counter(sample.label.value for sample in part)) for name, part in parts.items()}
    return {"path": str(place), "faces": faces, "digest": digest((*splits.train, *splits.dev), place)}


def digest(samples: Sequence[Sample], place: Path) -> str:
    """The same for the same faces, also where the folder was moved: of names, labels, boxes and the files' sizes."""
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
    """Raises DataError where faces have a label that the network will not have."""
    for name, part in (("training", splits.train), ("development", splits.dev)):
        other = {sample.label for sample in part} - set(labels)
        if other:
            raise DataError(
                f"the {name} faces are labelled {', '.join(sorted(other))} too, and the network knows "
                f"{', '.join(labels)} only; add such faces to the training split, or take them out"
            )
