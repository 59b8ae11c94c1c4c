"""Secrets are read from the environment or a file and never appear in a log, an error or an event."""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import unquote, urlsplit

from app.core.errors import SettingsError

HIDDEN = "***"

_SCHEME = re.compile(r"^[A-Za-z][A-Za-z0-9+.\-]*://")
_URI_IN_TEXT = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://\S+")
# Greedy up to the last '@': a password may contain '@', '/' or '?' unescaped; to hide too much does no harm.
_USERINFO = re.compile(r"^([A-Za-z][A-Za-z0-9+.\-]*://).*@", re.DOTALL)
# Some cameras expect credentials as parameters or in the path: /user=admin_password=x_channel=1
_SECRET_PARAMETER = re.compile(
    r"(?i)([?&;/_](?:user(?:name)?|usr|login\w*|pass(?:word|wd)?|pwd|psw|auth\w*|\w*token|api_?key|key|secret"
    r"|sig(?:nature)?)=)[^&;\s#]*"
)


def read_secret(what: str, plain: str | None, env: str | None, file: Path | None) -> str | None:
    """The value of a setting that is given directly, by an environment variable or by a file, without the space or line
    break at the end that editors and secrets of clusters add.

    Raises SettingsError if the variable is not set or the file cannot be read; the message contains no secret.
    """
    if env is not None:
        value = os.environ.get(env, "").strip()
        if not value:
            raise SettingsError(f"{what}: environment variable {env} is not set; set it or change the setting")
        return value
    if file is not None:
        try:
            value = file.expanduser().read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError, RuntimeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            if isinstance(error, RuntimeError):  # raised by expanduser
                reason = "there is no home folder for '~'"
            raise SettingsError(f"{what}: cannot read {file}: {reason}; check its path and permissions") from error
        if not value:
            raise SettingsError(f"{what}: {file} is empty; write the secret into it")
        return value
    return plain


def redact(text: str) -> str:
    """``text`` with the credentials of all URIs replaced by ``***``; for all messages about a source."""

    def hide(uri: str) -> str:
        return _SECRET_PARAMETER.sub(r"\1***", _USERINFO.sub(r"\1***@", uri))

    if _SCHEME.match(text.strip()):  # the text is a URI, maybe with a space in its password
        text = _USERINFO.sub(r"\1***@", text.strip())
    return _URI_IN_TEXT.sub(lambda match: hide(match.group()), text)


def redact_url(url: str) -> str:
    """Keep only scheme, host and port: user names, paths and queries of hook URLs often contain the key."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return HIDDEN
    if not parts.scheme or not host:
        return HIDDEN
    where = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{where}{f':{port}' if port else ''}/{HIDDEN}"


def url_secrets(what: str, url: str) -> list[str]:
    """The parts of a URL that must not be logged: all except scheme, host and port.

    Raises SettingsError, without the URL in its message, if the URL cannot be parsed.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        raise SettingsError(f"{what}: the url cannot be parsed; check its brackets and special characters") from None
    credentials = parts.netloc.rpartition("@")[0]
    pieces = [url, credentials, *credentials.split(":"), *parts.path.split("/"), parts.query, parts.fragment]
    pieces += [pair.partition("=")[2] for pair in parts.query.split("&")]
    return [piece for raw in pieces for piece in {raw, unquote(raw)} if len(piece) >= 4]


def scrub(text: str, secrets: Iterable[str]) -> str:
    """``text`` in one line, with all ``secrets`` replaced, longest first, also as Python writes them in errors."""
    forms = {form for each in secrets for form in (each, repr(each)[1:-1], repr(each.encode())[2:-1])}
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, HIDDEN)
    return " ".join(text.split())
