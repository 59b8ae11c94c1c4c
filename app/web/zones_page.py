"""The page on which zones, hidden parts, counting lines and the search area are drawn on the picture of a camera."""

import cv2
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from app.pipeline.camera import CameraView
from app.ui.faces import canvas, hide_faces
from app.web.handling import site_of
from app.web.rendering import render

_WIDTH_PX = 1280


async def zones(request: Request) -> Response:
    """``/setup/zones?camera=NAME``; without a name the first camera."""
    view, views = _view(request), site_of(request).monitor.views()
    names = [each.camera for each in views]
    return render(request, "zones", camera=view.camera, cameras=names, settings=view.settings)


async def zones_picture(request: Request) -> Response:
    """The newest image without anything drawn over it; faces are hidden if they are hidden everywhere."""
    site, view = site_of(request), _view(request)
    jpeg = await site.run_in_worker(lambda: _plain(view, site.settings.view.blur))
    if jpeg is None:
        raise HTTPException(404, f"camera {view.camera!r} has no image yet; try again later")
    return Response(jpeg, media_type="image/jpeg", headers={"Cache-Control": "no-store"})


def _view(request: Request) -> CameraView:
    views, name = site_of(request).monitor.views(), request.query_params.get("camera", "")
    found = next((view for view in views if name in ("", view.camera)), None)
    if found is None:
        raise HTTPException(404, "there is no such camera; see the page Live")
    return found


def _plain(view: CameraView, blur: bool) -> bytes | None:
    view = view.private() if blur else view
    if view.frame is None:
        return None
    board, factor = canvas(view.frame.image, _WIDTH_PX)
    if blur and view.analysed is not None:
        hide_faces(board, view.analysed.faces, factor)
    return cv2.imencode(".jpg", board.image)[1].tobytes()
