"""Fixtures: a running web view with and without a token, and a TLS certificate."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes_web import TOKEN, Running, serving


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
        pytest.skip("needs openssl")
    folder = tmp_path_factory.mktemp("tls")
    settings = {"tls_cert": folder / "cert.pem", "tls_key": folder / "key.pem"}
    argv = ["openssl", "req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-days", "2"]
    argv += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    argv += ["-out", str(settings["tls_cert"]), "-keyout", str(settings["tls_key"])]
    subprocess.run(argv, check=True, capture_output=True)
    return settings
