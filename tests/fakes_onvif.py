"""A fake ONVIF camera on the loopback interface: it answers a probe by UDP and speaks SOAP over HTTP."""

import base64
import hashlib
import re
import socket
import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

SIZES = ((1920, 1080), (1280, 720), (640, 360), (320, 180))
ENVELOPE = '<?xml version="1.0"?><s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"><s:Body>{}</s:Body></s:Envelope>'


class OnvifCamera:
    """``profiles``: number of streams. ``answers`` replaces the body of an answer, by the name of the request. ``uris``
    and ``lenses``: of each stream; by default each has a port of its own, and all are of one lens."""

    def __init__(
        self,
        profiles: int = 1,
        password: str = "",
        answers: dict[str, bytes] | None = None,
        xaddr: str = "",
        uris: Sequence[str] = (),
        lenses: Sequence[str] = (),
    ) -> None:
        self.uris = uris or [f"rtsp://10.255.255.1:{553 + i}/stream{i}" for i in range(1, profiles + 1)]
        self.lenses = lenses or ["lens"] * profiles
        self.profiles = profiles
        self.password = password
        self.answers = answers or {}
        self.asked: list[str] = []
        camera = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                status, content = camera.answer(body)
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.bind(("127.0.0.1", 0))
        self._udp.settimeout(0.05)
        self.discovery: tuple[str, int] = self._udp.getsockname()
        self.address = f"http://127.0.0.1:{self._http.server_port}/onvif/device_service"
        self.xaddr = xaddr or f"http://169.254.1.1/onvif/device_service {self.address}"
        self._ends = threading.Event()
        self._threads = [
            threading.Thread(target=self._http.serve_forever, args=(0.02,)), threading.Thread(target=self._announce)
        ]  # fmt: skip

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self._http.shutdown()
        for thread in self._threads:
            thread.join()
        self._http.server_close()
        self._udp.close()

    def _announce(self) -> None:
        while not self._ends.is_set():
            try:
                probe, sender = self._udp.recvfrom(65_536)
            except TimeoutError:
                continue
            assert b"NetworkVideoTransmitter" in probe
            scopes = "onvif://www.onvif.org/type/video_encoder onvif://www.onvif.org/name/Fake%20camera"
            match = f"<d:Scopes>{scopes}</d:Scopes><d:XAddrs>{self.xaddr}</d:XAddrs>"
            match = f"<d:ProbeMatches xmlns:d='x'><d:ProbeMatch>{match}</d:ProbeMatch></d:ProbeMatches>"
            self._udp.sendto(self.answers.get("Probe", ENVELOPE.format(match).encode()), sender)

    def answer(self, body: str) -> tuple[int, bytes]:
        found = re.search(r"<s:Body><(\w+)", body)
        assert found is not None, body
        self.asked.append(found[1])
        if found[1] in self.answers:
            return 200, self.answers[found[1]]
        if found[1] != "GetSystemDateAndTime" and not self._is_login(body):
            reason = "<s:Reason><s:Text>Sender not Authorized</s:Text></s:Reason>"
            return 400, ENVELOPE.format(
                f"<s:Fault><s:Code><s:Value>s:Sender</s:Value></s:Code>{reason}</s:Fault>"
            ).encode()
        return 200, ENVELOPE.format(getattr(self, found[1])(body)).encode()

    def _is_login(self, body: str) -> bool:
        if not self.password:
            return True
        parts = [re.search(rf"<\w:{name}[^>]*>([^<]+)<", body) for name in ("Nonce", "Created", "Password", "Username")]
        if not all(parts):
            return False
        nonce, created, digest, username = (part[1] for part in parts if part is not None)
        wanted = hashlib.sha1(base64.b64decode(nonce) + created.encode() + self.password.encode()).digest()
        return username == "admin" and created.startswith("2001-02-03T04:05") and base64.b64decode(digest) == wanted

    def GetSystemDateAndTime(self, _: str) -> str:  # noqa: N802 - the names of ONVIF
        """A clock that is wrong by decades."""
        date, time = (
            "<Year>2001</Year><Month>2</Month><Day>3</Day>",
            "<Hour>4</Hour><Minute>5</Minute><Second>6</Second>",
        )
        return f"<R><UTCDateTime><Time>{time}</Time><Date>{date}</Date></UTCDateTime></R>"

    def GetDeviceInformation(self, _: str) -> str:  # noqa: N802
        return "<R><Manufacturer>Fake</Manufacturer><Model>F1</Model></R>"

    def GetCapabilities(self, _: str) -> str:  # noqa: N802
        """Behind a router: the host is one that cannot be reached."""
        address = self.address.replace("127.0.0.1", "10.255.255.1").replace("device_service", "media")
        return f"<R><Capabilities><Media><XAddr>{address}</XAddr></Media></Capabilities></R>"

    def GetProfiles(self, _: str) -> str:  # noqa: N802
        rows = [
            f'<Profiles token="p{i}"><Name>Stream {i}</Name><VideoEncoderConfiguration><Encoding>H264</Encoding>'
            f"<Resolution><Width>{width}</Width><Height>{height}</Height></Resolution><RateControl><FrameRateLimit>25"
            "</FrameRateLimit></RateControl></VideoEncoderConfiguration><VideoSourceConfiguration>"
            f"<SourceToken>{self.lenses[i - 1]}</SourceToken></VideoSourceConfiguration></Profiles>"
            for i, (width, height) in enumerate(SIZES[: self.profiles], 1)
        ]
        return f"<R>{''.join(reversed(rows))}</R>"

    def GetStreamUri(self, body: str) -> str:  # noqa: N802
        found = re.search(r"<ProfileToken>p(\d)</ProfileToken>", body)
        assert found is not None, body
        return f"<R><MediaUri><Uri>{self.uris[int(found[1]) - 1]}</Uri></MediaUri></R>"
