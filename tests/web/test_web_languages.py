"""The languages of the web view: which one is chosen, and that no text stays untranslated."""

import gettext
import json
import re
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path

import pytest
from fakes_web import TOKEN, FakeMonitor, Running, make_event, serving
from jinja2 import Environment, nodes

from app.alerts.hook import Alert, make_test_alert
from app.capture.capture import SourceState
from app.core.camera_hours import CameraHour, hour_of
from app.core.errors import SettingsError
from app.core.translation import languages, using
from app.core.types import EventKind
from app.settings.load import load_settings
from app.web.language import accepted_language, choose
from app.web.words import script_words

TEMPLATES = {each.name: each.read_text() for each in (resources.files("app.web") / "templates").iterdir()}
SCRIPTS = {
    each.name: each.read_text() for each in (resources.files("app.web") / "static").iterdir() if ".js" in each.name
}
ATTRIBUTES = re.compile("aria-label|title|alt|placeholder|data-name|data-act|data-wait|data-text-.*|data-refused")
PAGES = (
    "/", "/wall", "/wall?per=1&every=5", "/events", "/review", "/label", "/trends", "/trends?span=day",
    "/trends?span=week", "/trends?span=month", "/health", "/setup", "/setup/channels", "/setup/privacy",
    "/setup/camera?name=door", "/setup/channel?name=hook", "/setup/channel?name=home", "/setup/channel?name=phones",
    "/setup/channel?name=siren", "/setup/channel?name=signed", "/setup/zones",
    "/account", "/users", "/audit", "/scan", "/fleet", "/nothing", "/wrong",
    "/static/offline.html", "/?said=acknowledged",
)  # fmt: skip


class Pseudo(gettext.NullTranslations):
    """Every text in brackets, written from right to left."""

    def gettext(self, message: str) -> str:
        return f"⟦{message}⟧"

    def ngettext(self, msgid1: str, msgid2: str, n: int) -> str:
        return f"⟦{msgid1 if n == 1 else msgid2}⟧"

    def pgettext(self, context: str, message: str) -> str:
        return {"ltr": "rtl", ".": ","}.get(message, f"⟦{message}⟧")


@pytest.fixture
def pseudo(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setitem(languages(), "xx", Pseudo())
    return "xx"


@pytest.fixture
def filled(tmp_path: Path) -> Iterator[Running]:
    """A web view with events, counted people, channels, a camera that is offline, and one in a group."""
    (secret := tmp_path / "secret").write_text("s3cret")
    channels = [
        {"kind": "command", "name": "desk", "argv": ["true"]},
        {"kind": "webhook", "name": "hook", "url": "http://127.0.0.1:1/"},
        {"kind": "webhook", "name": "signed", "url": "http://127.0.0.1:1/", "secret_file": str(secret)},
        {"kind": "mqtt", "name": "home", "host": "127.0.0.1"},
        {"kind": "push", "name": "phones", "contact": "mailto:you@example.org"},
        {"kind": "sound", "name": "siren"},
    ]
    monitor = FakeMonitor("door", "yard")
    monitor.state(SourceState.RECONNECTING, "TIMEOUT", 1)
    monitor.change(0, group="ground")
    cameras = [{"name": "door", "uri": "0"}, {"name": "yard", "uri": "1"}]
    alerts = {"channels": channels, "store_files": True}
    with serving(tmp_path, monitor, alerts, cameras=cameras) as running:
        now_s = time.time()
        for number, kind in enumerate(EventKind):
            reason = {"resolved": "left", "report": "ANY"}.get(kind, "")
            running.add_event(make_event(number, kind, reason=reason, wall_s=now_s - number))
        running.center.add_hours([CameraHour("door", hour_of(now_s), masked=30, incorrect=2, bare=4, watched_s=600.0)])
        yield running


class Text(HTMLParser):
    """The visible text of a page, and the attributes that people see or hear. Texts in another language, code, keys
    and times are left out."""

    LEFT_OUT, VOID = ("script", "style", "code", "kbd", "time"), ("meta", "link", "input", "img", "br", "hr")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.attributes: list[str] = []
        self._open: list[bool] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        is_left_out = tag in self.LEFT_OUT or (tag != "html" and "lang" in given) or any(self._open)
        if tag not in self.VOID:
            self._open.append(is_left_out)
        if not is_left_out:
            self.attributes += [value or "" for name, value in attrs if ATTRIBUTES.fullmatch(name)]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        self._open.pop()

    def handle_data(self, data: str) -> None:
        if not any(self._open):
            self.texts.append(data)


def words_outside(text: str, given: str = "") -> list[str]:
    """The words of ``text`` that are outside of the brackets of a translation, but for the ``given`` ones."""
    outside, depth = "", 0
    for sign in text:
        depth += {"⟦": 1, "⟧": -1}.get(sign, 0)
        outside += sign if depth == 0 and sign not in "⟦⟧" else " "
    assert depth == 0
    return [word for word in re.findall(r"[A-Za-z_]{2,}", outside) if word not in given.split()]


def test_every_text_of_every_page_is_translated(filled: Running, pseudo: str) -> None:
    channels = "desk command hook signed webhook http home mqtt phones push siren sound"
    given = f"{channels} maskwatch door yard ground ANY TIMEOUT local dev TCP UDP"
    with filled.client(headers={"Accept-Language": pseudo}) as client:
        for path in PAGES:
            page = Text(client.get(path).text)
            assert words_outside("\n".join(page.texts), given) == [], path
            assert [each for each in page.attributes if words_outside(each, given)] == [], path
            assert '<html lang="xx" dir="rtl">' in client.get(path).text


def test_the_page_of_the_sign_in_and_its_error_are_translated(locked: Running) -> None:
    with locked.client(headers={"Accept-Language": "de"}) as client:
        page = client.get("/login").text
        csrf = re.search('name="csrf" value="([^"]+)"', page)
        assert csrf is not None
        assert "Anmelden" in page
        wrong = client.post("/login", data={"csrf": csrf[1], "token": "x" * 20})
        assert "Das Token ist falsch." in wrong.text
        assert client.post("/login", data={"csrf": csrf[1], "token": TOKEN}).status_code == 303


def test_the_texts_of_the_scripts_are_translated(pseudo: str) -> None:
    def leaves(value: object) -> Iterator[str]:
        if isinstance(value, dict):
            for each in value.values():
                yield from leaves(each)
        else:
            yield str(value)

    with using(pseudo):
        assert [each for each in leaves(script_words()) if words_outside(each)] == []
    for name, script in SCRIPTS.items():
        assert re.findall(r"""["'`][A-Z][a-z]+ [a-z]+[^\n]*""", script) == [], name
        for used in re.findall(r"\bwords\.(\w+)", script):
            assert used in script_words(), name


@pytest.mark.parametrize("name", sorted(TEMPLATES))
def test_a_template_has_no_text_outside_of_the_catalogue(name: str) -> None:
    environment = Environment(extensions=["jinja2.ext.i18n"])
    tokens = environment.lex(TEMPLATES[name])
    literal, in_code = "", False
    for _, kind, value in tokens:
        if kind.endswith("_begin"):
            in_code = True
        elif kind.endswith("_end"):
            in_code, literal = False, literal + ("&middot;" if kind == "variable_end" else "")
        elif not in_code:
            literal += value
    page = Text(literal)
    assert words_outside("\n".join(page.texts), "maskwatch") == []
    assert [each for each in page.attributes if words_outside(each, "maskwatch")] == []
    tree = environment.parse(TEMPLATES[name])
    calls = [
        call for call in tree.find_all(nodes.Call) if getattr(call.node, "name", "") in ("_", "ngettext", "pgettext")
    ]
    marked = {id(each) for call in calls for each in call.args}
    constants = [each for each in tree.find_all(nodes.Const) if isinstance(each.value, str) and id(each) not in marked]
    assert [each.value for each in constants if re.match(r"[A-Z][a-z]|[a-z]+ [a-z]+", each.value)] == []


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("de", "de"),
        ("de-CH,de;q=0.9,en;q=0.8", "de"),
        ("en-GB, de;q=0.9", "en"),
        ("en;q=0.2, de;q=0.7", "de"),
        ("de;q=0, en", "en"),
        ("DE", "de"),
        ("tlh, de;q=0.1", "de"),
        ("tlh", "en"),
        ("*", "en"),
        ("", "en"),
        ("de;q=much, ;;;, q=1", "en"),
        ("de;q=2", "en"),
        ("../../etc", "en"),
    ],
)
def test_the_browser_says_which_language(header: str, language: str) -> None:
    assert accepted_language(header) == language


@pytest.mark.parametrize(
    ("given", "cookie", "configured", "language"),
    [
        ("", "", "auto", "de"),
        ("", "", "en", "en"),
        ("", "en", "de", "en"),
        ("de", "en", "en", "de"),
        ("zz", "", "auto", "de"),
    ],
)
def test_a_choice_is_stronger_than_the_settings_and_these_than_the_browser(
    given: str, cookie: str, configured: str, language: str
) -> None:
    assert choose(given, cookie, configured, "de") == language


def test_a_choice_in_the_page_is_kept_by_a_cookie_and_keeps_the_filter(running: Running) -> None:
    with running.client() as client:
        assert '<html lang="en" dir="ltr">' in client.get("/events?kind=no_mask").text
        chosen = client.get("/events?kind=no_mask&language=de")
        assert '<html lang="de" dir="ltr">' in chosen.text
        assert '<input type="hidden" name="kind" value="no_mask">' in chosen.text
        assert 'type="hidden" name="language"' not in chosen.text
        cookie = next(each for each in chosen.headers.get_list("set-cookie") if "language" in each)
        assert "SameSite=Strict" in cookie
        assert "HttpOnly" in cookie
        assert "Ereignisse" in client.get("/events").text
        assert "set-cookie" not in client.get("/events?language=zz").headers
        assert '<html lang="en"' in client.get(f"/?{'a=1&' * 100}language=en").text
        assert '<html lang="en"' in client.get("/").text


def test_the_settings_choose_the_language(tmp_path: Path) -> None:
    with serving(tmp_path, language="de") as running, running.client(headers={"Accept-Language": "en"}) as client:
        assert '<html lang="de"' in client.get("/").text
    with pytest.raises(SettingsError, match="no translation to 'tlh'; choose en, de"):
        load_settings(None, {"web": {"language": "tlh"}})


def test_programs_get_english_unless_they_ask(tmp_path: Path) -> None:
    with serving(tmp_path, language="de") as running, running.client(headers={"Accept-Language": "de"}) as client:
        path = "/api/v1/cameras/9/mute"
        assert client.get(path).json()["error"] == client.get(path, headers={"Accept-Language": "en"}).json()["error"]
        running.center.add_hours([CameraHour("door", hour_of(time.time()), masked=30, watched_s=600.0, offline_s=60.0)])
        assert "offline 1 min" in client.get("/api/v1/compliance").json()["total"]["not_watched_text"]
        total = client.get("/api/v1/compliance", headers={"X-Language": "de"}).json()["total"]
        assert total["watched_text"].startswith("10 min")
        assert total["watched_text"].endswith(" %")


def test_two_requests_at_a_time_have_their_own_language(running: Running) -> None:
    with running.client() as english, running.client(headers={"Accept-Language": "de"}) as german:
        for _ in range(3):
            assert "Trends" in english.get("/trends").text
            assert "Verlauf" in german.get("/trends").text


def test_an_alert_has_the_language_of_its_device() -> None:
    event = make_event(kind=EventKind.RESOLVED, reason="left", people=2)
    alert = Alert(event, "phones", "key")
    assert alert.text == "Resolved at door (2 people, for 2 s) - left the view"
    with using("de"):
        assert alert.text == "Erledigt bei door (2 Personen, seit 2 s) - hat das Bild verlassen"
        assert make_test_alert("phones").title == "Probealarm"


def test_a_text_cannot_end_the_block_of_words(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    class Hostile(gettext.NullTranslations):
        def gettext(self, message: str) -> str:
            return "</script><script>alert(1)</script>" if message == "Playing" else message

    monkeypatch.setitem(languages(), "xx", Hostile())
    with running.client(headers={"Accept-Language": "xx"}) as client:
        page = client.get("/health").text
    assert page.count("<script>") == 0
    words = re.search(r'<script type="application/json" id="words">(.*?)</script>', page, re.DOTALL)
    assert words is not None
    assert json.loads(words[1])["states"]["playing"].startswith("</script>")
