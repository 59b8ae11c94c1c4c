"""Sign-in through an OpenID Connect provider: authorization code with PKCE, state and nonce."""

import base64
import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx

from app.core.errors import SettingsError
from app.core.secrets import read_secret
from app.settings.web import OidcSettings

ALGORITHMS = ("RS256", "PS256", "ES256", "EdDSA")
"""Of signatures; never 'none', and no secret that both sides share."""
FLOW_S, MAX_FLOWS = 600.0, 200
LIMIT_S, LEEWAY_S = 10.0, 60
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class OidcError(Exception):
    """The sign-in failed; the reason is for people."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who signed in: ``subject`` never changes, ``name`` may."""

    subject: str
    name: str
    groups: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Flow:
    """What the answer of the provider must fit."""

    nonce: str
    verifier: str
    back: str
    begun_s: float


class OidcProvider:
    """Raises SettingsError if a package or the secret of the client is missing."""

    def __init__(self, settings: OidcSettings) -> None:
        try:
            import joserfc  # noqa: F401 - used with the first sign-in
        except ImportError as error:
            raise SettingsError("web.oidc needs joserfc: pip install 'maskwatch[oidc]'") from error
        if not _is_safe(settings.issuer):
            raise SettingsError(f"web.oidc.issuer {settings.issuer}: plain http is not safe; use https")
        self._settings = settings
        self._secret = read_secret("web.oidc", None, settings.client_secret_env, settings.client_secret_file)
        self._flows: OrderedDict[str, _Flow] = OrderedDict()

    async def begin(self, back: str) -> tuple[str, str]:
        """(URL of the provider, state); the provider returns the browser to ``back``. Raises OidcError."""
        async with _client() as client:
            metadata = await self._metadata(client)
        url, scopes = _endpoint(metadata, "authorization_endpoint"), metadata.get("scopes_supported") or ()
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        flow = _Flow(nonce, verifier, back, time.monotonic())
        self._flows[state] = flow
        while len(self._flows) > MAX_FLOWS:
            self._flows.popitem(last=False)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(flow.verifier.encode()).digest()).rstrip(b"=").decode()
        query = {
            "response_type": "code",
            "client_id": self._settings.client_id,
            "redirect_uri": back,
            "scope": "openid profile email" + (" groups" if "groups" in scopes else ""),
            "state": state,
            "nonce": flow.nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        return f"{url}{'&' if '?' in url else '?'}{urlencode(query)}", state

    async def finish(self, state: str, cookie: str, code: str, issuer: str = "") -> Identity:
        """Who signed in. ``cookie``: the state that this browser was given. Raises OidcError."""
        flow = self._flows.pop(state, None)
        if flow is None or not hmac.compare_digest(state.encode(), cookie.encode("utf-8", "replace")):
            raise OidcError("the sign-in was begun in another browser, or too long ago; begin again")
        if time.monotonic() - flow.begun_s > FLOW_S:
            raise OidcError("the sign-in took too long; begin again")
        if issuer not in ("", self._settings.issuer):
            raise OidcError("another provider answered")
        if not code:
            raise OidcError("the provider refused the sign-in")
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": flow.back}
        form |= {"client_id": self._settings.client_id, "code_verifier": flow.verifier}
        async with _client() as client:
            metadata = await self._metadata(client)
            answer = await _json(client, "POST", _endpoint(metadata, "token_endpoint"), self._auth(), form)
            keys = await _json(client, "GET", _endpoint(metadata, "jwks_uri"))
        return self._identity(self._verified(str(answer.get("id_token", "")), keys, flow.nonce))

    def _auth(self) -> httpx.BasicAuth | None:
        return None if self._secret is None else httpx.BasicAuth(self._settings.client_id, self._secret)

    async def _metadata(self, client: httpx.AsyncClient) -> dict[str, Any]:
        url = f"{self._settings.issuer.rstrip('/')}/.well-known/openid-configuration"
        metadata = await _json(client, "GET", url)
        if metadata.get("issuer") != self._settings.issuer:
            raise OidcError("the provider has another name than web.oidc.issuer")
        return metadata

    def _verified(self, token: str, keys: dict[str, Any], nonce: str) -> dict[str, Any]:
        """The claims of an id_token whose signature, issuer, audience, time and nonce are right. Raises OidcError."""
        from joserfc import jwt
        from joserfc.errors import JoseError
        from joserfc.jwk import KeySet

        registry = jwt.JWTClaimsRegistry(
            leeway=LEEWAY_S,
            iss={"essential": True, "value": self._settings.issuer},
            aud={"essential": True, "value": self._settings.client_id},
            sub={"essential": True},
            exp={"essential": True},
            iat={"essential": True},
            nonce={"essential": True, "value": nonce},
            azp={"value": self._settings.client_id},
        )
        try:
            claims = jwt.decode(token, KeySet.import_key_set(keys), algorithms=ALGORITHMS).claims
            registry.validate(claims)
        except (JoseError, ValueError, KeyError, TypeError) as error:
            raise OidcError(f"the answer of the provider is not valid: {error}") from error
        if isinstance(claims["aud"], list) and len(claims["aud"]) > 1 and "azp" not in claims:
            raise OidcError("the answer of the provider is also for others")
        return dict(claims)

    def _identity(self, claims: dict[str, Any]) -> Identity:
        name, groups = claims.get(self._settings.name_claim), claims.get(self._settings.groups_claim, [])
        if not isinstance(name, str) or not name:
            raise OidcError(f"the provider gives no {self._settings.name_claim}; see web.oidc.name_claim")
        listed = [groups] if isinstance(groups, str) else groups if isinstance(groups, list) else []
        return Identity(f"{claims['iss']} {claims['sub']}", name, tuple(map(str, listed)))


def _client() -> httpx.AsyncClient:
    return httpx.AsyncClient(timeout=LIMIT_S)  # follows no redirects


async def _json(
    client: httpx.AsyncClient, method: str, url: str, auth: httpx.BasicAuth | None = None, form: Any = None
) -> dict[str, Any]:
    """Raises OidcError."""
    try:
        response = await client.request(method, url, data=form, auth=auth, headers={"Accept": "application/json"})
        found = response.raise_for_status().json()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise OidcError(f"the provider does not answer: {type(error).__name__}; try again later") from error
    if not isinstance(found, dict):
        raise OidcError("the provider does not answer with an object")
    return found


def _endpoint(metadata: dict[str, Any], name: str) -> str:
    url = str(metadata.get(name, ""))
    if not _is_safe(url):
        raise OidcError(f"the provider gives no safe {name}")
    return url


def _is_safe(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK)
