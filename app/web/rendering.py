"""Renders the pages, with the values that each of them needs."""

import time
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from app import __version__
from app.core.files import is_folder
from app.core.translation import gettext, marked
from app.web.assets import Assets
from app.web.handling import site_of
from app.web.language import FIELD
from app.web.people import NOBODY

CONFIRMATIONS = {
    "muted": marked("The camera is muted: its events are stored, but no alerts are sent."),
    "unmuted": marked("The camera sends alerts again."),
    "turned": marked(
        "The camera is rotated by 90 degrees clockwise. A settings file with a table of the camera keeps it."
    ),
    "acknowledged": marked("Acknowledged."),
    "judged": marked("The verdict is stored."),
    "labelled": marked("The label is stored."),
    "saved": marked("The settings are saved."),
    "undone": marked("The last change is taken back."),
    "user-added": marked("The user is added."),
    "user-changed": marked("The user is changed, and must sign in again."),
    "user-removed": marked("The user is removed."),
    "password-changed": marked("The password is changed. All other sessions are ended."),
    "sessions-ended": marked("Ended."),
    "code-off": marked("The code is turned off."),
    "tested": marked("The test has ended; see the result of each channel below."),
}


def assets_of(request: Request) -> Assets:
    assets: Assets = request.app.state.assets
    return assets


def render(request: Request, name: str, status: int = 200, **values: object) -> Response:
    """The template ``name`` as a page."""
    site, caller, user = site_of(request), request.scope["caller"], request.scope["user"] or NOBODY
    # In another language; not an error, or the answer to a form or a provider.
    again = status < 400 and request.method == "GET" and not request.scope["path"].startswith("/login/")
    here, kept = (request.scope["path"], _kept(request)) if again else ("/", [])
    said = request.query_params.get("said", "")
    common = {
        "page": name,
        "root": request.scope["root"],
        "csrf": caller.csrf,
        "signed_in": caller.signed_in,
        "user": user,
        "can_sign_out": site.authenticator.needs_login and not caller.by_proxy,
        "confirmation": gettext(CONFIRMATIONS[said]) if said in CONFIRMATIONS else "",
        "version": __version__,
        "offset_s": time.localtime().tm_gmtoff,
        "here": here,
        "kept": kept,
        "back": f"{here}?{urlencode(kept)}" if kept else here,  # where a form returns to
        "last_event": site.feed.last_id(user),
        "is_hub": site.fleet_store is not None,
        "has_scan": site.settings.web.scan is not None and user.cameras is None,
        "has_faces": site.settings.collect.enabled or is_folder(site.collected.folder.path),
    }
    return HTMLResponse(assets_of(request).render(f"{name}.html", {**common, **values}), status)


def _kept(request: Request) -> list[tuple[str, str]]:
    """The query of the page without its language."""
    return [(name, value) for name, value in request.query_params.multi_items()[:50] if name not in (FIELD, "said")]
