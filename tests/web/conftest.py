"""Fixtures: a running web view with and without a token, and a TLS certificate."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes_people import add_users
from fakes_web import CHEAP, TOKEN, FakeMonitor, Running, serving

from app.web.people import People


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    """A web view on the loopback interface, without a token."""
    with serving(tmp_path) as running:
        yield running


@pytest.fixture
def locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    """A web view that needs a token."""
    monkeypatch.setenv("PAGE_TOKEN", TOKEN)
    with serving(tmp_path, token_env="PAGE_TOKEN") as running:
        yield running


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """TLS settings with a self-signed certificate for localhost."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl: apt install openssl")
    folder = tmp_path_factory.mktemp("tls")
    settings = {"tls_cert": folder / "cert.pem", "tls_key": folder / "key.pem"}
    argv = ["openssl", "req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-days", "2"]
    argv += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    argv += ["-out", str(settings["tls_cert"]), "-keyout", str(settings["tls_key"])]
    subprocess.run(argv, check=True, capture_output=True)
    return settings


@pytest.fixture
def people() -> People:
    return People(None, CHEAP)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Running]:
    """A web view with an admin, an operator and a viewer of one camera."""
    with serving(tmp_path, FakeMonitor("door", "yard")) as running:
        add_users(running.server.site.people)
        yield running


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Any]:
    from fakes_browser import open_browser  # skips without selenium

    with open_browser(tmp_path) as driver:
        yield driver
