"""The sentences of the kiosk and the choice of their language."""

import pytest

from app.settings.load import load_settings
from app.settings.view import LANGUAGES, KioskSentences
from app.ui.sentences import SENTENCES, Sentences, sentences_of, system_language
from app.ui.typeface import font_of


def test_every_language_says_everything_in_letters_that_are_drawn() -> None:
    assert set(SENTENCES) == set(LANGUAGES)
    for language, sentences in SENTENCES.items():
        texts = [getattr(sentences, name) for name in Sentences.__dataclass_fields__]
        assert len(set(texts)) == len(texts), language
        assert all(font_of(letter, False) for letter in "".join(texts) if letter != " "), language


@pytest.mark.parametrize(
    ("environ", "language"),
    [
        ({"LANG": "de_AT.UTF-8"}, "de"),
        ({"LANG": "de_DE.UTF-8", "LC_ALL": "ja_JP.UTF-8"}, "ja"),
        ({"LANG": "en_US.UTF-8", "LANGUAGE": "sw:pt_BR:en"}, "pt"),
        ({"LANG": "zh-Hant-TW"}, "zh"),
        ({"LANG": "C.UTF-8"}, "en"),
        ({"LANG": "sw_KE"}, "en"),
        ({}, "en"),
    ],
)
def test_language_is_that_of_the_system(environ: dict[str, str], language: str) -> None:
    assert system_language(environ, "linux") == language


def test_own_sentences_replace_those_of_the_language() -> None:
    found = sentences_of("fr", KioskSentences(wear_mask="Masque, SVP"))
    assert found.wear_mask == "Masque, SVP"
    assert found.thank_you == "Merci"


def test_language_in_the_settings_is_checked() -> None:
    assert load_settings(flags={"view": {"language": "pt_BR"}}).view.language == "pt"
    with pytest.raises(Exception, match=r"--language: 'xx' has no sentences; choose from en, de, .*ar"):
        load_settings(flags={"view": {"language": "xx"}})
