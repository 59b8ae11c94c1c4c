"""A fake OpenID Connect provider on the loopback interface. Needs joserfc."""

import base64
import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import ECKey, KeySet

CLIENT, SECRET = "maskwatch", "the secret of the client"


class Provider:
    """Signs everybody in as ``claims`` say. ``change`` may falsify the claims, ``sign`` the token."""

    def __init__(self) -> None:
        self.key = ECKey.generate_key("P-256", {"kid": "first"})
        self.claims: dict[str, Any] = {"sub": "17", "preferred_username": "Eva", "groups": ["guards"]}
        self.change: Callable[[dict[str, Any]], None] = lambda claims: None
        self.sign = lambda claims: jwt.encode({"alg": "ES256", "kid": "first"}, claims, self.key)
        self.codes: dict[str, dict[str, str]] = {}
        self.metadata: dict[str, str] = {}
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if not self.path.startswith("/begin?"):
                    self.answer(provider.get(self.path))
                    return
                self.send_response(303)
                self.send_header("Location", provider.agree(f"{provider.issuer}{self.path}"))
                self.end_headers()

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                self.answer(provider.token(dict(parse_qsl(body)), self.headers.get("Authorization", "")))

            def answer(self, found: dict[str, Any] | None) -> None:
                content = json.dumps(found or {"error": "invalid_grant"}).encode()
                self.send_response(200 if found else 400)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *given: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.issuer = f"http://localhost:{self.server.server_address[1]}"

    def get(self, path: str) -> dict[str, Any] | None:
        if path == "/keys":
            return dict(KeySet([self.key]).as_dict(private=False))
        paths = {"authorization_endpoint": "/begin", "token_endpoint": "/token", "jwks_uri": "/keys"}
        urls = {name: f"{self.issuer}{each}" for name, each in paths.items()}
        return {"issuer": self.issuer, **urls, "scopes_supported": ["openid", "groups"], **self.metadata}

    def agree(self, location: str) -> str:
        """What the sign-in page of the provider does: the URL to which the browser returns."""
        query = dict(parse_qsl(urlsplit(location).query))
        assert location.startswith(f"{self.issuer}/begin?")
        assert (query["response_type"], query["client_id"]) == ("code", CLIENT)
        assert query["code_challenge_method"] == "S256"
        assert query["scope"] == "openid profile email groups"
        code = f"code-{len(self.codes)}"
        self.codes[code] = query
        return f"{query['redirect_uri']}?{urlencode({'code': code, 'state': query['state']})}"

    def token(self, form: dict[str, str], authorization: str) -> dict[str, Any] | None:
        query = self.codes.pop(form["code"], None)
        if query is None or form["redirect_uri"] != query["redirect_uri"]:
            return None
        if base64.b64decode(authorization.removeprefix("Basic ")).decode() != f"{CLIENT}:{SECRET}":
            return None
        digest = hashlib.sha256(form["code_verifier"].encode()).digest()
        if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != query["code_challenge"]:
            return None
        now_s = int(time.time())
        claims = {"iss": self.issuer, "aud": CLIENT, "iat": now_s, "exp": now_s + 60, "nonce": query["nonce"]}
        claims |= self.claims
        self.change(claims)
        return {"token_type": "Bearer", "id_token": self.sign(claims)}


@contextmanager
def running_provider() -> Iterator[Provider]:
    found = Provider()
    thread = threading.Thread(target=found.server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield found
    finally:
        found.server.shutdown()
        thread.join()
        found.server.server_close()
