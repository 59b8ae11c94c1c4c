"""The environment variable that all open streams share."""

import os
import threading

import pytest
from fakes_video import LIMIT_S

from app.capture.opencv_backend import _OPTIONS, _options, _StreamOptions
from app.core.errors import SourceError


def test_options_are_added_to_those_of_the_user() -> None:
    assert _options("tcp", "") == "rtsp_transport;tcp|fpsprobesize;0"
    assert _options("udp", "buffer_size;9") == "buffer_size;9|rtsp_transport;udp|fpsprobesize;0"
    assert _options("tcp", "rtsp_transport;http|fpsprobesize;3") == "rtsp_transport;http|fpsprobesize;3"


@pytest.mark.parametrize("before", [None, "a;b"])
def test_equal_options_run_in_parallel_and_the_last_restores_the_variable(
    before: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if before is None:
        monkeypatch.delenv(_OPTIONS, raising=False)
    else:
        monkeypatch.setenv(_OPTIONS, before)
    options = _StreamOptions()
    with options.using("tcp", 0):
        with options.using("tcp", 0):
            assert "rtsp_transport;tcp" in os.environ[_OPTIONS]
        assert "rtsp_transport;tcp" in os.environ[_OPTIONS]
        with pytest.raises(SourceError, match="another rtsp_transport"), options.using("udp", 0.01):
            pass
    assert os.environ.get(_OPTIONS) == before
    with pytest.raises(ZeroDivisionError), options.using("udp", 0):
        raise ZeroDivisionError
    assert os.environ.get(_OPTIONS) == before


def test_other_options_wait_until_the_first_are_released() -> None:
    options = _StreamOptions()
    seen: list[str] = []

    def other() -> None:
        with options.using("udp", LIMIT_S):
            seen.append(os.environ[_OPTIONS])

    thread = threading.Thread(target=other)
    with options.using("tcp", 0):
        thread.start()
        assert "tcp" in os.environ[_OPTIONS]
    thread.join(LIMIT_S)
    assert not thread.is_alive()
    assert "rtsp_transport;udp" in seen[0]
