"""The services of macOS and Windows start commands of ours, with the file that their steps make."""

import plistlib
import shlex
from pathlib import Path
from xml.etree import ElementTree

from app.cli.main import build_parser

PACKAGING = Path(__file__).parents[2] / "packaging"
PLIST = (PACKAGING / "io.github.maskwatch.plist").read_text("utf-8")
WINDOWS = (PACKAGING / "maskwatch-service.xml").read_text("utf-8")
WINSW = {
    *("id", "name", "description", "executable", "arguments", "workingdirectory", "env", "serviceaccount"),
    *("delayedAutoStart", "stoptimeout", "onfailure", "resetfailure", "log"),
}
"""Elements of WinSW 3, from its documentation."""


def assert_watches(program: str, arguments: list[str], steps: str) -> None:
    """``arguments`` are a headless run with a settings file that ``steps`` create and check with ``program``."""
    args = build_parser().parse_args(arguments)
    assert args.command == "watch"
    assert args.config
    for action in ("init", "check"):
        assert f"config {action} {args.config}" in steps
    assert Path(program.replace("\\", "/")).stem == "maskwatch"


def test_the_service_of_macos() -> None:
    job = plistlib.loads(PLIST.encode())
    program, *arguments = job["ProgramArguments"]
    assert_watches(program, arguments, PLIST)
    assert f"/Library/LaunchDaemons/{job['Label']}.plist" in PLIST
    assert f"system/{job['Label']}" in PLIST
    for folder in (job["WorkingDirectory"], str(Path(job["StandardErrorPath"]).parent)):
        assert f" {folder}" in PLIST.partition("-->")[0]


def test_the_service_of_windows() -> None:
    service = ElementTree.fromstring(WINDOWS)
    assert {each.tag for each in service} == WINSW
    program, folder = service.findtext("executable", ""), service.findtext("workingdirectory", "")
    assert_watches(program, shlex.split(service.findtext("arguments", ""), posix=False), WINDOWS)
    assert f"& '{program}' config init" in WINDOWS
    assert f"icacls {folder} /grant" in WINDOWS
