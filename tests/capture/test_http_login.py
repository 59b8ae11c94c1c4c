"""How HTTP cameras ask for a login, where they redirect to, proxies and certificates."""

import base64
import hashlib
import re
import shutil
import ssl
import subprocess
import threading
from pathlib import Path

import pytest
from fakes_http import BREAKS, LIMITS, Request, Respond, http_camera, jpeg, partial, read, watch

from app.capture.source import make_source
from app.core.errors import LoginError, RetryLaterError, SourceError
from app.settings.source import SourceSettings

PASSWORD = "s3cret-p@ss"


def digest_answer(request: Request, name: str) -> str:
    """The right response of a digest login for the realm and nonce that ``login_camera`` uses."""
    hashes = {"MD5": hashlib.md5, "SHA-256": hashlib.sha256}[name]
    fields = dict(re.findall(r'(\w+)="?([^",]*)"?', request.headers["Authorization"]))

    def hashed(text: str) -> str:
        return hashes(text.encode()).hexdigest()

    secret = hashed(f"viewer:cam era, 1:{PASSWORD}")
    asked = hashed(f"GET:{request.path}")
    return hashed(f"{secret}:{fields['nonce']}:{fields['nc']}:{fields['cnonce']}:auth:{asked}")


CHALLENGES = {
    "basic": ["Basic realm=x"],
    "MD5": ['Digest realm="cam era, 1", nonce="n1", qop="auth,auth-int", opaque="o"'],
    "SHA-256": ['Digest realm="cam era, 1", nonce="n1", algorithm=SHA-256, qop=auth'],
    "one header": ['Basic realm="x", Digest realm="cam era, 1", nonce="n1", algorithm=MD5, qop="auth"'],
    "best of three": [
        'Digest realm="cam era, 1", nonce="n1", algorithm=MD5, qop="auth"',
        'Digest realm="cam era, 1", nonce="n1", algorithm=SHA-256, qop="auth"',
        'Basic realm="x"',
    ],
}


def login_camera(challenge: str, rejected: list[str]) -> Respond:
    def respond(request: Request) -> None:
        sent = request.headers["Authorization"] or ""
        if sent.startswith("Basic") and challenge == "basic":
            right = base64.b64decode(sent[6:]).decode() == f"viewer:{PASSWORD}"
        elif sent.startswith("Digest"):
            name = "SHA-256" if "SHA-256" in sent else "MD5"
            right = f'response="{digest_answer(request, name)}"' in sent
        else:
            right = False
        if right:
            request.send(jpeg(len(request.server.requests)))
        else:
            rejected.extend([sent] * bool(sent))
            request.send(b"<html>denied</html>", 401, WWW_Authenticate=CHALLENGES[challenge])

    return respond


@pytest.mark.parametrize("challenge", CHALLENGES)
def test_the_login_that_a_camera_asks_for_is_used(challenge: str) -> None:
    rejected: list[str] = []
    with http_camera(login_camera(challenge, rejected)) as camera:
        assert len(watch(camera, 3, "/a%20b.jpg?x=1&y=2", username="viewer", password=PASSWORD)) == 3
        assert len(camera.requests) == 4, "one request without the login, then one for each image"
        sent = camera.requests[-1].headers["Authorization"]
    assert rejected == []
    assert ("SHA-256" in sent) == (challenge in ("SHA-256", "best of three"))


@pytest.mark.parametrize("challenge", ["basic", "MD5", "SHA-256"])
def test_a_rejected_login_is_sent_once_by_all_sources_together(challenge: str) -> None:
    rejected: list[str] = []
    with http_camera(login_camera(challenge, rejected)) as camera:
        values = {"username": "viewer", "password": "wrong-pass"}
        errors: list[str] = []

        def channel(number: int) -> None:
            with pytest.raises(LoginError) as caught:
                watch(camera, 1, f"/channel{number}", **values)
            assert 590 < caught.value.wait_s <= 600
            errors.append(str(caught.value))

        threads = [threading.Thread(target=channel, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(rejected) == 1
        assert len(errors) == 4
        assert not any("wrong-pass" in error for error in errors)
        assert watch(camera, 1, username="viewer", password=PASSWORD), "another password is another login"


def test_names_in_any_language_are_sent() -> None:
    challenge = 'Digest realm="Türkamera", nonce="n1", qop="auth"'

    def respond(request: Request) -> None:
        if request.headers["Authorization"]:
            request.send(jpeg(len(request.server.requests)))
        else:
            request.send(status=401, WWW_Authenticate=challenge.encode().decode("latin-1"))

    with http_camera(respond) as camera:
        watch(camera, 2, username="Jürgen", password="Schlüssel")
        sent = camera.requests[-1].headers["Authorization"].encode("latin-1").decode()
    fields = dict(re.findall(r'(\w+)="?([^",]*)"?', sent))
    assert (fields["username"], fields["realm"]) == ("Jürgen", "Türkamera")


def test_a_camera_without_a_user_name_and_an_unknown_login_are_explained() -> None:
    wanted = "requires a user name and password"
    with http_camera(login_camera("MD5", [])) as camera, pytest.raises(LoginError, match=wanted):
        watch(camera)

    def windows(request: Request) -> None:
        request.send(status=401, WWW_Authenticate=["Negotiate", "NTLM"])

    with http_camera(windows) as camera, pytest.raises(LoginError, match=r"no supported login \(negotiate, ntlm\)"):
        watch(camera, username="viewer", password=PASSWORD)
    with http_camera(lambda r: r.send(status=401)) as camera, pytest.raises(LoginError, match=r"login \(none\)"):
        watch(camera, username="viewer", password=PASSWORD)


def test_a_user_without_rights_is_not_taken_for_a_wrong_password() -> None:
    with http_camera(lambda request: request.send(status=403)) as camera:
        with pytest.raises(RetryLaterError, match="forbids this user") as caught:
            watch(camera, username="viewer", password=PASSWORD)
        assert not isinstance(caught.value, LoginError)


def test_a_redirect_keeps_the_login_for_its_own_server_only() -> None:
    seen: list[str | None] = []

    def other(request: Request) -> None:
        seen.append(request.headers["Authorization"])
        request.send(jpeg(len(seen)))

    def own(request: Request) -> None:
        if request.headers["Authorization"] is None:
            request.send(status=401, WWW_Authenticate="Basic realm=x")
        elif request.path == "/":
            request.send(status=302, Location="/next")
        else:
            request.send(status=307, Location=request.server.other_url)  # type: ignore[attr-defined]

    with http_camera(other) as second, http_camera(own) as first:
        first.other_url = second.url("/snap.jpg", "evil:pass")  # type: ignore[attr-defined]
        assert len(watch(first, 2, username="viewer", password=PASSWORD)) == 2
    assert seen == [None, None]


def test_a_login_behind_a_redirect_to_another_server_is_explained_and_not_sent() -> None:
    rejected: list[str] = []
    with (
        http_camera(login_camera("basic", rejected)) as second,
        http_camera(lambda r: r.send(status=302, Location=second.url())) as first,
        pytest.raises(SourceError, match=r"redirects to .* requires a login"),
    ):
        watch(first, username="viewer", password=PASSWORD)
    assert rejected == []


def test_a_proxy_is_used_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def proxy(request: Request) -> None:
        asked.append(request.path)
        request.send(jpeg(len(asked)))

    with http_camera(proxy) as server:
        monkeypatch.setenv("http_proxy", server.url())
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        source = make_source(SourceSettings(uri="http://camera.invalid/snap.jpg", **LIMITS))
        assert len(read(source, 2)) == 2
    assert asked == ["http://camera.invalid/snap.jpg"] * 2
    with pytest.raises(SourceError, match=r"proxy of this system cannot reach camera\.invalid:80"):
        read(make_source(SourceSettings(uri="http://camera.invalid/snap.jpg", **LIMITS)), 1)


def test_a_proxy_is_used_for_broken_answers_too(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def proxy(request: Request) -> None:
        asked.append(f"{request.path} {request.headers['Proxy-Authorization']}")
        request.wfile.write(BREAKS + b"\r\n" + jpeg(len(asked)))
        request.close_connection = True

    with http_camera(proxy) as server:
        monkeypatch.setenv("http_proxy", server.url(credentials="u:p"))
        monkeypatch.setenv("no_proxy", "")
        assert len(read(make_source(SourceSettings(uri="http://camera.invalid/snap.jpg", **LIMITS)), 2)) == 2
    assert asked == ["http://camera.invalid/snap.jpg Basic dTpw", "http://camera.invalid:80/snap.jpg Basic dTpw"] * 2


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PEM file with a key and a certificate that only itself has signed, for 127.0.0.1."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs openssl: apt install openssl")
    path = tmp_path_factory.mktemp("tls") / "camera.pem"
    command = (
        f"req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 9 -keyout {path} -out {path}.crt"
    )
    names = ["-subj", "/CN=camera", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([openssl, *command.split(), *names], check=True, capture_output=True)
    path.write_text(path.read_text() + Path(f"{path}.crt").read_text())
    return path


@pytest.mark.parametrize("kind", ["snapshot", "video", "playlist"])
def test_a_certificate_is_verified_if_the_settings_say_so(
    kind: str, certificate: Path, clips: dict[str, bytes], capfd: pytest.CaptureFixture[str]
) -> None:
    def respond(request: Request) -> None:
        if kind == "snapshot":
            request.send(jpeg(len(request.server.requests)))
        elif kind == "playlist" and request.path == "/x":
            request.send(b"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:2.4,\na.ts\n#EXT-X-ENDLIST\n")
        else:
            partial(request, clips["transport stream"])

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with http_camera(respond) as camera:
        camera.socket = context.wrap_socket(camera.socket, server_side=True)
        uri = camera.url("/x").replace("http:", "https:")
        trusted = [{}, {"tls_ca_file": f"{certificate}.crt"}]
        for values in trusted:
            assert len(read(make_source(SourceSettings(uri=uri, **LIMITS, **values)), 2)) == 2
        with pytest.raises(SourceError, match=r"certificate of .* is not trusted .*; set tls_ca_file"):
            read(make_source(SourceSettings(uri=uri, tls_verify=True, **LIMITS)), 1)
        by_name = uri.replace("127.0.0.1", "localhost")
        with pytest.raises(SourceError, match=r"certificate of .* is not trusted"):
            read(make_source(SourceSettings(uri=by_name, **LIMITS, **trusted[1])), 1)
    assert capfd.readouterr().err == ""


def test_a_missing_file_of_certificates_is_named(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "no.pem", "No such file"), (Path(__file__), "it contains no certificate")):
        source = make_source(SourceSettings(uri="https://127.0.0.1:1/x", tls_ca_file=path))
        with pytest.raises(SourceError, match=f"cannot read tls_ca_file .*{reason}"):
            next(source.frames(threading.Event()))
