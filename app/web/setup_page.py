"""The pages under /setup: cameras, alert channels and privacy. Plain forms, so they work without JavaScript."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import wraps
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from app.capture.cameras import find_cameras
from app.capture.onvif import OnvifProfile
from app.core.errors import MaskwatchError, SettingsError
from app.core.secrets import redact
from app.core.types import EventKind
from app.settings.change import Change, is_same_host, may_change_address, revision_of
from app.settings.monitor import CameraSettings
from app.settings.root import Settings
from app.settings.toml import redacted_tables
from app.web.handling import Handler
from app.web.middleware import parse_form
from app.web.rendering import render
from app.web.setup import Tried, source_of
from app.web.setup_api import status_of
from app.web.site import Site

Fields = Mapping[str, str]
_CAMERA_OPTIONS = ("rotate", "flip", "rtsp_transport", "fps", "detector.min_face_px")
_PRIVACY = (
    "view.blur", "alerts.snapshots", "alerts.keep_days", "clips.enabled", "clips.faces", "clips.keep_days",
    "collect.enabled", "collect.keep_days",
)  # fmt: skip
_CHANNEL_OPTIONS: dict[str, tuple[str, ...]] = {
    "webhook": ("snapshot",), "apprise": ("snapshot",), "push": ("snapshot", "contact"), "sound": (),
    "mqtt": ("snapshot", "host", "port", "tls", "topic"),
}  # fmt: skip
_ENOUGH_PX = 720
"""The height of a picture in which faces at an entrance are large enough."""


class SetupPages:
    def __init__(self, site: Site) -> None:
        self._site = site
        self._setup = site.setup

    def routes(self) -> list[tuple[str, Handler, str]]:
        if self._site.fleet_store is not None:  # a hub watches nothing
            return []

        def form(section: str, act: Callable[[Request, Fields], Awaitable[Response]]) -> Handler:
            """Shows an error on the page of ``section``."""

            @wraps(act)
            async def run(request: Request) -> Response:
                fields = parse_form(await request.body())
                try:
                    return await act(request, fields)
                except MaskwatchError as error:
                    shown = next((each for each in ("camera", "channel") if fields.get(each)), section)
                    prefix = f"{fields['form']}-" if "form" in fields else ""
                    typed = {f"{prefix}{name}": redact(text) for name, text in fields.items()}
                    values = {"chosen": fields.get(shown, ""), "typed": typed, "open_form": fields.get("form")}
                    return await self._show(request, shown, status_of(error), error_text=redact(str(error)), **values)

            return run

        def page(section: str) -> Handler:
            async def run(request: Request) -> Response:
                return await self._show(request, section, chosen=request.query_params.get("name", ""))

            return run

        return [
            ("/setup", page("cameras"), "GET"),
            ("/setup/camera", page("camera"), "GET"),
            ("/setup/channel", page("channel"), "GET"),
            ("/setup/channels", page("channels"), "GET"),
            ("/setup/privacy", page("privacy"), "GET"),
            ("/setup/cameras/try", form("cameras", self._try), "POST"),
            ("/setup/cameras/search", form("cameras", self._search), "POST"),
            ("/setup/cameras/profiles", form("cameras", self._profiles), "POST"),
            ("/setup/cameras/add", form("cameras", self._add), "POST"),
            ("/setup/cameras/save", form("cameras", self._save_camera), "POST"),
            ("/setup/cameras/remove", form("cameras", self._remove), "POST"),
            ("/setup/channels/add", form("channels", self._add_channel), "POST"),
            ("/setup/channels/save", form("channels", self._save_channel), "POST"),
            ("/setup/channels/remove", form("channels", self._remove), "POST"),
            ("/setup/privacy/save", form("privacy", self._save_privacy), "POST"),
            ("/setup/undo", form("cameras", self._undo), "POST"),
        ]  # fmt: skip

    async def _show(self, request: Request, section: str, status: int = 200, **values: Any) -> Response:
        text, settings, fault = await self._read()
        states = {camera.name: camera for camera in self._site.status().cameras}
        file = self._setup.file
        common: dict[str, Any] = {
            "section": section,
            "revision": revision_of(text),
            "file": "" if file is None else file.path,
            "fault": fault,
            "can_undo": file is not None and not fault and await self._setup.run(lambda: file.can_undo),
            "restart": self._setup.restart,
            "error_text": "",
            "chosen": "",
            "typed": {},  # what a refused form had in its fields, by their ids
            "open_form": None,
            "settings": settings,
            "cameras": [_camera_row(camera, states.get(camera.name)) for camera in settings.camera],
            "channels": [(each, redacted_tables(each)) for each in settings.alerts.channels],
            "results": self._site.last_test,
        }
        values = common | values
        if section == "camera":
            values["camera"] = _named(settings.camera, values["chosen"])
            values["section"] = section if values["camera"] else "cameras"
        if section == "channel":
            changeable = [channel for channel in settings.alerts.channels if not channel.only_in_file]
            values["channel"] = channel = _named(changeable, values["chosen"])
            values["section"] = section if channel else "channels"
            values["table"] = table = redacted_tables(channel) if channel else {}
            values["may_change_address"] = may_change_address(table)
        return render(request, "setup", status, **values)

    async def _read(self) -> tuple[str, Settings, str]:
        return await self._setup.read(self._site.settings)

    async def _save(self, request: Request, fields: Fields, changes: list[Change], page: str = "/setup") -> Response:
        request.scope["target"] = ", ".join(change.path for change in changes)  # for the audit log
        if changes:
            await self._setup.save(changes, fields.get("revision", ""))
        return RedirectResponse(f"{request.scope['root']}{page}?said=saved", 303)

    async def _undo(self, request: Request, fields: Fields) -> Response:
        await self._setup.undo(fields.get("revision", ""))
        return RedirectResponse(f"{request.scope['root']}/setup?said=undone", 303)

    async def _search(self, request: Request, fields: Fields) -> Response:  # noqa: ARG002 - a handler
        devices = await self._setup.run(self._setup.find_devices)
        own = await self._setup.run(find_cameras)
        return await self._show(request, "found", devices=devices, own=own)

    async def _profiles(self, request: Request, fields: Fields) -> Response:
        found = await self._setup.profiles(*(fields.get(name, "") for name in ("address", "username", "password")))
        best = _recommended([profile for _, profile in found])
        mains = {key: tried.settings.main_uri for key, _ in found if (tried := self._setup.tried(key)) is not None}
        return await self._show(
            request, "profiles", profiles=found, best=best, mains=mains, address=fields.get("address", "")
        )

    async def _try(self, request: Request, fields: Fields) -> Response:
        """Opens an address that was typed, or a stream of a list, and shows the picture or the reason."""
        tried = self._setup.tried(fields.get("key", "")) or await self._typed(fields)
        key, tried = await self._setup.try_address(tried, self._site.settings.view.blur)
        return await self._show(request, "tried", tried=tried, key=key, shown=tried.settings.shown)

    async def _typed(self, fields: Fields) -> Tried:
        uri, username, password = (fields.get(name, "") for name in ("uri", "username", "password"))
        source = source_of(uri, username, password)
        has_login, name = source.username is not None, fields.get("camera", "")
        _, settings, _ = await self._read()
        old = _named(settings.camera, name)
        if old is not None and not has_login and is_same_host(old.uri, source.uri):
            source = source.model_copy(update={"username": old.username, "password": old.password})
        return Tried(source, name if old else "", has_login)

    async def _add(self, request: Request, fields: Fields) -> Response:
        """Adds the camera that was tried, or gives an existing one its address."""
        tried = self._setup.tried(fields.get("key", ""))
        if tried is None:
            raise SettingsError("the address is not known any more; try it again")
        source = tried.settings
        login = {"username": source.username, "password": source.password and source.password.get_secret_value()}
        values = {"uri": source.uri, **{name: text for name, text in login.items() if text and tried.has_new_login}}
        if source.main_uri and fields.get("main"):
            values["main_uri"] = source.main_uri
        if tried.camera:
            changes = [Change(f"camera.{tried.camera}.{name}", text) for name, text in values.items()]
            return await self._save(request, fields, changes)
        _, settings, _ = await self._read()
        views = {view.camera: view for view in self._site.monitor.views()}
        changes = []
        for camera in settings.camera if "camera" not in settings.model_fields_set else ():
            if (view := views.get(camera.name)) is not None and view.frame is not None:  # it would be dropped
                changes.append(Change(f"camera.{camera.name}", {"uri": camera.uri}))
        name = fields.get("name", "").strip() or source.name
        return await self._save(request, fields, [*changes, Change(f"camera.{name}", values)])

    async def _save_camera(self, request: Request, fields: Fields) -> Response:
        _, settings, _ = await self._read()
        name = fields.get("camera", "")
        camera = _named(settings.camera, name)
        if camera is None:
            raise SettingsError(f"there is no camera {name!r} any more; load the page again")
        changes = _changes(camera, f"camera.{name}", _CAMERA_OPTIONS, fields)
        shown = redact(camera.main_uri or "")
        if (main_uri := fields.get("main_uri", shown).strip()) != shown:
            changes.append(Change(f"camera.{name}.main_uri", main_uri or None))
        if (new := fields.get("name", "").strip()) and new != name:
            changes.append(Change(f"camera.{name}.name", new))  # last: the others use the old name
        return await self._save(request, {**fields, "camera": ""}, changes)

    async def _remove(self, request: Request, fields: Fields) -> Response:
        page = "/setup/channels" if "/channels/" in request.url.path else "/setup"
        prefix = "alerts.channels." if page == "/setup/channels" else "camera."
        return await self._save(request, fields, [Change(f"{prefix}{fields.get('remove', '')}", None)], page)

    async def _add_channel(self, request: Request, fields: Fields) -> Response:
        table = channel_table(fields)
        change = Change(f"alerts.channels.{table['name']}", table)
        return await self._save(request, fields, [change], "/setup/channels")

    async def _save_channel(self, request: Request, fields: Fields) -> Response:
        _, settings, _ = await self._read()
        name = fields.get("channel", "")
        channel = _named(settings.alerts.channels, name)
        if channel is None:
            raise SettingsError(f"there is no channel {name!r} any more; load the page again")
        changes = _changes(channel, f"alerts.channels.{name}", _CHANNEL_OPTIONS.get(channel.kind, ()), fields)
        if url := fields.get("url", "").strip():  # the old one is not shown, so an empty field means that
            changes.append(Change(f"alerts.channels.{name}.url", url))
        old = getattr(channel, "username", None) or ""
        if (username := fields.get("username", old).strip()) != old:
            changes.append(Change(f"alerts.channels.{name}.username", username or None))
        lists: dict[str, list[str]] = {
            "cameras": _split(fields.get("cameras", ""), ",", channel.cameras),
            "schedule": _split(fields.get("schedule", ""), ";", channel.schedule),
            "events": [kind.value for kind in EventKind if fields.get(f"event.{kind.value}")],
        }
        for setting, new in lists.items():
            if sorted(new) != sorted(getattr(channel, setting)):
                changes.append(Change(f"alerts.channels.{name}.{setting}", new))
        return await self._save(request, {**fields, "channel": ""}, changes, "/setup/channels")

    async def _save_privacy(self, request: Request, fields: Fields) -> Response:
        _, settings, _ = await self._read()
        return await self._save(request, fields, _changes(settings, "", _PRIVACY, fields), "/setup/privacy")


def _named(tables: Sequence[Any], name: str) -> Any:
    return next((each for each in tables if each.name == name), None)


def _camera_row(camera: CameraSettings, state: Any) -> dict[str, Any]:
    return {"name": camera.name, "shown": camera.shown, "has_login": camera.username is not None, "state": state}


def _recommended(profiles: list[OnvifProfile]) -> OnvifProfile | None:
    """The smallest stream in which faces are large enough, which costs least; else the largest."""
    enough = [each for each in profiles if min(each.width_px, each.height_px) >= _ENOUGH_PX]
    return enough[-1] if enough else next(iter(profiles), None)


def _changes(model: Any, prefix: str, names: tuple[str, ...], fields: Fields) -> list[Change]:
    """The settings of ``model`` that a form changes. A box that is not ticked is not sent."""
    changes = []
    for name in names:
        old: Any = model
        for part in name.split("."):
            old = getattr(old, part)
        new: Any = fields.get(name, "") == "on" if isinstance(old, bool) else fields.get(name, "").strip()
        if not isinstance(new, bool) and name not in fields:
            continue
        if not isinstance(old, bool | str):
            new = _number(new, name)
        if new != old:
            changes.append(Change(f"{prefix}.{name}".lstrip("."), new))
    return changes


def _split(text: str, separator: str, old: Sequence[str] = ()) -> list[str]:
    """The parts of a field; those that it showed, if it is unchanged: the name of a camera may contain a comma."""
    if text.strip() == f"{separator} ".join(old):
        return list(old)
    return [part.strip() for part in text.split(separator) if part.strip()]


def _number(text: str, name: str) -> float | int | None:
    try:
        value = float(text) if text else None
    except ValueError:
        raise SettingsError(f"{name}: {text[:20]!r} is no number; write one such as 30") from None
    return int(value) if value is not None and value.is_integer() else value


def channel_table(fields: Fields) -> dict[str, Any]:
    """The table of the channel that a form describes. Raises SettingsError if something is missing."""

    def need(name: str, what: str) -> str:
        if not (text := fields.get(name, "").strip()):
            raise SettingsError(f"{what} is missing; fill it in")
        return text

    def login() -> str:
        user, password = quote(fields.get("username", ""), safe=""), quote(fields.get("password", ""), safe="")
        return f"{user}:{password}@" if password else f"{user}@" if user else ""

    form = fields.get("form", "")
    table: dict[str, Any] = {"kind": "apprise", "name": fields.get("name", "").strip() or form}
    if form == "webhook":
        table |= {"kind": "webhook", "url": need("url", "the address")}
    elif form == "ntfy":
        start, _, server = (fields.get("server", "").strip() or "https://ntfy.sh").rpartition("://")
        scheme = "ntfy" if start == "http" else "ntfys"
        table["url"] = f"{scheme}://{login()}{server.strip('/')}/{quote(need('topic', 'the topic'), safe='')}"
    elif form == "mail":
        sender, receivers = (quote(need(name, f"the field {name!r}"), safe="@,") for name in ("from", "to"))
        scheme = "mailtos" if fields.get("encrypt") else "mailto"
        table["url"] = f"{scheme}://{login()}{need('server', 'the mail server')}/?from={sender}&to={receivers}"
    elif form == "mqtt":
        port = _number(fields.get("port", ""), "port") or 1883
        table |= {"kind": "mqtt", "host": need("server", "the broker"), "port": port, "tls": "encrypt" in fields}
        table |= {"username": fields["username"]} if fields.get("username") else {}
    elif form == "sound":
        table["kind"] = "sound"
    elif form == "push":
        table |= {"kind": "push", "contact": f"mailto:{need('contact', 'your e-mail address')}"}
    else:
        table["url"] = need("url", "the address")
    cameras = _split(fields.get("cameras", ""), ",")
    return table | ({"cameras": cameras} if cameras else {})
