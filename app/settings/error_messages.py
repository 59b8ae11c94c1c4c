"""Errors of settings in the terms of a settings file: the line, what is allowed, suggestions for unknown names."""

import difflib
import re
from collections.abc import Iterable, Iterator
from itertools import pairwise
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

Place = tuple[int | str, ...]
_LISTS_OF_TABLES: tuple[Place, ...] = (
    ("camera",),
    ("alerts", "channels"),
    ("camera", "zone"),
    ("camera", "line"),
)
_LIMITS: tuple[tuple[type, str, str], ...] = (
    (Ge, "ge", "from"),
    (Gt, "gt", "above"),
    (Le, "le", "to"),
    (Lt, "lt", "below"),
)
_TABLE = re.compile(r"\s*\[(\[?)([^\[\]]+)\]")
_KEY = re.compile(r"""\s*([A-Za-z0-9_\-."' ]+?)\s*=""")


def reason_of(root: type[BaseModel], place: Place, fault: "ErrorDetails") -> str:
    """The reason of the error at ``place`` of ``root``, and what is allowed there."""
    names = tuple(part for part in place if isinstance(part, str))
    match fault["type"]:
        case "extra_forbidden":
            return f"unknown setting{did_you_mean(root, place)}"
        case "missing":
            return "is missing; add it"
        case "tuple_type" if names in _LISTS_OF_TABLES:
            return f"must be a list of tables; start each table with [[{'.'.join(names)}]]"
        case "tuple_type":
            return "must be a list; write it in brackets, such as [1, 2] or ['one', 'two']"
        case "too_short":
            return "is empty; give at least one"
        case "string_too_short":
            return "is empty; write a text"
        case "dict_type" | "model_type" | "model_attributes_type":
            return "must be a table; write it as [name] with settings below"
        case "union_tag_not_found":
            return f"has no kind; use one of {', '.join(_kinds(root, place))}"
        case "union_tag_invalid":
            kind = fault["ctx"]["tag"]
            near = nearest(kind, _kinds(root, place))
            hint = f"did you mean {near}?" if near else f"use {', '.join(_kinds(root, place))}"
            return f"{kind!r} is not a kind of channel; {hint}"
        case "bool_type" | "bool_parsing":
            return "must be true or false"
        case "string_type" | "path_type":
            return "must be a text; write it in quotes"
        case "datetime_parsing" | "datetime_from_date_parsing" | "datetime_type" | "datetime_object_invalid":
            return "is no date with a time; write it like 2026-11-23T14:30"
        case "literal_error" | "enum":
            return f"must be {fault['ctx']['expected']}"
        case "string_pattern_mismatch" if about := _about(root, place):
            return f"is not valid; needed is: {about}"
        case "int_type" | "int_parsing" | "int_from_float" | "int_parsing_size":
            return f"must be a whole number{_numbers_at(root, place)}"
        case (
            "float_type"
            | "float_parsing"
            | "finite_number"
            | "greater_than"
            | "greater_than_equal"
            | "less_than"
            | "less_than_equal"
        ):
            return f"must be a number{_numbers_at(root, place)}"
    return fault["msg"].removeprefix("Value error, ")


def limits_of(field: FieldInfo) -> str:
    """``from 0 to 3600``; '' if a number has no limits."""
    return " ".join(
        f"{word} {getattr(each, name)}"
        for kind, name, word in _LIMITS
        for each in field.metadata
        if isinstance(each, kind)
    )


def _numbers_at(root: type[BaseModel], place: Place) -> str:
    limits = next((found for field in _fields_at(root, place) if (found := limits_of(field))), "")
    return f" {limits}" if limits else ""


def _about(root: type[BaseModel], place: Place) -> str:
    return next((field.description for field in _fields_at(root, place) if field.description), "")


def _fields_at(root: type[BaseModel], place: Place) -> list[FieldInfo]:
    """The fields that ``place`` may mean: several in a union. An index means the list itself."""
    while place and isinstance(place[-1], int):
        place = place[:-1]
    models = _models_at(root, place[:-1]) if place else []
    return [model.model_fields[str(place[-1])] for model in models if str(place[-1]) in model.model_fields]


def _kinds(root: type[BaseModel], place: Place) -> list[str]:
    """The kinds of tables that ``place`` may have."""
    return [kind for model in _models_at(root, place) for kind in get_args(model.model_fields["kind"].annotation)]


def line_of(text: str, place: Place) -> int | None:
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


def did_you_mean(root: type[BaseModel], place: Place) -> str:
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


def _models_at(root: type[BaseModel], place: Place) -> list[type[BaseModel]]:
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
