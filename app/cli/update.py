"""``maskwatch update``: asks whether there is a newer version, only when this command is given."""

import argparse
import re
from typing import Any

from app import __version__
from app.core.errors import MaskwatchError, SettingsError
from app.settings.flags import config_path

TIMEOUT_S = 10.0
_VERSION = re.compile(r"v?(\d{1,9}(\.\d{1,9})*)")


def register(commands: Any) -> None:
    parser = commands.add_parser("update", help="ask whether there is a newer version", description=_check.__doc__)
    parser.add_argument("--check", action="store_true", required=True, help="ask now")
    parser.add_argument("--config", metavar="FILE", help="TOML file of settings; [update] address is asked")
    parser.set_defaults(run=_check)


def _check(args: argparse.Namespace) -> int:
    """Says which address it asks and what it sends, asks for the newest version, and compares. It installs nothing."""
    from app.core.secrets import redact
    from app.settings.load import load_settings

    url = load_settings(config_path(args)).update.address
    if url is None:
        raise SettingsError("no address to ask: set address in [update] of the settings to that of your releases")
    print(f"asking {redact(url)}: one GET request with nothing about this machine or its cameras", flush=True)
    newest = _newest(url)
    if _numbers(newest) > _numbers(__version__):
        print(f"maskwatch {newest} is available, this is {__version__}; install it in the way you installed this one")
    else:
        print(f"maskwatch {__version__} is up to date; the newest version there is {newest}")
    return 0


def _newest(url: str) -> str:
    """The version in the JSON of a package index (``info.version``) or of a GitHub release (``tag_name``). Raises
    MaskwatchError if the server cannot be asked or names no version."""
    import httpx

    from app.core.secrets import redact

    advice = "check the network, or address in [update] of the settings"
    try:
        response = httpx.get(url, timeout=TIMEOUT_S, headers={"User-Agent": "maskwatch", "Accept": "application/json"})
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise MaskwatchError(f"cannot ask {redact(url)}: {redact(str(error)) or 'no answer'}; {advice}") from error
    try:
        answer = response.json()
        match = _VERSION.fullmatch(answer["info"]["version"] if "info" in answer else answer["tag_name"])
    except (ValueError, KeyError, TypeError):
        match = None
    if match is None:
        raise MaskwatchError(f"{redact(url)} names no version (status {response.status_code}); {advice}")
    return match[1]


def _numbers(version: str) -> tuple[int, ...]:
    """'1.2.0' and '1.2rc1' as (1, 2)."""
    match = _VERSION.match(version)
    parts = [int(part) for part in match[1].split(".")] if match else []
    while parts and not parts[-1]:
        parts.pop()
    return tuple(parts)
