"""Fixtures for tests of the window."""

from fakes_hud import drawn  # noqa: F401
