"""Fixtures for tests of sources."""

from fakes_http import clips  # noqa: F401
