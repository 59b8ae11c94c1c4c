"""Builds the documentation as a site that needs no server and no network.

    pip install ".[docs]" && python packaging/make_docs.py [--out build/docs] [--check | --external]

Writes the pages of docs/reference from the code (they are not committed), then the site; a link to a page, a heading or
a file that does not exist is an error. ``--check`` only searches such errors, ``--external`` opens every address that
the pages link to.

Why Sphinx with MyST and Furo (November 2026): Sphinx and MyST are maintained, the search works from a folder without a
server, and links to headings are checked. MkDocs has had no release since 2024 and its next version drops plug-ins, so
its theme Material is only maintained; Zensical, its heir, loads a script from another site for the offline search.
"""

import argparse
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from app.cli.main import build_parser
from app.settings.root import Settings
from app.settings.toml import commented_toml
from app.web import openapi

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = ROOT / "docs" / "reference"
_NOTE = "<!-- Written by packaging/make_docs.py -->"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "docs", help="folder of the site")
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--check", dest="builder", action="store_const", const="dummy", help="only search errors")
    only.add_argument("--external", dest="builder", action="store_const", const="linkcheck", help="open outside links")
    args = parser.parse_args()
    write_reference(REFERENCE)
    from sphinx.cmd.build import main as build

    builder = args.builder or "html"
    code = build(["-b", builder, "-c", str(ROOT / "docs"), "-q", "-W", "--keep-going", str(ROOT), str(args.out)])
    if code == 0 and builder == "html":
        (args.out / "index.html").write_text('<meta http-equiv="refresh" content="0; url=docs/index.html">\n')
        print(f"{args.out / 'index.html'}: open it in a browser")
    return code


def write_reference(folder: Path) -> None:
    """Writes ``commands.md``, ``settings.md``, ``api.md`` and ``openapi.json``."""
    document = openapi.document()
    folder.mkdir(exist_ok=True)
    pages = {"commands": commands_page(), "settings": settings_page(), "api": api_page(document)}
    for name, text in pages.items():
        (folder / f"{name}.md").write_text(f"{_NOTE}\n{text}", "utf-8")
    (folder / "openapi.json").write_text(json.dumps(document, indent=1), "utf-8")


def commands_page() -> str:
    """The help of every command."""
    os.environ["COLUMNS"] = "100"
    sections = "".join(
        f"\n## {parser.prog}\n\n```text\n{parser.format_help().replace(str(Path.home()), '~')}```\n"
        for parser in parsers(build_parser())
    )
    return f"# Commands\n\n`maskwatch COMMAND --help` shows the same.\n{sections}"


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """``parser`` and those of its commands, in their order."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in dict.fromkeys(action.choices.values()):
                yield from parsers(inner)


def settings_page() -> str:
    """Every setting with its default, as ``maskwatch config init`` writes them."""
    _, *tables = commented_toml(Settings).replace(str(Path.home()), "~").split("\n\n")
    sections = ""
    for table in tables:
        name = re.search(r"^#(\[.*\])$", table, re.MULTILINE)
        assert name is not None, table
        text = re.sub(r"(?m)^#(?! )", "", table).strip()
        sections += f"\n## {name[1]}\n\n```toml\n{text}\n```\n"
    return f"# Settings\n\n`maskwatch config init FILE` writes all of them into a file, as comments.\n{sections}"


def api_page(document: dict[str, Any]) -> str:
    """The requests of the web view, as the OpenAPI document describes them."""
    lines = [
        "# Web API",
        "",
        f"Below `{document['servers'][0]['url']}` of the [web view](../web.md#for-programs). The machine-readable",
        "description is [openapi.json](openapi.json); a running program serves its own at `/api/v1/openapi.json`.",
    ]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            lines += ["", f"## {method.upper()} {path}", "", f"{operation['summary']}.", ""]
            for each in operation.get("parameters", ()):
                lines.append(f"- `{each['name']}` ({each['in']}): {each['description'] or _kind(each['schema'])}")
            if "requestBody" in operation:
                lines.append(f"- body: {_kind(operation['requestBody']['content']['application/json']['schema'])}")
            for status, answer in operation["responses"].items():
                content = "".join(
                    f", `{media}`" if media != "application/json" else f", {_kind(what['schema'])}"
                    for media, what in answer.get("content", {}).items()
                    if status == "200"
                )
                lines.append(f"- {status}: {answer['description']}{content}")
    lines += ["", "## Objects"]
    for name, schema in document["components"]["schemas"].items():
        fields = schema.get("properties", {})
        lines += ["", f"### {name}", "", schema.get("description", "").partition("\n\n")[0].replace("\n", " "), ""]
        lines += [f"- `{field}`: {_kind(what)}" for field, what in fields.items()]
        lines += [] if fields else [_kind(schema)]
    return "\n".join(lines) + "\n"


def _kind(schema: dict[str, Any]) -> str:
    """A JSON schema in a few words."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(_kind(each) for each in schema["anyOf"])
    if "enum" in schema:
        return "one of " + ", ".join(f"`{each}`" for each in schema["enum"])
    if schema.get("type") == "array" and "items" in schema:
        return f"list of {_kind(schema['items'])}"
    limits = [f"{name} {schema[name]}" for name in ("minimum", "maximum", "pattern", "format") if name in schema]
    return ", ".join([schema.get("type", "any"), *limits])


if __name__ == "__main__":
    sys.exit(main())
