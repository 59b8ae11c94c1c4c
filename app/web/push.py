"""The API with which a browser subscribes to alerts (web push) for its own user."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator
from starlette.exceptions import HTTPException
from starlette.requests import Request

from app.alerts.push_store import Device, PushStore, from_base64url, to_base64url
from app.core.schedule import parse_hours, time_zone
from app.core.translation import ENGLISH
from app.settings.alerts import PushChannel
from app.web.schemas import Record
from app.web.site import Site

Hours = Annotated[str, Field(max_length=60)]


class PushKey(Record):
    key: str = Field(description="the applicationServerKey for PushManager.subscribe, in base64url")


class Endpoint(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    endpoint: str = Field(min_length=1, max_length=1000, description="address of the push service for this browser")


class SubscriptionKeys(BaseModel):
    """The keys of a subscription, in base64url."""

    model_config = ConfigDict(frozen=True, extra="forbid")

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


def public_key(channel: PushChannel) -> str:
    from app.alerts.hooks.push_hook import public_point, signing_key

    return to_base64url(public_point(signing_key(PushStore(channel.store).private_key())))


def subscribe(channel: PushChannel, given: Subscription, request: Request) -> PushDevice:
    """Stores the device for the user of ``request``. Waits for a name server. Raises HTTPException."""
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
    store, user = PushStore(channel.store), request.scope.get("user")
    before = next((each for each in store.devices() if each.endpoint == given.endpoint), None)
    cameras = getattr(user, "cameras", None)
    device = Device(
        given.endpoint,
        given.keys.p256dh,
        given.keys.auth,
        getattr(user, "name", ""),
        None if cameras is None else tuple(sorted(cameras)),
        given.quiet if given.quiet is not None else before.quiet if before else (),
        given.urgent if given.urgent is not None else before.urgent if before else False,
        given.timezone if given.timezone is not None else before.timezone if before else "",
        given.language if given.language is not None else before.language if before else ENGLISH,
    )
    if not store.save(device):
        raise HTTPException(409, "too many devices get alerts; turn them off on another device first")
    return PushDevice(quiet=device.quiet, urgent=device.urgent)
