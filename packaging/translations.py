"""The translations of the web view: `python packaging/translations.py extract`, `update [LANGUAGE …]` and `compile`.

`extract` writes the English texts of the source to app/translations/messages.pot. `update` brings the .po file of each
language up to date, and begins one for a new language; then people fill it in. `compile` checks the .po files and
writes the .mo files that the program reads.
"""

import argparse
import io
import re
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

from babel.messages.catalog import Catalog, Message
from babel.messages.extract import extract_from_dir
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

APP = Path(__file__).resolve().parents[1] / "app"
FOLDER = APP / "translations"
TEMPLATE = FOLDER / "messages.pot"
PLACEHOLDER, TAG = re.compile(r"%\(\w+\)[sd]|%%|%"), re.compile(r"<[^>]*>")
KEYWORDS = {"_": None, "gettext": None, "marked": None, "ngettext": (1, 2), "pgettext": ((1, "c"), 2)}
WITHOUT_DATE = datetime(2026, 1, 1, tzinfo=UTC)
"""A date would change the files at each run."""


def extracted() -> Catalog:
    """The texts of the source."""
    catalog = Catalog(project="maskwatch", version="", creation_date=WITHOUT_DATE, charset="utf-8")
    methods = [("web/templates/**.html", "jinja2"), ("**.py", "python")]
    options = {"web/templates/**.html": {"trim_blocks": "true", "newstyle_gettext": "true", "silent": "false"}}
    for name, _, text, _, context in extract_from_dir(APP, methods, options, KEYWORDS):
        catalog.add(text, locations=[(f"app/{name}", None)], context=context)
    return catalog


def po_files() -> list[Path]:
    return sorted(FOLDER.glob("*/LC_MESSAGES/messages.po"))


def read(path: Path) -> Catalog:
    with path.open("rb") as file:
        return read_po(file, path.parents[1].name if path != TEMPLATE else None)


def write(path: Path, catalog: Catalog) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        write_po(file, catalog, width=120, sort_by_file=True, include_lineno=False, ignore_obsolete=True)


def compiled(catalog: Catalog) -> bytes:
    file = io.BytesIO()
    write_mo(file, catalog)
    return file.getvalue()


def faults(catalog: Catalog, source: Catalog) -> list[str]:
    """What a translation lacks or has too much, one line each."""
    found = []
    for message in source:
        if not message.id:
            continue
        name = message.id if isinstance(message.id, str) else message.id[0]
        translated = catalog.get(message.id, message.context)
        if translated is None or not all(_texts(translated.string)):
            found.append(f"{name!r} is not translated")
        elif translated.fuzzy:
            found.append(f"{name!r} is marked as fuzzy: check it, and remove the mark")
        else:
            found += [
                f"{name!r}: {fault}" for text in _texts(translated.string) for fault in _differences(message, text)
            ]
    known = {(message.id, message.context) for message in source}
    return found + [
        f"{each.id!r} is not a text of the program" for each in catalog if (each.id, each.context) not in known
    ]


def _texts(text: str | tuple[str, ...] | list[str]) -> list[str]:
    return [text] if isinstance(text, str) else list(text)


def _differences(message: Message, text: str) -> list[str]:
    """A page trusts its texts: a translation may have the tags of the source, and no others."""
    found = []
    for what, pattern in (("placeholders", PLACEHOLDER), ("tags", TAG)):
        wanted, given = ([Counter(pattern.findall(each)) for each in _texts(texts)] for texts in (message.id, text))
        if given[0] not in wanted:
            found.append(f"the {what} differ in {text!r}")
    if any(sign in TAG.sub("", text) for sign in '<>&"'):
        found.append(f"the signs < > & and the straight quotation mark cannot be used in {text!r}")
    return found


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="The translations of the web view.")
    parser.add_argument("task", choices=("extract", "update", "compile"))
    parser.add_argument("language", nargs="*", help="of update: new languages to begin, such as it")
    args = parser.parse_args(argv)
    if args.task == "extract":
        write(TEMPLATE, extracted())
        return 0
    source = read(TEMPLATE)
    if args.task == "update":
        new = [FOLDER / code / "LC_MESSAGES" / "messages.po" for code in args.language]
        for path in sorted({*po_files(), *new}):
            old = read(path) if path.exists() else Catalog(locale=path.parents[1].name, charset="utf-8")
            old.update(source)
            old.creation_date = old.revision_date = WITHOUT_DATE
            write(path, old)
        return 0
    lines = []
    for path in po_files():
        catalog = read(path)
        path.with_suffix(".mo").write_bytes(compiled(catalog))
        lines += [f"{path.parents[1].name}: {fault}" for fault in faults(catalog, source)]
    print("\n".join(lines) or f"{len(po_files())} languages, {len(source)} texts each")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
