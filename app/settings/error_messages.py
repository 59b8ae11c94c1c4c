"""The line of an error in a settings file, and suggestions for unknown names."""

import difflib
import re
from collections.abc import Iterable, Iterator
from itertools import pairwise
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

_TABLE = re.compile(r"\s*\[(\[?)([^\[\]]+)\]")
_KEY = re.compile(r"""\s*([A-Za-z0-9_\-."' ]+?)\s*=""")


def line_of(text: str, place: tuple[int | str, ...]) -> int | None:
    """The line (from 1) of the TOML ``text`` that sets ``place`` or opens the table around it; None if there is none.
    It reads single lines, which is exact enough for a hint but is no TOML parser."""
    lines = _lines_of(text)
    for length in range(len(place), 0, -1):
        head = place[:length]
        # pydantic inserts the kind of a tagged union after its index
        untagged = (*head[:1], *(part for before, part in pairwise(head) if not isinstance(before, int)))
        for wanted in (head, untagged):
            if wanted in lines:
                return lines[wanted]
    return None


def _lines_of(text: str) -> dict[tuple[int | str, ...], int]:
    lines: dict[tuple[int | str, ...], int] = {}
    counts: dict[tuple[int | str, ...], int] = {}
    table: tuple[int | str, ...] = ()
    for number, line in enumerate(text.splitlines(), 1):
        if header := _TABLE.match(line):
            table = ()
            parts = _parts(header.group(2))
            for i, part in enumerate(parts):
                table += (part,)
                if i == len(parts) - 1 and header.group(1):
                    counts[table] = counts.get(table, -1) + 1
                if table in counts:
                    table += (counts[table],)
            lines.setdefault(table, number)
        elif key := _KEY.match(line):
            lines.setdefault((*table, *_parts(key.group(1))), number)
    return lines


def _parts(dotted: str) -> list[str]:
    return [part.strip().strip("\"'") for part in dotted.split(".")]


def did_you_mean(root: type[BaseModel], place: tuple[int | str, ...]) -> str:
    """'; did you mean X?' for the unknown setting at ``place`` of ``root``; '' if no setting is similar."""
    known = {name for model in _models_at(root, place[:-1]) for name in model.model_fields}
    near = nearest(str(place[-1]), known) if place else ""
    return f"; did you mean {near}?" if near else ""


def nearest(word: str, known: Iterable[str]) -> str:
    """The name in ``known`` that is most similar to ``word``; '' if none is similar."""
    return next(iter(difflib.get_close_matches(word, sorted(known), n=1)), "")


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models inside the type ``annotation``: the type itself, or the parts of a tuple, list or union."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) is Annotated:
        yield from models_in(get_args(annotation)[0])
    elif get_origin(annotation) in (tuple, list, Union, UnionType):
        for inner in get_args(annotation):
            yield from models_in(inner)


def _models_at(root: type[BaseModel], place: tuple[int | str, ...]) -> list[type[BaseModel]]:
    models = [root]
    for part in place:
        if isinstance(part, int):
            continue
        fields = [model.model_fields[part] for model in models if part in model.model_fields]
        if fields:
            models = [inner for field in fields for inner in models_in(field.annotation)]
        else:  # the tag of a tagged union
            models = [model for model in models if _has_kind(model, part)] or models
    return models


def _has_kind(model: type[BaseModel], tag: str) -> bool:
    kind = model.model_fields.get("kind")
    return kind is not None and tag in get_args(kind.annotation)
