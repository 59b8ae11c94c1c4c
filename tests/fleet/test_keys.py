"""NKeys, tokens and certificates."""

import base64
import json
import ssl

import pytest
from fakes_nats import server_program

server_program()  # skips this file without maskwatch[fleet]
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: E402

from app.fleet.keys import key_from_seed, new_authority, new_key, server_certificate, user_token  # noqa: E402


@pytest.mark.parametrize(("kind", "letter"), [("operator", "O"), ("account", "A"), ("user", "U")])
def test_a_key_is_read_back_from_its_seed(kind: str, letter: str) -> None:
    key = new_key(kind)
    assert key.public.startswith(letter)
    assert key.seed.startswith(f"S{letter}")
    assert key_from_seed(key.seed) == key
    assert key.seed not in repr(key)


@pytest.mark.parametrize("text", ["", "SU", "SUAA36KQY6THCJOATI2NRPVVMHD4JNJ57TWOHVY6TFAXWGZMVVBE7QU65A"])
def test_a_wrong_seed_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="key"):
        key_from_seed(text)


def test_seed_of_the_format_of_nats() -> None:
    """The example of https://docs.nats.io/running-a-nats-service/configuration/securing_nats/auth_intro/nkey_auth"""
    key = key_from_seed("SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY")
    assert key.public == "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4"


def test_a_token_names_its_subjects_and_is_signed_by_the_account() -> None:
    account, user = new_key("account"), new_key("user")
    head, body, signature = user_token(account, user, "hall", ["mw.event.hall.*"], ["_INBOX.hall.>"]).split(".")

    def decoded(part: str) -> bytes:
        return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))

    claims = json.loads(decoded(body))
    assert (claims["sub"], claims["iss"]) == (user.public, account.public)
    assert claims["nats"]["pub"] == {"allow": ["mw.event.hall.*"]}
    raw = base64.b32decode(account.public)[1:33]
    Ed25519PublicKey.from_public_bytes(raw).verify(decoded(signature), f"{head}.{body}".encode())


def test_the_certificate_is_accepted_with_its_authority_only(tmp_path: object) -> None:
    authority, other = new_authority(), new_authority()
    certificate = server_certificate(authority, ["hub.example", "10.0.0.1"])
    for trusted, is_accepted in ((authority, True), (other, False)):
        context = ssl.create_default_context(cadata=trusted.certificate_pem)
        assert _is_accepted(context, certificate, "hub.example", tmp_path) is is_accepted
    context = ssl.create_default_context(cadata=authority.certificate_pem)
    assert _is_accepted(context, certificate, "10.0.0.1", tmp_path)
    assert not _is_accepted(context, certificate, "other.example", tmp_path)


def _is_accepted(context: ssl.SSLContext, certificate: object, name: str, folder: object) -> bool:
    """A handshake in memory."""
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    (folder / "c.pem").write_text(certificate.certificate_pem)  # type: ignore[operator,attr-defined]
    (folder / "k.pem").write_text(certificate.key_pem)  # type: ignore[operator,attr-defined]
    server_context.load_cert_chain(folder / "c.pem", folder / "k.pem")  # type: ignore[operator]
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(to_client, to_server, server_hostname=name)
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLCertVerificationError:
                return False
    return True
