"""The README and the documentation: commands that exist, and figures that are those of their records."""

import io
import json
import re
import shlex
import shutil
import tomllib
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from itertools import dropwhile, groupby, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest
from fakes_scan import write_video

from app.alerts.event_store import EventStore
from app.cli.main import build_parser, main, with_implied_watch
from app.settings.load import load_settings
from app.web import openapi

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
TUTORIALS = sorted(DOCS.glob("tutorials/*.md"))
PAGES = [ROOT / "README.md", ROOT / "models" / "README.md", *sorted(DOCS.glob("*.md")), *TUTORIALS]
PAGES.remove(DOCS / "research.md")  # it keeps the names of its time
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
EXTERNAL = {
    **dict.fromkeys(("apt", "sudo", "systemctl", "launchctl", "journalctl"), "changes the system"),
    **dict.fromkeys(("docker", "podman", "buildah", "helm", "kubectl"), "needs container images from a registry"),
    **dict.fromkeys(("pipx", "uv", "py", "dpkg", "brew"), "installs programs"),
    "py-spy": "a program of others; the command that it runs is parsed",
    "umask": "a built-in of the shell",
    "export": "a built-in of the shell",
    ".": "a built-in of the shell",
    "sha256sum": "needs a release",
    "git": "needs the repository's address",
}
"""Programs whose commands are neither run nor parsed, and why."""


IN_TEXT = ", in the text"


class Command(NamedTuple):
    place: str
    words: tuple[str, ...]


def fences(page: Path, language: str) -> Iterator[tuple[int, str]]:
    """The blocks of ``language`` in ``page`` with the number of their first line."""
    text = page.read_text("utf-8")
    for match in re.finditer(r"^```(\S*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        if match[1] == language:
            yield text.count("\n", 0, match.start()) + 2, match[2]


def commands() -> Iterator[Command]:
    """Each simple command of the ``sh`` blocks, and each ``maskwatch …`` or ``python …`` within a line of text."""
    for page in PAGES:
        name, text = str(page.relative_to(ROOT)), page.read_text("utf-8")
        for first, block in fences(page, "sh"):
            yield from simple_commands(f"{name}:{first}", block)
        prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
        for span in re.findall(r"`((?:python (?:benchmarks|packaging)/|maskwatch )[^`]+)`", prose):
            yield from simple_commands(f"{name}{IN_TEXT}", " ".join(span.split()))


def simple_commands(place: str, text: str) -> Iterator[Command]:
    """The parts between ``&&``, ``|``, ``;``, parentheses and ends of lines, without redirections."""
    open_line = ""
    for line in text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(f"{open_line}{line}", posix=True, punctuation_chars="&|;<>()")
        lexer.whitespace_split = True
        try:
            words = [*lexer]
        except ValueError:  # the quotation goes on in the next line
            open_line += line + "\n"
            continue
        open_line = ""
        for is_separator, part in groupby(words, lambda word: set(word) <= set("&|;()")):
            given = list(dropwhile(re.compile(r"[A-Z_]+=").match, part))  # without variables of the environment
            kept = [word for before, word in pairwise(["", *given]) if not {before, word} & {"<", ">"}]
            if kept and not is_separator:
                yield Command(place, tuple(kept))


def test_every_command_of_the_documentation_exists() -> None:
    """Ours are parsed by our own parser; those of Python are files with these options; extras are of the project."""
    parser, routes = build_parser(), openapi.document()["paths"]
    found = list(commands())
    assert len(found) > 150
    faults = [f"{place}: {fault}" for place, words in found if (fault := fault_of(place, words, parser, routes))]
    assert faults == []


def fault_of(place: str, words: tuple[str, ...], parser: Any, routes: dict[str, Any]) -> str:
    program, arguments = Path(words[0]).name or words[0], list(words[1:])
    if program in ("py-spy", "sudo") and "maskwatch" in arguments:
        program, arguments = "maskwatch", arguments[arguments.index("maskwatch") + 1 :]
    if program == "maskwatch":
        return parse_fault(parser, arguments, is_complete=not place.endswith(IN_TEXT))
    if program.startswith("python") and arguments[0].endswith(".py"):
        script = ROOT / arguments[0]
        text = script.read_text("utf-8") if script.is_file() else ""
        unknown = [word for word in arguments if word.startswith("--") and f'"{word}"' not in text]
        return "" if text and not unknown else f"{arguments[0]} does not exist or has no {unknown}"
    if program.startswith("python"):  # python -m venv, python -m pytest: .ci/run runs them
        return ""
    if program == "pip":
        lists = [part for word in arguments for part in re.findall(r"(?:maskwatch|^\.)\[([^]]*)\]", word)]
        extras = {name for part in lists for name in part.split(",")}
        unknown = sorted(extras - PROJECT["optional-dependencies"].keys())
        return f"unknown extras {unknown}" if unknown else ""
    if program == "curl":
        ends = [word.partition("/api/v1")[2] for word in arguments if "/api/v1" in word]
        paths = [re.sub(r"/\d+(?=/|$)", "/{camera}", end) for end in ends]
        return "" if paths and set(paths) <= set(routes) else f"no such request: {paths}"
    return "" if program in EXTERNAL else f"'{program}' is neither ours nor in EXTERNAL"


def parse_fault(parser: Any, arguments: list[str], is_complete: bool) -> str:
    """Text may name a command without its arguments, or an option without its value."""
    said = io.StringIO()
    try:
        with redirect_stderr(said), redirect_stdout(said):
            parser.parse_args(with_implied_watch(arguments) or ["start"])
    except SystemExit as ended:
        is_cut = "arguments are required" in said.getvalue() or "expected " in said.getvalue()
        return said.getvalue() if ended.code and (is_complete or not is_cut) else ""
    return ""


def test_commands_stand_in_blocks_that_are_tested() -> None:
    """A block without a language is text, so a command in it would not be tested."""
    for page in PAGES:
        for line, block in fences(page, ""):
            assert not re.search(r"^(?:maskwatch|pip|python3?|\$) ", block, re.MULTILINE), f"{page}:{line}: write ```sh"


NOT_RUN = {
    "watch --source demo": "opens a window",
    "watch --kiosk": "opens a window",
    "watch --config": "opens a window",
    "watch --headless": "has no end",
    "watch --source rtsp:": "needs a camera",
    "watch --model": "needs a camera",
    "watch": "needs a camera",
    "doctor": "needs a camera",
    "alerts test": "needs a sound card",
    "train": "takes minutes; tests/training does it",
    "scan verify": "takes as long as the scan; tests/scan does it",
}
"""Commands of the tutorials, by their beginning, that are only parsed, and why."""


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_the_commands_of_the_tutorials_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In their order, in a folder with the settings, recordings and faces of which they speak."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("YARD_PASSWORD", "geheim")
    for _, block in fences(page, "toml"):
        Path(block.partition("\n")[0].removeprefix("# ")).write_text(block, "utf-8")
    write_video(Path("recordings/hall_20261120_140530.mp4"), [], to_s=2)
    draw = np.random.default_rng(1)
    for i, label in enumerate(("mask", "no_mask", "incorrect") * 2):
        for folder in ("faces", "other_faces"):
            target = Path(folder, label)
            target.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(target / f"{i}.png"), draw.integers(0, 255, (64, 64, 3), np.uint8))
    Path("mine").mkdir()
    shutil.copy(ROOT / "models" / "classifier.tflite", "mine")
    with EventStore(load_settings().alerts.store):
        pass  # as after the first minutes of watching
    run = 0
    for first, block in fences(page, "sh"):
        for _, words in simple_commands(f"{page}:{first}", block):
            line = shlex.join(words[1:])
            if words[0] == "maskwatch" and not any(line == each or line.startswith(f"{each} ") for each in NOT_RUN):
                assert main(words[1:]) == 0, line
                run += 1
    assert run


def value_of(record: Any, place: str) -> float:
    """The number at ``place`` in a record; docs/claims.md describes the notation."""
    for part in place.split(" > "):
        if part == "count":
            return len(record)
        if part == "*":
            rest = place.partition("* > ")[2]
            return sum(value_of(each, rest) for each in record)
        if isinstance(record, list):
            named = [each for each in record if isinstance(each, dict) and each.get("name") == part]
            record = named[0] if named else record[int(part)]
        else:
            record = record[part]
    return float(record)


def claims() -> list[tuple[str, str, list[float]]]:
    """Claim, figure and the values of its records, none if it has no record."""
    rows = []
    for line in (DOCS / "claims.md").read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if line.startswith("| ") and len(cells) >= 3 and cells[0] != "claim":
            rows.append((cells[0], cells[1], record_values(cells[3]) if len(cells) > 3 else []))
    return rows


def record_values(cell: str) -> list[float]:
    file = re.match(r"\[\S+\]\((results/\S+\.json)\): ", cell)
    if file is None and not cell.startswith("settings: "):
        return []
    record = json.loads((DOCS / file[1]).read_text("utf-8")) if file else load_settings().model_dump(mode="json")
    values = []
    for place, divisor in re.findall(r"`([^`]+)`(?: of `([^`]+)`)?", cell.partition(": ")[2]):
        values.append(value_of(record, place) / (value_of(record, divisor) if divisor else 1))
    return values


NUMBER = re.compile(r"(?<![\w.])\d+(?:\.\d+)*(?![\w])")


@pytest.mark.parametrize(("claim", "figure", "values"), claims())
def test_each_figure_is_that_of_its_record(claim: str, figure: str, values: list[float]) -> None:
    numbers = NUMBER.findall(figure)
    assert numbers, claim
    if values:
        assert len(numbers) == len(values), claim
    for number, value in zip(numbers, values, strict=False):
        scaled = value * 100 if "%" in figure else value
        if figure.startswith("at least"):
            assert scaled >= float(number), claim
        elif figure.startswith("at most"):
            assert scaled <= float(number), claim
        else:
            assert f"{scaled:.{len(number.partition('.')[2])}f}" == number, claim


def test_every_number_of_the_readme_is_a_claim() -> None:
    text = re.sub(r"^```.*?^```$", "", (ROOT / "README.md").read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"`[^`]*`|\]\([^)]*\)", "", text).replace("×", " ")
    known = {number for _, figure, _ in claims() for number in NUMBER.findall(figure)}
    assert sorted(set(NUMBER.findall(text)) - known) == []
