"""Texts in the language of the reader, from the gettext catalogues in ``app/translations``.

The language belongs to the context, so to one web request or one report. Without one it is English: so are the command
line, the log and the exports.
"""

import gettext as catalogues
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import date
from functools import cache
from importlib import resources

ENGLISH = "en"
_language: ContextVar[str] = ContextVar("language", default=ENGLISH)


@cache
def languages() -> dict[str, catalogues.NullTranslations]:
    """The catalogue of each language by its code, English first."""
    folder = resources.files("app") / "translations"
    found: dict[str, catalogues.NullTranslations] = {ENGLISH: catalogues.NullTranslations()}
    for each in sorted(folder.iterdir(), key=lambda each: each.name):
        file = each / "LC_MESSAGES" / "messages.mo"
        if file.is_file():
            with file.open("rb") as opened:
                found[each.name] = catalogues.GNUTranslations(opened)
    return found


def language() -> str:
    return _language.get()


def use(code: str) -> None:
    """Chooses the language of the present context; an unknown ``code`` is English."""
    _language.set(code if code in languages() else ENGLISH)


@contextmanager
def using(code: str) -> Iterator[None]:
    before = _language.get()
    use(code)
    try:
        yield
    finally:
        _language.set(before)


def catalogue() -> catalogues.NullTranslations:
    return languages()[_language.get()]


def marked(message: str) -> str:
    """Marks ``message`` for the catalogue; it is translated where it is shown."""
    return message


def gettext(message: str, **values: object) -> str:
    """``message`` in the language of the context. ``%(name)s`` is a value; a percent sign is written twice."""
    return catalogue().gettext(message) % values


def ngettext(singular: str, plural: str, count: int, **values: object) -> str:
    """The form for ``count``, which is the value ``%(num)s`` unless another is given."""
    return catalogue().ngettext(singular, plural, count) % {"num": count, **values}


def pgettext(context: str, message: str) -> str:
    return catalogue().pgettext(context, message)


def name_of(code: str) -> str:
    """What a language is called by those who speak it."""
    with using(code):
        return pgettext("the name of the language of this file, in that language", "English")


def direction() -> str:
    """``ltr`` or ``rtl``."""
    return pgettext("the direction of the script: ltr or rtl", "ltr")


def decimal(value: float, digits: int) -> str:
    return f"{value:.{digits}f}".replace(".", pgettext("the decimal sign", "."))


def date_text(at: date, english: str, other: str) -> str:
    """``at`` in the format ``english`` with names, or in the format ``other`` without them."""
    return at.strftime(english if language() == ENGLISH else other)
