"""The container image, the compose files and the Helm chart fit to each other and to the program."""

import argparse
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from app import __version__
from app.cli.main import build_parser
from app.settings.load import load_settings
from app.settings.source import SourceKind
from app.web.access import PUBLIC_PATHS

ROOT = Path(__file__).parents[2]
PACKAGING = ROOT / "packaging"
CONTAINERFILE = (PACKAGING / "Containerfile").read_text("utf-8")
COMPOSE_FILES = (PACKAGING / "compose.yaml", PACKAGING / "fleet" / "compose.yaml")
COMPOSE: dict[str, Any] = yaml.safe_load(COMPOSE_FILES[0].read_text("utf-8"))
CHART = PACKAGING / "helm" / "maskwatch-hub"
TEMPLATE = (CHART / "templates" / "hub.yaml").read_text("utf-8")
VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))
TOKEN = "0123456789abcdef0123456789abcdef"


def parsed(*command: str) -> argparse.Namespace:
    return build_parser().parse_args(command)


def instruction(name: str) -> list[Any]:
    """The JSON form of the last instruction ``name``."""
    found: list[Any] = json.loads(re.findall(rf"^ *{name} (\[.+\])$", CONTAINERFILE, re.MULTILINE)[-1])
    return found


def config(name: str) -> str:
    """A file of the compose file, as a container gets it."""
    given = COMPOSE["configs"][name]
    text: str = (PACKAGING / given["file"]).read_text("utf-8") if "file" in given else given["content"]
    return text


def test_the_image_runs_our_commands_as_a_user_with_two_volumes() -> None:
    assert instruction("ENTRYPOINT") == ["maskwatch"]
    assert parsed(*instruction("CMD")).command == "watch"
    assert "\nUSER 10001:10001\n" in CONTAINERFILE
    assert instruction("VOLUME") == ["/config", "/data"]
    path = re.search(r"http://127\.0\.0\.1:8080(/\w+)", CONTAINERFILE)
    assert path is not None
    assert path[1] in PUBLIC_PATHS
    extras = re.search(r"\"\.\[([a-z,]+)]\"", CONTAINERFILE)
    assert extras is not None
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert set(extras[1].split(",")) <= project["optional-dependencies"].keys()
    opencv = next(each for each in project["dependencies"] if each.startswith("opencv-python"))
    assert opencv.replace("opencv-python", "opencv-python-headless") in CONTAINERFILE


def test_the_image_is_built_from_files_that_its_context_has() -> None:
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line.startswith("!")}
    copied = {
        name for line in re.findall(r"^COPY ((?!--).+)$", CONTAINERFILE, re.MULTILINE) for name in line.split()[:-1]
    }
    assert copied == kept
    assert all((ROOT / name).exists() for name in copied)


@pytest.mark.parametrize("path", COMPOSE_FILES, ids=lambda path: path.parent.name)
def test_a_compose_file_has_what_its_services_use(path: Path) -> None:
    compose = yaml.safe_load(path.read_text("utf-8"))
    for name, service in compose["services"].items():
        assert set(service.get("secrets", ())) <= compose["secrets"].keys()
        assert {each["source"] for each in service.get("configs", ())} <= compose["configs"].keys()
        assert not service["image"].endswith("latest"), name
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            assert (path.parent / source).is_file() if source.startswith(".") else source in compose["volumes"]
        if "build" in service:
            assert service["image"] == f"maskwatch:{__version__}"
            assert service["read_only"] is True
            # Docker refuses to copy content into it (github.com/docker/compose/issues/12031); files are mounted
            assert all("file" in compose["configs"][each["source"]] for each in service.get("configs", ()))
            assert all("file" in compose["secrets"][each] for each in service["secrets"])
            assert service["cap_drop"] == ["ALL"]
            assert (path.parent / service["build"]["context"]).resolve() == ROOT
            assert (ROOT / service["build"]["dockerfile"]).is_file()
            assert parsed(*service["command"]).command in ("watch", "fleet")
    for each in compose["configs"].values():
        if "file" in each:
            assert (path.parent / each["file"]).is_file()
        elif not each["content"].startswith(("[", "listener")):  # the others are YAML
            assert isinstance(yaml.safe_load(each["content"]), dict)


@pytest.mark.parametrize(
    ("camera", "kind"),
    [
        ("demo", SourceKind.DEMO),
        ("/dev/video0", SourceKind.CAMERA),
        ("rtsp://user:secret@10.0.0.7/stream1", SourceKind.STREAM),
    ],
)
def test_the_settings_of_the_compose_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, camera: str, kind: SourceKind
) -> None:
    monkeypatch.setenv("CAMERA", camera)
    token = tmp_path / "token"
    token.write_text(TOKEN)
    path = tmp_path / "settings.toml"
    path.write_text(config("settings").replace("/run/secrets/token", str(token)))
    settings = load_settings(path)
    assert settings.camera[0].kind is kind
    assert settings.web.token_file == token
    [channel] = settings.alerts.channels
    assert channel.kind == "mqtt"
    assert channel.host in COMPOSE["services"]
    [job] = yaml.safe_load(config("prometheus"))["scrape_configs"]
    [target] = job["static_configs"][0]["targets"]
    assert target == f"maskwatch:{settings.web.port}"


def test_the_chart_uses_each_of_its_values_and_no_other() -> None:
    used = {match.split(".")[0] for match in re.findall(r"\.Values\.([\w.]+)", TEMPLATE)}
    schema = json.loads((CHART / "values.schema.json").read_text("utf-8"))
    assert used == VALUES.keys() == schema["properties"].keys() - {"global"}
    for match in re.findall(r"\.Values\.(\w+)\.(\w+)", TEMPLATE):
        assert match[1] in VALUES[match[0]]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text("utf-8"))
    assert chart["version"] == chart["appVersion"] == __version__


def test_the_chart_runs_our_commands_as_the_user_of_the_image() -> None:
    args = re.search(r" args: (\[fleet, hub.+\])", TEMPLATE)
    assert args is not None
    assert parsed(*yaml.safe_load(args[1])).web == "0.0.0.0:8080"
    init = re.search(r"args:\n((?: +- .+\n| +\{\{.+\n)+)", TEMPLATE)
    assert init is not None
    words = [line.strip()[2:] for line in init[1].splitlines() if line.strip().startswith("- ")]
    assert parsed(*(re.sub(r"\{\{.+\}\}", "shop-1", word) for word in words)).site == ["shop-1"]
    assert set(re.findall(r"path: (/\w+),", TEMPLATE)) <= set(PUBLIC_PATHS)
    assert set(re.findall(r"(?:runAsUser|runAsGroup|fsGroup): (\d+)", TEMPLATE)) == {"10001"}
    assert "readOnlyRootFilesystem: true" in TEMPLATE
