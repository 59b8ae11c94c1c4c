"""Fixtures for tests of the window."""

from fakes_hud import drawn  # noqa: F401
from fakes_window import regions  # noqa: F401
