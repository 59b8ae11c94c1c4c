"""Finds network cameras that speak ONVIF, and asks one for the addresses of its streams.

WS-Discovery 1.1 (a probe over UDP multicast) and ONVIF Core and Media 1.0 (SOAP over HTTP), as far as needed. What
devices answer is not trusted: its size, time and form are limited, document types are refused, and a login is only sent
to the address that the user chose.
"""

import asyncio
import base64
import hashlib
import secrets
import socket
import struct
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import unquote, urlsplit
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat
from xml.sax.saxutils import escape

import httpx

from app.capture.connection import explain
from app.core.errors import SourceError

PROBE_ADDRESS = ("239.255.255.250", 3702)
_TIMEOUT_S, _ALL_S, _POLL_S = 4.0, 15.0, 0.1
_ADVICE = "type the address of its stream"
_MAX_BYTES, _MAX_DEVICES, _MAX_PROFILES = 1 << 18, 100, 12
_DEVICE, _MEDIA = "http://www.onvif.org/ver10/device/wsdl", "http://www.onvif.org/ver10/media/wsdl"
_SCHEMA = "http://www.onvif.org/ver10/schema"
_SECURITY = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-"
_ENVELOPE = (
    '<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"><s:Header>{header}</s:Header>'
    "<s:Body>{body}</s:Body></s:Envelope>"
)
_PROBE = (
    '<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" '
    'xmlns:a="http://schemas.xmlsoap.org/ws/2004/08/addressing"><s:Header><a:MessageID>uuid:{id}</a:MessageID>'
    "<a:To>urn:schemas-xmlsoap-org:ws:2005:04:discovery</a:To>"
    "<a:Action>http://schemas.xmlsoap.org/ws/2005/04/discovery/Probe</a:Action></s:Header><s:Body>"
    '<d:Probe xmlns:d="http://schemas.xmlsoap.org/ws/2005/04/discovery">'
    '<d:Types xmlns:n="http://www.onvif.org/ver10/network/wsdl">n:NetworkVideoTransmitter</d:Types>'
    "</d:Probe></s:Body></s:Envelope>"
)


@dataclass(frozen=True, slots=True)
class OnvifDevice:
    """``address``: of its device service. ``name``: as it announces itself; its host if it does not."""

    address: str
    name: str


@dataclass(frozen=True, slots=True)
class OnvifProfile:
    """One stream of a camera; ``uri`` has no login. ``source`` names the lens, of which a recorder has several."""

    name: str
    uri: str
    encoding: str = ""
    width_px: int = 0
    height_px: int = 0
    fps: float = 0.0
    source: str = ""


class _LoginError(SourceError):
    """The device does not accept the login."""


def find_devices(wait_s: float = 2.0, address: tuple[str, int] = PROBE_ADDRESS) -> list[OnvifDevice]:
    """The cameras of the local network that answer within ``wait_s``, by their names."""
    found: dict[str, OnvifDevice] = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        probe = _PROBE.format(id=uuid.uuid4()).encode()
        for index in _interfaces():
            with suppress(OSError):  # an interface that is down or has no IPv4
                if index:
                    udp.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, index)
                udp.sendto(probe, address)
        end_s = time.monotonic() + wait_s
        while (left_s := end_s - time.monotonic()) > 0 and len(found) < _MAX_DEVICES:
            udp.settimeout(left_s)
            try:
                content, (host, _) = udp.recvfrom(65_536)
            except TimeoutError:
                break
            except OSError:  # Windows reports here that a port is closed
                continue
            with suppress(SourceError):
                for device in _devices_in(parse_xml(content), host):
                    found.setdefault(device.address, device)
    return sorted(found.values(), key=lambda device: (device.name, device.address))


def _interfaces() -> Iterator[bytes]:
    """What chooses each interface of this machine for multicast; first empty: the one that the system chooses."""
    yield b""
    with suppress(OSError, AttributeError):
        for index, _ in socket.if_nameindex():
            yield struct.pack("=4s4si", b"", b"", index)


def _devices_in(answer: Element, host: str) -> Iterator[OnvifDevice]:
    """A device may announce addresses in several networks, or those of others: only its own is used."""
    for match in answer.iter("ProbeMatch"):
        addresses = _text(match, "XAddrs").split()
        address = next((each for each in addresses if _host(each) == host), "")
        scopes = [urlsplit(scope).path for scope in _text(match, "Scopes").split()]
        names = [unquote(path.removeprefix("/name/")) for path in scopes if path.startswith("/name/")]
        if address:
            yield OnvifDevice(address, (names or [host])[0][:80])


def read_profiles(
    address: str, username: str, password: str, stopped: Callable[[], bool] = lambda: False
) -> list[OnvifProfile]:
    """The streams of the camera whose device service is at ``address``, the largest first. Raises SourceError, also
    soon after ``stopped``."""
    return asyncio.run(_profiles(_Device(address, username, password), stopped))


async def _profiles(device: "_Device", stopped: Callable[[], bool]) -> list[OnvifProfile]:
    query, end_s = asyncio.ensure_future(device.profiles()), time.monotonic() + _ALL_S
    while not query.done():
        if stopped():
            raise SourceError(f"{device.host} was not asked to the end, because the program ends")
        if time.monotonic() > end_s:
            raise SourceError(f"{device.host} answers too slowly; {_ADVICE}")
        await asyncio.wait([query], timeout=_POLL_S)
    return query.result()


class _Device:
    def __init__(self, address: str, username: str, password: str) -> None:
        self._address, self.host = address, _host(address)
        if not self.host:
            raise SourceError(f"{address[:100]!r} is no address of a camera; check it")
        self._login = username, password
        self._ahead = timedelta()

    async def profiles(self) -> list[OnvifProfile]:
        await self._read_clock()
        about = await self._ask(self._address, f'<GetDeviceInformation xmlns="{_DEVICE}"/>')
        capabilities = await self._ask(self._address, f'<GetCapabilities xmlns="{_DEVICE}"/>')
        media = next((_text(each, "XAddr") for each in capabilities.iter("Media")), "")
        if not media:
            raise SourceError(f"{_text(about, 'Model') or self.host} offers no streams; {_ADVICE}")
        media = self._at_host(media)
        answer = await self._ask(media, f'<GetProfiles xmlns="{_MEDIA}"/>')
        found = [await self._profile(media, each) for each in list(answer.iter("Profiles"))[:_MAX_PROFILES]]
        return sorted(found, key=lambda profile: -profile.width_px * profile.height_px)

    async def _profile(self, media: str, profile: Element) -> OnvifProfile:
        token = escape(profile.get("token", ""), {'"': "&quot;"})
        answer = await self._ask(
            media,
            f'<GetStreamUri xmlns="{_MEDIA}"><StreamSetup><Stream xmlns="{_SCHEMA}">RTP-Unicast</Stream>'
            f'<Transport xmlns="{_SCHEMA}"><Protocol>RTSP</Protocol></Transport></StreamSetup>'
            f"<ProfileToken>{token}</ProfileToken></GetStreamUri>",
        )
        encoder = next(profile.iter("VideoEncoderConfiguration"), Element("none"))
        width_px, height_px, fps = (_number(encoder, name) for name in ("Width", "Height", "FrameRateLimit"))
        uri = self._at_host(_text(answer, "Uri"))
        return OnvifProfile(
            _text(profile, "Name")[:80], uri, _text(encoder, "Encoding")[:20], int(width_px), int(height_px), fps,
            _text(next(profile.iter("VideoSourceConfiguration"), Element("none")), "SourceToken"),
        )  # fmt: skip

    def _at_host(self, address: str) -> str:
        """``address`` with the host that the user chose: behind a router a camera names one that cannot be reached."""
        try:
            parts = urlsplit(address)
            port = parts.port
        except ValueError:
            parts, port = urlsplit(""), None
        if parts.scheme not in ("http", "https", "rtsp", "rtsps"):
            raise SourceError(f"{self.host} answers with an address that is none; {_ADVICE}")
        host = f"[{self.host}]" if ":" in self.host else self.host
        return parts._replace(netloc=host if port is None else f"{host}:{port}").geturl()

    async def _read_clock(self) -> None:
        """Logins contain the time, and the clocks of cameras are often wrong."""
        try:
            answer = await self._ask(self._address, f'<GetSystemDateAndTime xmlns="{_DEVICE}"/>', has_login=False)
        except _LoginError:  # it should need none
            return
        utc = next(answer.iter("UTCDateTime"), None)
        with suppress(ValueError, OverflowError):
            if utc is not None:
                names = ("Year", "Month", "Day", "Hour", "Minute", "Second")
                year, month, day, hour, minute, second = (int(_number(utc, name)) for name in names)
                self._ahead = datetime(year, month, day, hour, minute, second, tzinfo=UTC) - datetime.now(UTC)

    async def _ask(self, address: str, body: str, has_login: bool = True) -> Element:
        header = self._security() if has_login and self._login[0] else ""
        content = _ENVELOPE.format(header=header, body=body).encode()
        try:
            async with (
                httpx.AsyncClient(verify=False, trust_env=False, timeout=_TIMEOUT_S) as client,
                client.stream(
                    "POST",
                    address,
                    content=content,
                    headers={"Content-Type": "application/soap+xml; charset=utf-8", "Accept-Encoding": "identity"},
                    auth=httpx.DigestAuth(*self._login) if self._login[0] else None,
                ) as response,
            ):
                received = await _read(response, self.host)
                status = response.status_code
        except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError) as error:
            raise SourceError(explain(error, f"{self.host}:{urlsplit(address).port or 80}", "http")) from error
        answer = parse_xml(received) if status in (200, 400, 500) else Element("none")
        fault = " ".join([_text(answer, "Text"), *(each.text or "" for each in answer.iter("Value"))])
        if status in (401, 403) or "NotAuthorized" in fault or "authori" in fault.lower():
            raise _LoginError(f"{self.host} rejects the login; check user name and password")
        if status != 200:
            raise SourceError(f"{self.host} answers with an error {status}: {fault.strip()[:100] or 'no reason'}")
        return answer

    def _security(self) -> str:
        """A UsernameToken with a digest (WS-Security UsernameToken Profile 1.0, section 3.1)."""
        (username, password), nonce = self._login, secrets.token_bytes(16)
        created = (datetime.now(UTC) + self._ahead).strftime("%Y-%m-%dT%H:%M:%SZ")
        digest = base64.b64encode(hashlib.sha1(nonce + created.encode() + password.encode()).digest()).decode()
        return (
            f'<w:Security xmlns:w="{_SECURITY}wssecurity-secext-1.0.xsd" s:mustUnderstand="1"><w:UsernameToken>'
            f"<w:Username>{escape(username)}</w:Username>"
            f'<w:Password Type="{_SECURITY}username-token-profile-1.0#PasswordDigest">{digest}</w:Password>'
            f"<w:Nonce>{base64.b64encode(nonce).decode()}</w:Nonce>"
            f'<u:Created xmlns:u="{_SECURITY}wssecurity-utility-1.0.xsd">{created}</u:Created>'
            "</w:UsernameToken></w:Security>"
        )


async def _read(response: httpx.Response, host: str) -> bytes:
    content, end_s = b"", time.monotonic() + _TIMEOUT_S
    async for chunk in response.aiter_raw():
        content += chunk
        if len(content) > _MAX_BYTES or time.monotonic() > end_s:
            raise SourceError(f"{host} answers with too much; {_ADVICE}")
    return content


def parse_xml(content: bytes) -> Element:
    """The tree with names without namespaces, which not every device writes correctly. Raises SourceError for what is
    not XML, and for document types: they can define entities that fill the memory or read files."""
    builder, parser = TreeBuilder(), expat.ParserCreate(namespace_separator=" ")

    def refuse(*_: object) -> None:
        raise SourceError(f"the answer of the device contains a document type; {_ADVICE}")

    def local(name: str) -> str:
        return name.rpartition(" ")[2]

    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = lambda name, attributes: builder.start(
        local(name), {local(key): value for key, value in attributes.items()}
    )
    parser.EndElementHandler = lambda name: builder.end(local(name))
    parser.CharacterDataHandler = builder.data
    try:
        parser.Parse(content, True)
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise SourceError(f"the answer of the device is not valid XML ({error}); {_ADVICE}") from error
    return builder.close()


def _text(element: Element, name: str) -> str:
    return next(("".join(each.itertext()).strip() for each in element.iter(name)), "")


def _number(element: Element, name: str) -> float:
    """0 if it is missing or none."""
    try:
        value = float(_text(element, name))
    except ValueError:
        return 0.0
    return value if 0 <= value <= 1e6 else 0.0


def _host(address: str) -> str:
    """'' if ``address`` has no host, or a port that is none."""
    try:
        parts = urlsplit(address)
        return parts.hostname or "" if parts.port != 0 else ""
    except ValueError:
        return ""
