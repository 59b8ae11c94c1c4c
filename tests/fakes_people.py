"""Users of the web view, and their browsers."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from fakes_web import CHEAP, LIMIT_S, Running

from app.web.people import People, Role

PASSWORD = "correct horse battery"


NEW_PASSWORD = "quite another password"


def add_users(people: People) -> None:
    people.add("boss", Role.ADMIN, None, CHEAP.hash(PASSWORD))
    people.add("anna", Role.OPERATOR, None, CHEAP.hash(PASSWORD))
    people.add("vera", Role.VIEWER, frozenset(["door"]), CHEAP.hash(PASSWORD))


class Browser:
    """A browser without JavaScript: it sends the forms of pages."""

    def __init__(self, running: Running, address: str = "127.0.0.1", **headers: str) -> None:
        transport = httpx.HTTPTransport(verify=False, local_address=address)
        self.client = httpx.Client(base_url=running.base, timeout=LIMIT_S, transport=transport, headers=headers)

    def get(self, path: str) -> httpx.Response:
        return self.client.get(path)

    def send(self, path: str, page: str = "", **fields: str) -> httpx.Response:
        """Sends a form with the secret of ``page``."""
        csrf = self.get(page or path).text.partition('name="csrf" content="')[2].partition('"')[0]
        return self.client.post(path, data={"csrf": csrf, **fields})

    def sign_in(self, name: str, password: str = PASSWORD, code: str = "") -> httpx.Response:
        return self.send("/login", name=name, password=password, code=code)


@contextmanager
def browser(running: Running, name: str = "", **more: Any) -> Iterator[Browser]:
    """A browser in which ``name`` has signed in."""
    found = Browser(running, **more)
    with found.client:
        if name:
            response = found.sign_in(name)
            assert (response.status_code, response.headers["location"]) == (303, "/"), response.text
        yield found


def entries(running: Running, what: str = "") -> list[tuple[str, str, str]]:
    """(who, what, target) of the audit log, oldest first."""
    found = list(running.server.site.people.audit.entries(what=what))[::-1]
    return [(entry.who, entry.what, entry.target) for entry in found]
