"""The page on which zones, hidden parts, counting lines and the search area are drawn on the picture of a camera."""

from collections.abc import Callable

import cv2
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from app.pipeline.camera import CameraView
from app.ui.faces import canvas, hide_faces
from app.web.site import Site

_WIDTH_PX = 1280


class ZonesPage:
    """``render`` renders a template of the web view. The script of the page reads and saves the settings."""

    def __init__(self, site: Site, render: Callable[..., Response]) -> None:
        self._site = site
        self._render = render

    async def page(self, request: Request) -> Response:
        """``/setup/zones?camera=NAME``; without a name the first camera."""
        view = self._view(request)
        return self._render(request, "zones", camera=view.camera, cameras=self._names(), settings=view.settings)

    async def picture(self, request: Request) -> Response:
        """The newest image without anything drawn over it; faces are hidden if they are hidden everywhere."""
        view, blur = self._view(request), self._site.settings.view.blur
        jpeg = await self._site.run_in_worker(lambda: _plain(view, blur))
        if jpeg is None:
            raise HTTPException(404, f"camera {view.camera!r} has no image yet; try again later")
        return Response(jpeg, media_type="image/jpeg", headers={"Cache-Control": "no-store"})

    def _names(self) -> list[str]:
        return [view.camera for view in self._site.monitor.views()]

    def _view(self, request: Request) -> CameraView:
        views, name = self._site.monitor.views(), request.query_params.get("camera", "")
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
