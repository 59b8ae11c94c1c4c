"""The language of a request: chosen in the page, set in ``[web]``, or the first that the browser asks for."""

from app.core.translation import ENGLISH, languages

COOKIE, FIELD, HEADER = "maskwatch_language", "language", "x-language"


def choose(given: str, cookie: str, configured: str, accepted: str) -> str:
    """``given``: by the query of this request; ``cookie``: by an earlier one; ``accepted``: Accept-Language."""
    known = languages()
    return next((each for each in (given, cookie, configured) if each in known), None) or accepted_language(accepted)


def accepted_language(header: str) -> str:
    """The best known language of an Accept-Language header (RFC 9110), English if there is none."""
    ranges = []
    for each in header[:1000].split(","):
        tag, _, weight = each.partition(";")
        name, _, number = weight.partition("=")
        try:
            quality = float(number) if name.strip().lower() == "q" else 1.0
        except ValueError:
            continue
        if 0 < quality <= 1:
            ranges.append((-quality, tag.strip().lower()))
    codes = {code.lower(): code for code in languages()}
    for _, tag in sorted(ranges, key=lambda each: each[0]):
        if (found := codes.get(tag) or codes.get(tag.partition("-")[0])) is not None:
            return found
    return ENGLISH
