"""The catalogues of the translations, and packaging/translations.py, which makes them."""

import ast
import sys
from pathlib import Path

import pytest

catalogs = pytest.importorskip("babel.messages.catalog", reason="needs babel: pip install '.[test]'")
sys.path.append(str(Path(__file__).parents[2] / "packaging"))
import translations  # noqa: E402 - after the path

LANGUAGES = [path.parents[1].name for path in translations.po_files()]


@pytest.fixture(scope="module")
def source() -> "catalogs.Catalog":
    return translations.read(translations.TEMPLATE)


def texts(catalog: "catalogs.Catalog") -> set[object]:
    return {(message.id, message.context) for message in catalog if message.id}


def test_the_template_has_the_texts_of_the_source(source: "catalogs.Catalog") -> None:
    assert texts(translations.extracted()) == texts(source), "run: python packaging/translations.py extract"
    assert len(texts(source)) > 500


def test_no_text_is_hidden_in_an_f_string() -> None:
    """Up to Python 3.11 an f-string is one token, so ``extract`` finds no text in it."""
    hidden = [
        f"{path.name}:{call.lineno}"
        for path in translations.APP.rglob("*.py")
        for text in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(text, ast.JoinedStr)
        for call in ast.walk(text)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in translations.KEYWORDS
    ]
    assert hidden == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_catalogue_is_complete_and_compiled(language: str, source: "catalogs.Catalog") -> None:
    path = translations.FOLDER / language / "LC_MESSAGES" / "messages.po"
    catalog = translations.read(path)
    assert translations.faults(catalog, source) == []
    assert path.with_suffix(".mo").read_bytes() == translations.compiled(catalog), "run translations.py compile"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "not translated"),
        ("Kamera", "placeholders differ"),
        ("%(kamera)s <b>x</b>", "placeholders differ"),
        ("%(camera)s x", "tags differ"),
        ("%(camera)s <b>x</b> 5 %", "placeholders differ"),
        ('%(camera)s <b>x</b> "x"', "quotation mark"),
        ("%(camera)s <script>x</script>", "tags differ"),
        ("%(camera)s <b>x</b>", ""),
    ],
)
def test_faults_of_a_translation_are_found(text: str, fault: str) -> None:
    source, catalog = catalogs.Catalog(), catalogs.Catalog(locale="de")
    source.add("%(camera)s <b>on</b>")
    catalog.add("%(camera)s <b>on</b>", text)
    found = translations.faults(catalog, source)
    assert any(fault in each for each in found) if fault else found == []


def test_a_fuzzy_or_unknown_text_is_a_fault() -> None:
    source, catalog = catalogs.Catalog(), catalogs.Catalog(locale="de")
    source.add("Camera")
    catalog.add("Camera", "Kamera", flags=["fuzzy"])
    catalog.add("Old", "Alt")
    assert ["fuzzy" in each or "not a text" in each for each in translations.faults(catalog, source)] == [True, True]


def test_update_begins_a_language(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: "catalogs.Catalog") -> None:
    monkeypatch.setattr(translations, "FOLDER", tmp_path)
    assert translations.main(["update", "it"]) == 0
    begun = translations.read(tmp_path / "it" / "LC_MESSAGES" / "messages.po")
    assert texts(begun) == texts(source)
    assert translations.main(["compile"]) == 1, "nothing is translated yet"
