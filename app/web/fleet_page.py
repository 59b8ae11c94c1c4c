"""The page of a hub: sites, nodes and cameras, with a search on the server; a script shows all cameras."""

import time
from contextlib import closing
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from app.core.text import duration_text
from app.core.translation import gettext
from app.web.handling import site_of, user_of
from app.web.people import User
from app.web.rendering import render
from app.web.words import page_words

MAX_ROWS = 200
"""The page shows at most this many rows of each table; the search finds the others."""


async def fleet(request: Request) -> Response:
    """``/fleet``; 404 if this is no hub."""
    site, user = site_of(request), user_of(request)
    store = site.fleet_store
    if store is None:
        message = gettext("This maskwatch is no hub of a fleet ('maskwatch fleet hub').")
        return render(request, "error", 404, title=gettext("No fleet"), message=message)
    query = request.query_params.get("q", "").strip()
    values = await site.run_in_worker(lambda: _values(store, query, user))
    return render(request, "fleet", query=query, most=MAX_ROWS, **values)


async def fleet_cameras(request: Request) -> Response:
    """``/fleet/cameras``: all cameras as JSON, for the script of the page; 404 if this is no hub."""
    site, user = site_of(request), user_of(request)
    store = site.fleet_store
    if store is None:
        return JSONResponse([], 404)
    return JSONResponse(await site.run_in_worker(lambda: _records(store, user)))


def _records(path: Path, user: User) -> list[dict[str, Any]]:
    from app.fleet.hub_store import HubStore, camera_rows

    with closing(HubStore(path, create=False)) as store:
        rows = [row for row in camera_rows(store, time.time()) if user.sees(f"{row.site}/{row.camera}")]
    counted = ("people", "masked", "incorrect", "bare", "watched_s")
    return [
        {
            "site": row.site,
            "name": row.camera,
            "state": row.state,
            **{name: getattr(row.today, name) for name in counted},
        }
        for row in rows
    ]


def _values(path: Path, query: str, user: User) -> dict[str, Any]:
    from app.fleet.hub_store import HubStore, camera_rows, site_rows

    words, now_s, names = query.casefold().split(), time.time(), page_words()["fleet_states"]
    with closing(HubStore(path, create=False)) as store:
        cameras = [row for row in camera_rows(store, now_s) if user.sees(f"{row.site}/{row.camera}")]
        nodes = store.nodes() if user.cameras is None else []  # a node has cameras of which others may know nothing

    def matches(*cells: str) -> bool:
        text = "\n".join(cells).casefold()
        return all(word in text for word in words)

    node_rows = []
    for node in nodes:
        state = "online" if node.is_online(now_s) else "offline"
        if matches(node.site, node.node, state, names[state], *node.health.faults, *node.health.from_hub):
            age = duration_text(max(now_s - node.seen_s, 0.0))
            node_rows.append({"node": node, "state": state, "age": age})
    node_rows.sort(key=lambda row: (row["state"] == "online", row["node"].name))  # type: ignore[attr-defined]
    shown = [row for row in cameras if matches(row.site, row.camera, row.state, names.get(row.state, ""))]
    return {
        "sites": site_rows(shown),
        "nodes": node_rows,
        "cameras": shown,
        "online": sum(node.is_online(now_s) for node in nodes),
        "known": len(nodes),
    }
