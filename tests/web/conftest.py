"""A web view that many tests only read from."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from web_fakes import TOKEN, Running, serving


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    """On the loopback, without a token."""
    with serving(tmp_path) as found:
        yield found


@pytest.fixture
def locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    """With a token."""
    monkeypatch.setenv("PAGE_TOKEN", TOKEN)
    with serving(tmp_path, token_env="PAGE_TOKEN") as found:
        yield found
