"""The routes of the API for cameras: state, images, live video, mutes and rotation."""

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from app.pipeline.camera import CameraView
from app.web.handling import ApiRoute, form_action, json_response, number_param, read, site_of, user_of
from app.web.mjpeg import TILES_PX, WIDTHS_PX, EncodedFrame, LiveResponse, LiveStreams, MjpegResponse
from app.web.schemas import CameraList, Mute, Muted, Turned, camera_record


def routes() -> list[ApiRoute]:
    return [
        ("/status", _status, "GET"),
        ("/cameras", _cameras, "GET"),
        ("/cameras/{camera:int}", _camera, "GET"),
        ("/cameras/{camera:int}/picture.jpg", _image, "GET"),
        ("/cameras/{camera:int}/stream.mjpeg", _stream, "GET"),
        ("/live", _live, "GET"),
        ("/cameras/{camera:int}/mute", _mute, "POST"),
        ("/cameras/{camera:int}/unmute", _unmute, "POST"),
        ("/cameras/{camera:int}/turn", _turn, "POST"),
    ]


def _view(request: Request) -> tuple[int, CameraView]:
    number = int(request.path_params["camera"])
    views = site_of(request).monitor.views()  # may be others than a moment ago
    if not 1 <= number <= len(views) or not user_of(request).sees(views[number - 1].camera):
        raise _no_camera(number)
    return number, views[number - 1]


def _no_camera(number: int) -> HTTPException:
    return HTTPException(404, f"no camera {number}; see /api/v1/cameras")


async def _status(request: Request) -> Response:
    return json_response(site_of(request).status(user_of(request)))


async def _cameras(request: Request) -> Response:
    return json_response(CameraList(cameras=site_of(request).status(user_of(request)).cameras))


async def _camera(request: Request) -> Response:
    number, view = _view(request)
    return json_response(camera_record(number, view, site_of(request).mutes.until_s(view.camera)))


async def _image(request: Request) -> Response:
    number, view = _view(request)
    try:
        encoded = await site_of(request).streams.latest(number - 1)
    except IndexError:
        encoded = EncodedFrame(b"", 0)
    if encoded.view is None or encoded.view.camera != view.camera:  # cameras were removed meanwhile
        raise _no_camera(number)
    disposition = "attachment" if "download" in request.query_params else "inline"
    headers = {"Content-Disposition": f'{disposition}; filename="maskwatch-camera{number}.jpg"'}
    return Response(encoded.jpeg, headers=headers, media_type="image/jpeg")


async def _stream(request: Request) -> ASGIApp:
    number, view = _view(request)
    return MjpegResponse(_streams(request), {number - 1: view.camera})


async def _live(request: Request) -> ASGIApp:
    """All cameras that the user may see, or those of the query, over one connection."""
    user, views = user_of(request), site_of(request).monitor.views()
    seen = [number for number, view in enumerate(views, 1) if user.sees(view.camera)]
    given = request.query_params.getlist("camera")
    numbers = [int(each) if each.isdecimal() and len(each) < 6 else 0 for each in given] or seen
    if missing := [each for each in numbers if each not in seen]:
        raise HTTPException(404, f"no camera {missing[0]}; there are {len(seen)}")
    request.scope["target"] = ", ".join(views[each - 1].camera for each in dict.fromkeys(numbers))
    usual_px = next(px for most, px in TILES_PX.items() if len(numbers) <= most)
    wanted_px = number_param(request, "width", 1, 10_000) or usual_px
    width_px = next((each for each in WIDTHS_PX if each >= wanted_px), WIDTHS_PX[-1])
    return LiveResponse(_streams(request), {each - 1: views[each - 1].camera for each in numbers}, width_px)


def _streams(request: Request) -> LiveStreams:
    streams = site_of(request).streams
    if streams.is_full:
        raise HTTPException(503, "too many viewers; try again later", {"Retry-After": "10"})
    return streams


@form_action("muted")
async def _mute(request: Request) -> Response:
    _, view = _view(request)
    mute = await read(request, Mute)
    return json_response(Muted(muted_until_s=site_of(request).mutes.mute(view.camera, mute.minutes * 60.0)))


@form_action("unmuted")
async def _unmute(request: Request) -> Response:
    _, view = _view(request)
    site_of(request).mutes.unmute(view.camera)
    return json_response(Muted(muted_until_s=None))


@form_action("turned")
async def _turn(request: Request) -> Response:
    _, view = _view(request)
    site_of(request).turns.append(view.camera)
    return json_response(Turned(camera=view.camera))
