"""Settings as TOML: the settings of a run without secrets, and a commented file of all settings.

Names, defaults and descriptions come from the settings models, so they are written only once.
"""

import re
import textwrap
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from app.core.secrets import HIDDEN, redact, redact_url
from app.settings.error_messages import limits_of, models_in
from app.settings.flags import MONITORING, SOURCE, VIEW, VISION, WEB
from app.settings.monitor import CameraSettings

_SECRET_NAME = re.compile(r"(^|_)(username|password|secret|token|api_?key|credentials?)$")
_HARMLESS_ARGUMENT = re.compile(r"--[a-z][a-z-]*|-[A-Za-z]|(\{\w+\})+")
"""The arguments of a command that may be shown: flags without a value and placeholders. Others may be keys."""
_WIDTH = 100
_HEAD = """\
Settings of maskwatch. Each setting is listed with its default. To change one, remove the '#' from its line and from \
the line of its table. Environment variables (MASKWATCH_POLICY__DWELL_S=3) override this file, and flags override \
both. 'maskwatch config check FILE' checks the file."""


def redacted_tables(model: BaseModel) -> dict[str, Any]:
    """``model`` as tables without secrets; settings without a value are left out. The tables of a camera override
    single settings, so only the given ones are shown."""
    shown = {name: _shown_value(name, value) for name, value in model if value is not None}
    if isinstance(model, CameraSettings):
        for name, value in model:
            if isinstance(value, BaseModel):
                shown[name] = {key: each for key, each in shown[name].items() if key in value.model_fields_set}
        shown = {name: each for name, each in shown.items() if each != {}}
    return shown


def _shown_value(name: str, value: Any) -> Any:
    if isinstance(value, SecretStr) or (isinstance(value, str) and _SECRET_NAME.search(name)):
        return HIDDEN
    if name in ("uri", "main_uri", "address"):
        return redact(str(value))
    if name == "url":
        scheme = str(value).partition("://")[0]
        return redact_url(str(value)) if scheme in ("http", "https") else f"{scheme[:20]}://{HIDDEN}"
    if name == "argv":
        return [value[0], *(part if _HARMLESS_ARGUMENT.fullmatch(part) else HIDDEN for part in value[1:])]
    if isinstance(value, BaseModel):
        return redacted_tables(value)
    if isinstance(value, Mapping):  # headers and plugin options: any of them may be secret
        named_only = name.endswith("_env") or name == "roles"
        return {key: str(each) if named_only else HIDDEN for key, each in value.items()}
    return _plain(value, name)


def _plain(value: Any, name: str = "") -> Any:
    """``value`` as a type of TOML."""
    if isinstance(value, tuple | list):
        return [_shown_value(name, each) for each in value]
    if isinstance(value, Enum):
        return value.value
    return str(value) if isinstance(value, Path) else value


def commented_toml(root: type[BaseModel]) -> str:
    """A settings file with every line commented out: the tables of ``root`` with all settings and descriptions."""
    flag_helps = {flag.place: flag.help for flag in (*SOURCE, *MONITORING, *VISION, *VIEW, *WEB)}
    lines = [*_comment(_HEAD)]
    for name, field in root.model_fields.items():
        lines += _tables(name, field, flag_helps)
    return "\n".join(lines) + "\n"


def _tables(place: str, field: FieldInfo, flag_helps: Mapping[str, str]) -> Iterator[str]:
    is_list = get_origin(field.annotation) is tuple
    for model in models_in(field.annotation):
        header = f"[[{place}]]" if is_list else f"[{place}]"
        yield ""
        about = _about(model)
        yield from _comment(about if about.strip(".") != header else "")
        yield f"#{header}"
        tables: list[tuple[str, FieldInfo]] = []
        for name, inner in sorted(model.model_fields.items(), key=lambda item: not item[1].is_required()):
            if any(models_in(inner.annotation)):
                tables.append((name, inner))
            else:
                yield from _setting(name, inner, flag_helps.get(f"{place}.{name}", ""))
        for name, inner in tables:
            if is_list:  # a table inside [[camera]] or a channel
                yield from _comment(
                    f"[{place}.{name}]: {inner.description or _about(next(models_in(inner.annotation)))}"
                )
            else:
                yield from _tables(f"{place}.{name}", inner, flag_helps)


def _setting(name: str, field: FieldInfo, flag_help: str) -> Iterator[str]:
    default = field.get_default(call_default_factory=True) if not field.is_required() else None
    description = field.description or flag_help or _secret_description(name)
    comment = "; ".join(filter(None, [description, *_choices(field.annotation), limits_of(field)]))
    kind = get_args(field.annotation)
    if field.is_required() and get_origin(field.annotation) is Literal:
        yield f"#{name} = {_toml(kind[0])}"
    elif default is None:
        state = "required" if field.is_required() else "not set"
        yield from _comment(f"{name} ({state})" + (f": {comment}" if comment else ""))
        if field.is_required():
            yield f"#{name} = " + ('[""]' if get_origin(field.annotation) is tuple else '""')
    else:
        yield from _comment(comment)
        yield f"#{name} = {_toml(_plain(default))}"


def _secret_description(name: str) -> str:
    """The description of a setting ``…_env`` or ``…_file``, which says where a secret is stored."""
    what, _, where = name.rpartition("_")
    places = {"env": f"environment variable that contains the {what}", "file": f"file that contains the {what}"}
    return places.get(where, "") if what else ""


def _toml(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    import tomlkit  # imported late: few commands write settings

    return "{}" if value == {} else tomlkit.item(value).as_string()


def _choices(annotation: Any) -> list[str]:
    if get_origin(annotation) is Literal and len(get_args(annotation)) > 1:
        return [f"one of {', '.join(map(str, get_args(annotation)))}"]
    if get_origin(annotation) is tuple:
        return [choices.replace("one of", "any of") for choices in _choices(get_args(annotation)[0])]
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return [f"one of {', '.join(each.value for each in annotation)}"]
    return []


def _about(model: type[BaseModel]) -> str:
    return " ".join((model.__doc__ or "").replace("``", "").split())


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(text, _WIDTH)]
