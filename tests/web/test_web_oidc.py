"""Sign-in through a fake OpenID Connect provider on the loopback interface."""

import base64
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest
from fakes_web import CHEAP, Running, serving

from app.core.errors import SettingsError
from app.web import auth
from app.web.people import Role

joserfc = pytest.importorskip("joserfc", reason="needs joserfc: pip install '.[oidc]'")
from fakes_oidc import CLIENT, SECRET, Provider, running_provider  # noqa: E402
from joserfc import jwt  # noqa: E402
from joserfc.jwk import ECKey, OctKey  # noqa: E402


@pytest.fixture
def provider() -> Iterator[Provider]:
    with running_provider() as found:
        yield found


@pytest.fixture
def served(provider: Provider, tmp_path: Path) -> Iterator[Running]:
    (tmp_path / "secret").write_text(SECRET)
    oidc = {"issuer": provider.issuer, "client_id": CLIENT, "client_secret_file": tmp_path / "secret"}
    with serving(tmp_path, oidc=oidc, roles={"guards": "operator"}) as running:
        running.server.site.people.add("boss", Role.ADMIN, None, CHEAP.hash("a password of boss"))
        yield running


def sign_in(running: Running, provider: Provider, client: httpx.Client) -> httpx.Response:
    begin = client.get("/login/oidc")
    assert begin.status_code == 303, begin.text
    return client.get(provider.agree(begin.headers["location"]))


def test_sign_in_through_the_provider(served: Running, provider: Provider) -> None:
    with served.client() as client:
        assert "/login/oidc" in client.get("/login").text
        begin = client.get("/login/oidc")
        cookie = begin.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=lax" in cookie
        back = provider.agree(begin.headers["location"])
        page = client.get(back)
        assert page.status_code == 200
        assert '<meta http-equiv="refresh" content="0; url=/">' in page.text
        assert "SameSite=Strict" in page.headers["set-cookie"]
        text = client.get("/account").text
        assert "eva" in text
        assert "operator" in text
        assert client.get(back).status_code == 401, "an answer is used once"
    account = served.server.site.people.account("eva")
    assert account is not None
    assert (account.password, account.subject) == ("", f"{provider.issuer} 17")
    provider.claims |= {"preferred_username": "eva.new", "groups": ["guards", "others"]}
    with served.client() as client:
        assert sign_in(served, provider, client).status_code == 200
    assert [each.name for each in served.server.site.people.accounts()] == ["boss", "eva"], "the subject counts"
    provider.claims["groups"] = []
    with served.client() as client:
        assert "no access here" in sign_in(served, provider, client).text, "the user left the group"
    whats = [(entry.who, entry.what) for entry in served.server.site.people.audit.entries(what="signed in")]
    assert whats == [("eva", "signed in")] * 2


def test_users_without_a_role_must_be_added(served: Running, provider: Provider) -> None:
    provider.claims["groups"] = "visitors"
    people = served.server.site.people
    with served.client() as client:
        refused = sign_in(served, provider, client)
        assert refused.status_code == 401
        assert "no access here" in refused.text
        people.add("eva", Role.VIEWER, frozenset(["door"]), "")
        assert sign_in(served, provider, client).status_code == 200
        assert "door" in client.get("/account").text
        people.change("eva", Role.VIEWER, None, disabled=True)
        assert sign_in(served, provider, client).status_code == 401


def test_a_name_of_the_provider_never_becomes_a_user_with_a_password(served: Running, provider: Provider) -> None:
    provider.claims |= {"preferred_username": "boss"}
    with served.client() as client:
        assert "somebody else" in sign_in(served, provider, client).text
    provider.claims |= {"preferred_username": "eva"}
    with served.client() as client:
        assert sign_in(served, provider, client).status_code == 200
    provider.claims |= {"sub": "18"}
    with served.client() as client:
        assert "somebody else" in sign_in(served, provider, client).text


def test_an_answer_in_another_browser_is_refused(served: Running, provider: Provider) -> None:
    with served.client() as attacker, served.client() as victim:
        back = provider.agree(attacker.get("/login/oidc").headers["location"])
        assert victim.get(back).status_code == 401, "nobody is signed in as somebody else"
        assert attacker.get(back).status_code == 401, "the state is used"
        begin = attacker.get("/login/oidc").headers["location"]
        for query in (
            {},
            {"state": "x"},
            {"code": "x"},
            {"state": parse_qs(begin)["state"][0], "error": "access_denied"},
        ):
            assert attacker.get("/login/oidc/back", params=query).status_code == 401


def _without(name: str) -> Callable[[dict[str, Any]], None]:
    return lambda claims: claims.pop(name)


def _with(**more: Any) -> Callable[[dict[str, Any]], None]:
    return lambda claims: claims.update(more)


FALSE_CLAIMS = (
    *map(_without, ("iss", "aud", "exp", "iat", "nonce", "sub", "preferred_username")),
    _with(iss="https://other.example"),
    _with(aud="another-client"),
    _with(aud=["another-client", CLIENT]),
    _with(azp="another-client"),
    _with(exp=1),
    _with(nonce="replayed"),
    _with(preferred_username=""),
    _with(preferred_username="two words"),
)


def test_false_claims_are_refused(served: Running, provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "MAX_FAILURES", 1000)
    with served.client() as client:
        for change in FALSE_CLAIMS:
            provider.change = change
            assert sign_in(served, provider, client).status_code == 401
            assert client.get("/").headers["location"] == "/login"
        provider.change = lambda claims: None
        assert sign_in(served, provider, client).status_code == 200


def test_false_signatures_are_refused(served: Running, provider: Provider) -> None:
    other = ECKey.generate_key("P-256", {"kid": "first"})
    public = provider.key.as_pem(private=False)

    def unsigned(claims: dict[str, Any]) -> str:
        parts = ({"alg": "none"}, claims)
        return (
            ".".join(base64.urlsafe_b64encode(json.dumps(each).encode()).rstrip(b"=").decode() for each in parts) + "."
        )

    shared = OctKey.import_key(hashlib.sha256(public).digest())
    for sign in (
        lambda claims: jwt.encode({"alg": "ES256", "kid": "first"}, claims, other),
        lambda claims: jwt.encode({"alg": "HS256", "kid": "first"}, claims, shared, algorithms=["HS256"]),
        unsigned,
        lambda claims: "no token",
        lambda claims: "",
    ):
        provider.sign = sign
        with served.client() as client:
            assert sign_in(served, provider, client).status_code == 401


def test_a_false_description_of_the_provider_is_refused(served: Running, provider: Provider) -> None:
    with served.client() as client:
        for metadata in (
            {"issuer": "https://other.example"},
            {"authorization_endpoint": "http://id.example/begin"},
            {"authorization_endpoint": "https://[id.example/begin"},
        ):
            provider.metadata = metadata
            assert client.get("/login/oidc").status_code == 502
        provider.metadata = {"token_endpoint": "https://id.example:99999/token"}
        assert sign_in(served, provider, client).status_code == 401


def test_an_unreachable_provider_is_one_line(tmp_path: Path) -> None:
    oidc = {"issuer": "http://127.0.0.1:9", "client_id": CLIENT}
    with serving(tmp_path, oidc=oidc) as running, running.client() as client:
        page = client.get("/login/oidc")
        assert page.status_code == 502
        assert re.search("provider does not answer", page.text)
    with serving(tmp_path) as running, running.client() as client:
        assert client.get("/login/oidc").status_code == 404
        assert client.get("/login/oidc/back").status_code == 404


def test_a_request_without_a_host_is_refused(served: Running) -> None:
    """HTTP/1.0 needs none, but the provider must know where to return to."""
    with served.connect() as raw:
        raw.sendall(b"GET /login/oidc HTTP/1.0\r\n\r\n")
        response = b"".join(iter(lambda: raw.recv(65536), b""))
    assert response.startswith(b"HTTP/1.1 400"), response[:200]


def test_plain_http_is_refused(tmp_path: Path) -> None:
    oidc = {"issuer": "http://id.example", "client_id": CLIENT}
    with pytest.raises(SettingsError, match="use https"), serving(tmp_path, oidc=oidc):
        pass
