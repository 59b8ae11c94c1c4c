"""``maskwatch users``: who may sign in to the web view."""

import argparse
import getpass
import sys
from typing import TYPE_CHECKING, Any

from app.cli.event_file import add_event_file_options, cameras_of, make_console, settings_of
from app.core.errors import SettingsError
from app.core.files import is_file

if TYPE_CHECKING:
    from app.web.people import People

ROLES = ("viewer", "operator", "admin")


def register(commands: Any) -> None:
    users = commands.add_parser("users", help="add and remove the users of the web view", description=__doc__)
    actions = users.add_subparsers(dest="action", metavar="ACTION", required=True)
    add = actions.add_parser("add", help="add a user; the first one is an admin", description=_add.__doc__)
    listing = actions.add_parser("list", help="show all users", description=_list.__doc__)
    remove = actions.add_parser("remove", help="remove a user", description=_remove.__doc__)
    reset = actions.add_parser("reset", help="set a new password", description=_reset.__doc__)
    role = actions.add_parser("role", help="change the role or the cameras of a user", description=_role.__doc__)
    for parser, run in ((add, _add), (listing, _list), (remove, _remove), (reset, _reset), (role, _role)):
        add_event_file_options(parser)
        parser.set_defaults(run=run)
        if parser is not listing:
            parser.add_argument("name", metavar="NAME", help="name of the user")
    add.add_argument("--role", choices=ROLES, help="default: admin for the first user, then viewer")
    add.add_argument(
        "--no-password", action="store_true", help="the user signs in through a proxy or OIDC, never with a password"
    )
    role.add_argument("role", choices=ROLES, help="the new role")
    switch = role.add_mutually_exclusive_group()
    switch.add_argument("--disable", action="store_true", help="the user cannot sign in any more")
    switch.add_argument("--enable", action="store_true", help="the user can sign in again")
    for parser, default in ((add, "all"), (role, "as before")):
        cameras = parser.add_mutually_exclusive_group()
        cameras.add_argument(
            "--camera", action="append", metavar="NAME", help=f"only this; repeatable; default: {default}"
        )
        cameras.add_argument("--all-cameras", action="store_true", help="all cameras, also those added later")


def _people(args: argparse.Namespace) -> "People":
    from app.settings.web import people_file

    try:
        from app.web.people import People
    except ImportError as error:
        raise SettingsError(f"users need {error.name}: pip install 'maskwatch[web]'") from error
    return People(people_file(settings_of(args).store))


def _person(args: argparse.Namespace) -> "tuple[People, str]":
    """The users, and the given name as it is stored. Raises PeopleError."""
    people = _people(args)
    from app.web.people import user_name

    return people, user_name(args.name)


def _password(people: "People", name: str) -> str:
    """The hash of the password that is typed twice, or is the first line of standard input."""
    from app.web.people import PeopleError

    try:
        if sys.stdin is not None and sys.stdin.isatty():
            password = getpass.getpass(f"Password of {name}: ")
            if getpass.getpass("Again: ") != password:
                raise PeopleError("the passwords differ; nothing is changed")
        else:
            password = sys.stdin.readline().rstrip("\r\n") if sys.stdin is not None else ""
        return people.hash_password(name, password)
    except EOFError:  # Ctrl-D
        raise PeopleError("no password was given; nothing is changed") from None
    except UnicodeError:
        raise PeopleError("the password is not UTF-8 text; nothing is changed") from None


def _given_cameras(args: argparse.Namespace, role: str) -> frozenset[str] | None:
    """The cameras of ``--camera``; a name that no camera has yet is only reported: it may be that of the next one.
    Raises SettingsError for an admin, who sees all cameras."""
    from app.alerts.event_store import EventStore
    from app.settings.error_messages import nearest

    if args.camera is None:
        return None
    if role == ROLES[-1]:
        raise SettingsError(f"{args.name} would be an admin, who sees all cameras; leave --camera out, or see --role")
    store, known = settings_of(args).store, set(cameras_of(args))
    if is_file(store):
        with EventStore(store, create=False, busy_s=10.0) as events:
            known |= set(events.cameras())
    for name in args.camera if known else ():
        if name not in known:
            near = nearest(name, known)
            advice = f"did you mean {near}?" if near else f"there are: {', '.join(sorted(known))}"
            print(f"warning: no camera {name!r} yet; {advice}", file=sys.stderr)
    return frozenset(args.camera)


def _done(people: "People", what: str, target: str, text: str) -> int:
    people.audit.record("(command line)", "", what, target)
    print(text)
    return 0


def _add(args: argparse.Namespace) -> int:
    """Adds a user. The password is asked for, or read from standard input."""
    people, name = _person(args)
    from app.web.people import Role

    role = Role(args.role or ("viewer" if people.has_users else "admin"))
    cameras = _given_cameras(args, role)
    name = people.add(name, role, cameras, "" if args.no_password else _password(people, name))
    return _done(people, "added a user", f"{name}: {role}", f"{name} is added as {role}")


def _list(args: argparse.Namespace) -> int:
    """Shows all users with their roles and cameras."""
    from rich.table import Table

    from app.core.text import local_time

    table = Table("name", "role", "cameras", "code", "last signed in", box=None)
    for each in _people(args).accounts():
        cameras = "all" if each.cameras is None else ", ".join(sorted(each.cameras)) or "none"
        role = f"{each.role}{' (disabled)' if each.disabled else ''}"
        when = local_time(each.signed_in_s) if each.signed_in_s else "never"
        table.add_row(each.name, role, cameras, "yes" if each.secret else "no", when)
    make_console().print(table)
    return 0


def _remove(args: argparse.Namespace) -> int:
    """Removes a user and ends the sessions."""
    people, name = _person(args)
    people.remove(name, may_be_last=True)
    more = "" if people.has_users else "; there is no user any more"
    return _done(people, "removed a user", name, f"{name} is removed{more}")


def _reset(args: argparse.Namespace) -> int:
    """Sets a new password, turns off the code of an authenticator app and ends the sessions."""
    people, name = _person(args)
    people.known(name)
    people.set_password(name, _password(people, name), keeps_code=False)
    return _done(people, "reset a password", name, f"{name} has a new password")


def _role(args: argparse.Namespace) -> int:
    """Changes role and cameras, disables or enables a user, and ends the sessions."""
    people, name = _person(args)
    from app.web.people import Role

    account = people.known(name)
    disabled = args.disable or (account.disabled and not args.enable)
    given = _given_cameras(args, args.role)
    cameras = None if args.all_cameras else account.cameras if given is None else given
    people.change(name, Role(args.role), cameras, disabled)
    text = f"{args.role}{', disabled' if disabled else ''}"
    return _done(people, "changed a user", f"{name}: {text}", f"{name} is {text} now")
