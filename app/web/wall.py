"""The wall, pages of cameras for a large screen, and the groups of cameras, which the live page offers too."""

from collections.abc import Sequence
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from app.web.handling import site_of, user_of
from app.web.rendering import render
from app.web.schemas import CameraRecord

PER_PAGE = (1, 4, 9, 16)
EVERY_S = (0, 5, 10, 20, 60)
MAX_STREAMS = 3
"""A browser opens six connections to one server; with more cameras a page without JavaScript shows single images."""


def chosen_group(request: Request, cameras: Sequence[CameraRecord]) -> tuple[str, list[str], list[CameraRecord]]:
    """The group of the query ('' for all), the groups that exist, and the cameras of the chosen one."""
    groups = sorted({camera.group for camera in cameras} - {""})
    group = request.query_params.get("group", "")
    group = group if group in groups else ""
    return group, groups, [camera for camera in cameras if group in ("", camera.group)]


async def wall(request: Request) -> Response:
    """``/wall``: ``per`` cameras on a page, the next page after ``every`` s, ``group``, ``page`` (from 1), and
    ``camera`` for one alone."""
    all_cameras = site_of(request).status(user_of(request)).cameras
    group, groups, cameras = chosen_group(request, all_cameras)

    def number(name: str, default: int) -> int:
        text = request.query_params.get(name, "")
        return int(text) if text.isdecimal() and len(text) < 6 else default

    per = next((each for each in PER_PAGE if each >= number("per", 4)), PER_PAGE[-1])
    every_s = min(number("every", 0), 3600)
    pages = max(1, -(-len(cameras) // per))
    page = min(max(number("page", 1), 1), pages)
    alone = next((camera.id for camera in cameras if camera.id == number("camera", 0)), 0)
    kept = {"per": per, "every": every_s, **({"group": group} if group else {})}

    def link(**more: int) -> str:
        return f"{request.scope['root']}/wall?{urlencode({**kept, **more})}"

    first = (page - 1) * per
    return render(
        request, "wall", all_cameras=all_cameras, cameras=cameras, group=group, groups=groups, per=per,
        every_s=every_s, number=page, pages=pages, alone=alone, link=link, per_page=PER_PAGE,
        every=sorted({*EVERY_S, every_s}), streams=MAX_STREAMS,
        places=next(each for each in PER_PAGE if each >= min(per, len(cameras))),
        shown={alone} if alone else {camera.id for camera in cameras[first : first + per]},
    )  # fmt: skip
