"""The API with which a browser subscribes to alerts (web push) for its own user."""

from typing import Annotated

from pydantic import Field, field_validator
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from app.alerts.push_store import Device, PushStore, from_base64url, to_base64url
from app.core.schedule import parse_hours, time_zone
from app.settings.alerts import PushChannel
from app.web.handling import ApiRoute, json_response, read, site_of, user_of
from app.web.people import User
from app.web.schemas import Record
from app.web.site import Site

_KEPT = ("quiet", "urgent", "timezone", "language")
"""What a subscription that does not give it keeps of the one before."""
Hours = Annotated[str, Field(max_length=60)]


class PushKey(Record):
    key: str = Field(description="the applicationServerKey for PushManager.subscribe, in base64url")


class Endpoint(Record):
    endpoint: str = Field(min_length=1, max_length=1000, description="address of the push service for this browser")


class SubscriptionKeys(Record):
    """The keys of a subscription, in base64url."""

    p256dh: str = Field(max_length=100)
    auth: str = Field(max_length=40)


class Subscription(Endpoint):
    """What ``PushSubscription.toJSON`` gives, and when this device may be disturbed. Fields that are not given keep the
    values of before."""

    keys: SubscriptionKeys
    quiet: tuple[Hours, ...] | None = Field(None, max_length=10, description="quiet hours, such as '22:00-06:00'")
    urgent: bool | None = Field(None, description="whether urgent alerts are sent in quiet hours too")
    timezone: str | None = Field(None, max_length=60, description="time zone of the quiet hours; empty: the server's")
    language: str | None = Field(None, max_length=35, description="language of the messages, such as de")

    @field_validator("quiet")
    @classmethod
    def _readable(cls, lines: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for line in lines or ():
            parse_hours(line)
        return lines

    @field_validator("timezone")
    @classmethod
    def _known(cls, name: str | None) -> str | None:
        time_zone(name or "")
        return name


class PushDevice(Record):
    """How this device gets alerts."""

    quiet: tuple[str, ...]
    urgent: bool


class Unsubscribed(Record):
    removed: bool = Field(description="false if the device was not subscribed")


def push_channel(site: Site) -> PushChannel | None:
    return next((each for each in site.settings.alerts.channels if isinstance(each, PushChannel)), None)


def channel_of(site: Site) -> PushChannel:
    """Raises HTTPException 409 if no alerts can be pushed."""
    channel = push_channel(site)
    if channel is None:
        raise HTTPException(409, 'no channel of kind "push" is configured; add one to [[alerts.channels]]')
    try:
        import cryptography  # noqa: F401 - only whether it is there
    except ImportError as error:
        raise HTTPException(409, "push needs cryptography: pip install 'maskwatch[push]'") from error
    return channel


def routes() -> list[ApiRoute]:
    return [
        ("/push", _key, "GET"),
        ("/push/subscribe", _subscribe, "POST"),
        ("/push/unsubscribe", _unsubscribe, "POST"),
    ]


async def _key(request: Request) -> Response:
    from app.alerts.hooks.push_hook import public_point, signing_key

    store = PushStore(channel_of(site_of(request)).store)
    private = await site_of(request).run_in_worker(store.private_key)
    return json_response(PushKey(key=to_base64url(public_point(signing_key(private)))))


async def _subscribe(request: Request) -> Response:
    given, user, channel = await read(request, Subscription), user_of(request), channel_of(site_of(request))
    return json_response(await site_of(request).run_in_worker(lambda: subscribe(channel, given, user)))


async def _unsubscribe(request: Request) -> Response:
    given, store = await read(request, Endpoint), PushStore(channel_of(site_of(request)).store)
    removed = await site_of(request).run_in_worker(lambda: store.remove(given.endpoint))
    return json_response(Unsubscribed(removed=removed))


def subscribe(channel: PushChannel, given: Subscription, user: User) -> PushDevice:
    """Stores the device for ``user``. Waits for a name server. Raises HTTPException."""
    from app.alerts.hooks.push_hook import encrypt, push_address

    try:
        auth = from_base64url(given.keys.auth)
        encrypt(b"", from_base64url(given.keys.p256dh), auth)
        if len(auth) != 16:
            raise ValueError("the secret of a subscription has 16 bytes")
    except ValueError as error:
        raise HTTPException(400, f"keys: {error or 'these are no keys of a subscription'}") from error
    try:
        push_address(given.endpoint, channel.allow_private)
    except ValueError as error:
        raise HTTPException(400, f"endpoint: {error}") from error
    store = PushStore(channel.store)
    before = next((each for each in store.devices() if each.endpoint == given.endpoint), None)
    cameras = None if user.cameras is None else tuple(sorted(user.cameras))
    keys = given.keys.p256dh, given.keys.auth
    kept = {} if before is None else {name: getattr(before, name) for name in _KEPT}
    kept |= {name: value for name in _KEPT if (value := getattr(given, name)) is not None}
    device = Device(given.endpoint, *keys, user.name, cameras, **kept)
    if not store.save(device):
        raise HTTPException(409, "too many devices get alerts; turn them off on another device first")
    return PushDevice(quiet=device.quiet, urgent=device.urgent)
