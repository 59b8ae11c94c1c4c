"""The pages of the users: sign-in, the own account and all users. Forms only, without JavaScript."""

import asyncio
import time
from urllib.parse import quote

import segno
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from app.core.translation import gettext, marked
from app.web.handling import Handler, user_of
from app.web.middleware import NEXT_COOKIE, next_page, parse_form, session_cookie_header
from app.web.oidc import FLOW_S, OidcError, OidcProvider
from app.web.passwords import STEP_S, new_recovery_codes, new_secret, step_of_code
from app.web.people import NO_ACCESS, TOKEN, Account, PeopleError, Role, User
from app.web.rendering import render
from app.web.site import Site

WRONG = marked("The name, the password or the code is wrong. Try again.")
TOO_MANY = marked("Too many failed attempts. Wait a minute, then try again.")
OIDC_COOKIE = "maskwatch_oidc"
PROGRAM_DAYS = 3650


class PeoplePages:
    def __init__(self, site: Site) -> None:
        self._site = site
        self._people = site.people
        self._authenticator = site.authenticator
        oidc = site.settings.web.oidc
        self._provider = OidcProvider(oidc) if oidc.issuer else None

    def routes(self) -> list[tuple[str, Handler, str]]:
        table: list[tuple[str, Handler, str]] = [
            ("/login", self._login, "GET"),
            ("/login", self._sign_in, "POST"),
            ("/logout", self._sign_out, "POST"),
            ("/login/oidc", self._begin_oidc, "GET"),
            ("/login/oidc/back", self._finish_oidc, "GET"),
            ("/first-user", self._first_user, "GET"),
            ("/first-user", self._add_first_user, "POST"),
            ("/account", self._account, "GET"),
            ("/account/password", self._own_password, "POST"),
            ("/account/sessions/end", self._end_sessions, "POST"),
            ("/account/code", self._code, "POST"),
            ("/account/tokens", self._add_token, "POST"),
            ("/users", self._users, "GET"),
            ("/users", self._add, "POST"),
            ("/users/{name}/change", self._change, "POST"),
            ("/users/{name}/password", self._password, "POST"),
            ("/users/{name}/remove", self._remove, "POST"),
        ]
        return [(path, self._with_errors(handler), method) for path, handler, method in table]

    def _with_errors(self, handler: Handler) -> Handler:
        """Shows why a change is not possible above the forms."""

        async def run(request: Request) -> Response:
            try:
                return await handler(request)
            except PeopleError as error:
                if request.scope["path"].startswith("/users"):
                    return await self._users(request, 400, str(error))
                return await self._account(request, 400, error_text=str(error))

        return run

    def _record(self, request: Request, what: str, target: str = "", who: str = "") -> None:
        self._people.audit.record(who or user_of(request).name, _address(request), what, target)

    def _back(self, request: Request, path: str, said: str = "") -> Response:
        return RedirectResponse(f"{request.scope['root']}{path}{f'?said={said}' if said else ''}", 303)

    # -- sign-in ---------------------------------------------------------------------------------------------------

    def _login_page(self, request: Request, status: int = 200, error_text: str = "") -> Response:
        values = {"takes_token": self._authenticator.takes_token, "has_provider": self._provider is not None}
        response = render(request, "login", status, error_text=error_text, **values)
        if status == 429:
            response.headers["Retry-After"] = "60"
        return response

    async def _login(self, request: Request) -> Response:
        return self._back(request, "/") if user_of(request) else self._login_page(request)

    async def _sign_in(self, request: Request) -> Response:
        form, address = parse_form(await request.body()), _address(request)
        if not self._authenticator.may_attempt(address):
            return self._login_page(request, 429, gettext(TOO_MANY))
        if self._authenticator.takes_token:
            if not self._authenticator.is_token(form.get("token", "").strip()):
                self._authenticator.record_failure(address)
                self._people.audit.record("", address, "failed to sign in")
                return self._login_page(request, 401, gettext("The token is wrong. Try again."))
            return self.signed_in(request, TOKEN)
        name = form.get("name", "")
        account = await self._authenticator.sign_in(name, form.get("password", ""), form.get("code", ""), address)
        if account is None:
            known = self._people.account(name.strip().casefold())  # another text may be a password in the wrong field
            self._people.audit.record("", address, "failed to sign in", known.name if known else "unknown name")
            return self._login_page(request, 401, gettext(WRONG))
        return self.signed_in(request, account.user)

    def signed_in(self, request: Request, user: User, response: Response | None = None) -> Response:
        """Opens a session and goes to the page that was opened before the sign-in, or answers ``response``."""
        response = response or RedirectResponse(f"{request.scope['root']}{next_page(request.scope)}", 303)
        browser = request.headers.get("user-agent", "")
        session = self._authenticator.open_session(user, _address(request), browser)
        root = request.scope["root"]
        self._authenticator.close_session(request.scope["caller"])  # that of the browser before
        response.headers.append("Set-Cookie", session_cookie_header(session, self._site.settings.web, root))
        response.delete_cookie(NEXT_COOKIE, root or "/")
        self._record(request, "signed in", who=user.name)
        return response

    async def _sign_out(self, request: Request) -> Response:
        self._authenticator.close_session(request.scope["caller"])
        self._record(request, "signed out")
        return self._back(request, "/login")

    async def _begin_oidc(self, request: Request) -> Response:
        if self._provider is None:
            raise HTTPException(404, "not found")
        if "host" not in request.headers:  # allowed by HTTP/1.0
            raise HTTPException(400, "the request names no host to return to")
        web, root = self._site.settings.web, request.scope["root"]
        scheme = "https" if web.is_secure else "http"
        try:
            url, state = await self._provider.begin(f"{scheme}://{request.headers['host']}{root}/login/oidc/back")
        except OidcError as error:
            return self._login_page(request, 502, str(error))
        response = RedirectResponse(url, 303)
        # The browser returns from another site, so it would not send a strict cookie.
        age_s, path = round(FLOW_S), f"{root}/login/oidc"
        response.set_cookie(OIDC_COOKIE, state, age_s, path=path, secure=web.is_secure, httponly=True, samesite="lax")
        return response

    async def _finish_oidc(self, request: Request) -> Response:
        """The page after the sign-in leads to another one: only then the browser sends the strict cookie."""
        query, address = request.query_params, _address(request)
        if self._provider is None:
            raise HTTPException(404, "not found")
        if not self._authenticator.may_attempt(address):
            return self._login_page(request, 429, gettext(TOO_MANY))
        cookie = request.cookies.get(OIDC_COOKIE, "")
        try:
            given = (query.get(name, "") for name in ("code", "iss"))
            identity = await self._provider.finish(query.get("state", ""), cookie, *given)
            role = Role.of_groups(identity.groups, self._site.settings.web.roles)
            account = self._people.external(identity.name, role, identity.subject)
            if account is None:
                raise PeopleError(gettext(NO_ACCESS))
        except (OidcError, PeopleError) as error:
            self._authenticator.record_failure(address)
            self._people.audit.record("", address, "failed to sign in", "OpenID Connect")
            return self._login_page(request, 401, str(error))
        return self.signed_in(request, account.user, render(request, "signed_in", wanted=next_page(request.scope)))

    async def _first_user(self, request: Request) -> Response:
        code = request.query_params.get("code", "")
        return self._first_user_page(request, code) if self._may_add_first(request, code) else self._no_link(request)

    def _may_add_first(self, request: Request, code: str) -> bool:
        address = _address(request)
        if not self._authenticator.may_attempt(address):
            return False
        is_right = self._authenticator.is_first_code(code)
        if not is_right and self._authenticator.first_code is not None:
            self._authenticator.record_failure(address)
        return is_right

    def _first_user_page(self, request: Request, code: str, status: int = 200, error_text: str = "") -> Response:
        return render(request, "first_user", status, code=code, error_text=error_text)

    def _no_link(self, request: Request) -> Response:
        message = gettext(
            "This link was used, or is wrong. maskwatch prints a new one at its start while there is no user."
        )
        return render(request, "error", 403, title=gettext("No such link"), message=message)

    async def _add_first_user(self, request: Request) -> Response:
        form = parse_form(await request.body())
        code = form.get("code", "")
        if not self._may_add_first(request, code):
            return self._no_link(request)
        try:
            hashed = await self._hash(form.get("name", ""), form.get("password", ""))
            if not self._authenticator.is_first_code(code):  # another request was faster
                return self._no_link(request)
            name = self._people.add(form.get("name", ""), Role.ADMIN, None, hashed)
        except PeopleError as error:
            return self._first_user_page(request, code, 400, str(error))
        self._record(request, "added a user", f"{name}: admin", who=name)
        return self.signed_in(request, User(name, Role.ADMIN))

    async def _hash(self, name: str, password: str) -> str:
        return await asyncio.to_thread(self._people.hash_password, name, password)

    # -- the own account -------------------------------------------------------------------------------------------

    async def _account(self, request: Request, status: int = 200, **values: object) -> Response:
        user, caller = user_of(request), request.scope["caller"]
        values = {"error_text": "", "codes": (), "token": "", "secret": new_secret(), **values}
        link = f"otpauth://totp/maskwatch:{quote(user.name)}?secret={values['secret']}&issuer=maskwatch"
        return render(
            request,
            "account",
            status,
            account=self._people.account(user.name),
            sessions=self._people.sessions(self._authenticator.session_name(user), time.time()),
            session_id=caller.session_id,
            link=link,
            qr_code=segno.make_qr(link).svg_inline(omitsize=True, light="#fff"),
            **values,
        )

    async def _confirmed(self, request: Request) -> tuple[Account, dict[str, str]]:
        """The own account and the form, if the form contains the present password. Raises PeopleError."""
        form, name = parse_form(await request.body()), user_of(request).name
        account = self._people.account(name)
        if account is None:
            raise PeopleError(gettext("only a user with a name has a password; an admin can add one"))
        if not self._authenticator.may_attempt(_address(request)):
            raise PeopleError(gettext(TOO_MANY))
        if not await self._authenticator.is_password_of(account, form.get("current", ""), _address(request)):
            self._record(request, "gave a wrong password")
            raise PeopleError(gettext("the present password is wrong; nothing is changed"))
        return account, form

    async def _own_password(self, request: Request) -> Response:
        account, form = await self._confirmed(request)
        hashed = await self._hash(account.name, form.get("password", ""))
        self._people.set_password(account.name, hashed, kept=request.scope["caller"].session_id)
        self._record(request, "changed the own password")
        return self._back(request, "/account", "password-changed")

    async def _end_sessions(self, request: Request) -> Response:
        """The session of the form, or all others."""
        given, caller = parse_form(await request.body()).get("session", ""), request.scope["caller"]
        name = self._authenticator.session_name(user_of(request))
        if given.isdecimal() and len(given) < 16:
            self._people.end_session(name, int(given))
        else:
            self._people.end_sessions(name, kept=caller.session_id)
        self._record(request, "ended sessions", given)
        return self._back(request, "/account", "sessions-ended")

    async def _code(self, request: Request) -> Response:
        """Turns the code of an authenticator app on, with a first code as proof, or off."""
        account, form = await self._confirmed(request)
        if not form.get("secret"):
            self._people.set_secret(account.name, "", 0, [])
            self._record(request, "turned the sign-in code off")
            return self._back(request, "/account", "code-off")
        try:
            step = _first_step(form["secret"], form.get("code", ""))
        except PeopleError as error:  # with the same secret, which the app knows now
            kept = {"secret": form["secret"]} if len(form["secret"]) == 32 else {}
            return await self._account(request, 400, error_text=str(error), **kept)
        codes = new_recovery_codes()
        self._people.set_secret(account.name, form["secret"], step, codes)
        self._record(request, "turned the sign-in code on")
        return await self._account(request, codes=codes)

    async def _add_token(self, request: Request) -> Response:
        account, form = await self._confirmed(request)
        label, now_s = form.get("label", "").strip() or "program", time.time()
        end_s = now_s + PROGRAM_DAYS * 86_400
        token = self._people.open_session(account.name, now_s, end_s, _address(request), label, is_program=True)
        self._record(request, "made a token", label)
        return await self._account(request, token=token)

    # -- all users -------------------------------------------------------------------------------------------------

    async def _users(self, request: Request, status: int = 200, error_text: str = "") -> Response:
        names = await self._site.run_in_worker(self._site.camera_names)
        accounts = self._people.accounts()
        values = {"accounts": accounts, "names": names, "roles": list(Role), "error_text": error_text}
        return render(request, "users", status, is_first=not accounts, **values)

    async def _add(self, request: Request) -> Response:
        form = parse_form(await request.body())
        role, cameras = _rights(form)
        hashed = await self._hash(form.get("name", ""), form.get("password", ""))
        name = self._people.add(form.get("name", ""), role, cameras, hashed)
        self._record(request, "added a user", f"{name}: {_rights_text(role, cameras)}")
        return self._back(request, "/users", "user-added")

    async def _change(self, request: Request) -> Response:
        form, name = parse_form(await request.body()), request.path_params["name"]
        role, cameras = _rights(form)
        self._people.change(name, role, cameras, disabled := bool(form.get("disabled")))
        text = f"{name}: {_rights_text(role, cameras)}{', disabled' if disabled else ''}"
        self._record(request, "changed a user", text)
        return self._back(request, "/users", "user-changed")

    async def _password(self, request: Request) -> Response:
        """A new password; the code of the app is turned off: the user may have lost both."""
        form, name = parse_form(await request.body()), request.path_params["name"]
        self._people.set_password(name, await self._hash(name, form.get("password", "")), keeps_code=False)
        self._record(request, "reset a password", name)
        return self._back(request, "/users", "user-changed")

    async def _remove(self, request: Request) -> Response:
        name = request.path_params["name"]
        self._people.remove(name)
        self._record(request, "removed a user", name)
        return self._back(request, "/users", "user-removed")


def _rights(form: dict[str, str]) -> tuple[Role, frozenset[str] | None]:
    """The role and the cameras of a form: one name in each line. Raises PeopleError."""
    if form.get("role") not in list(Role):
        raise PeopleError(gettext("there is no such role; choose %(roles)s", roles=", ".join(Role)))
    lines = frozenset(line.strip() for line in form.get("cameras", "").splitlines() if line.strip())
    return Role(form["role"]), None if form.get("all") else lines


def _rights_text(role: Role, cameras: frozenset[str] | None) -> str:
    if cameras is None or role is Role.ADMIN:
        return f"{role}, all cameras"
    return f"{role}, {', '.join(sorted(cameras)) or 'no camera'}"


def _first_step(secret: str, code: str) -> int:
    """Raises PeopleError unless ``code`` belongs to ``secret``."""
    try:
        step = step_of_code(secret, "".join(code.split()), time.time(), 0) if len(secret) == 32 else None
    except ValueError:
        step = None
    if step is None:
        raise PeopleError(
            gettext(
                "the code is wrong; a code is valid for %(seconds)s s, so check the clock of the phone, and scan or "
                "type it again",
                seconds=STEP_S,
            )
        )
    return step


def _address(request: Request) -> str:
    return request.client.host if request.client else "?"
