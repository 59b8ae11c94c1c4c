"""``maskwatch fleet``: one hub that stores and shows what many sites report."""

import argparse
import logging
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.cli import fleet_push
from app.cli.arguments import check_names, count
from app.cli.fleet_folder import hub_folder, new_folder, open_store
from app.core.errors import HookError, SettingsError
from app.core.files import exists, is_file
from app.core.text import counted, duration_text
from app.settings.flags import WEB, add_flags, config_path, flag_values

if TYPE_CHECKING:
    from app.alerts.delivery import AlertCenter
    from app.fleet.hub_folder import HubFolder
    from app.fleet.hub_store import HubStore, SeenNode
    from app.pipeline.camera import CameraView
    from app.settings.root import Settings

log = logging.getLogger(__name__)

CHECK_LIMIT_S = 5.0


def register(commands: Any) -> None:
    text = "watch the cameras of many sites at one hub"
    fleet = commands.add_parser("fleet", help=text, description=f"{text}: init, hub and join, then nodes")
    actions = fleet.add_subparsers(dest="action", metavar="ACTION", required=True)
    _register_init(actions)
    hub = actions.add_parser("hub", help="run the hub", description="start the server and store what the sites send")
    _add_hub(hub)
    hub.add_argument(
        "--web",
        metavar="HOST:PORT",
        nargs="?",
        const="",
        help="show all sites in a web view (default address 127.0.0.1:8080); '[web] enabled = true' does the same",
    )
    add_flags(hub, "web view", WEB)
    hub.set_defaults(run=_hub)
    join = actions.add_parser("join", help="make this machine a node: write [fleet] into its settings file")
    join.add_argument("--creds", required=True, type=Path, metavar="FILE", help="credentials file of the site")
    join.add_argument("--hub", required=True, metavar="URL", help="address of the hub, such as tls://hub.example:7422")
    join.add_argument("--config", required=True, metavar="FILE", help="TOML file of settings; it is made if needed")
    join.add_argument("--node", metavar="NAME", help="name of this machine; default: its host name")
    join.set_defaults(run=_join)
    for name, run, summary in (
        ("nodes", _nodes, "show the machines of all sites"),
        ("cameras", _cameras, "show all cameras with people and watched time of today"),
        ("events", _events, "show the newest events of all sites"),
        ("lag", _lag, "show what is not stored by the hub yet, and how late events arrive"),
    ):
        parser = actions.add_parser(name, help=summary, description=f"{summary}; works beside a running hub")
        _add_hub(parser)
        parser.add_argument("--site", action="append", default=[], metavar="NAME", help="only this site; repeatable")
        if name in ("events", "lag"):
            parser.add_argument("--since", default="1h", metavar="TIME", help="2h, 7d or 2026-11-23 (default 1h)")
        if name == "events":
            parser.add_argument("--newest", type=count, default=50, metavar="N", help="show at most N (default 50)")
        parser.set_defaults(run=run)
    fleet_push.register(actions)


def _register_init(actions: Any) -> None:
    init = actions.add_parser(
        "init",
        help="make the folder of a hub, or add sites to it",
        description="make the keys, the server's settings and one credentials file a site; call it again to add sites",
    )
    init.add_argument("hub", type=Path, metavar="HUB_DIR", help="folder of the hub")
    init.add_argument("--site", action="append", default=[], metavar="NAME", help="a site; repeatable")
    init.add_argument("--listen", metavar="HOST:PORT", help="where the server listens (default 0.0.0.0:7422)")
    init.add_argument(
        "--name",
        action="append",
        default=[],
        metavar="HOST",
        help="host name or address by which the sites reach the hub; it is in the certificate; repeatable",
    )
    init.add_argument("--tls-cert", type=Path, metavar="FILE", help="use this certificate (PEM) instead of a made one")
    init.add_argument("--tls-key", type=Path, metavar="FILE", help="the key of --tls-cert")
    init.add_argument("--tls-ca", type=Path, metavar="FILE", help="the authority of --tls-cert, if it is your own")
    init.add_argument("--revoke", action="append", default=[], metavar="SITE", help="make the credentials invalid")
    init.set_defaults(run=_init)


def _add_hub(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "hub", nargs="?", default=Path(), type=Path, metavar="HUB_DIR", help="folder of the hub (default: this folder)"
    )


def _init(args: argparse.Namespace) -> int:
    folder = new_folder(args.hub)
    from pydantic import TypeAdapter, ValidationError

    from app.fleet.hub_folder import ServerOptions
    from app.settings.alerts import SiteName

    for site in args.site:
        try:
            TypeAdapter(SiteName).validate_python(site)
        except ValidationError:
            raise SettingsError(
                f"{site!r} cannot be the name of a site; use letters, digits, '-' and '_', at most 60"
            ) from None
    options = None
    if args.listen or args.name or args.tls_cert or args.tls_key:
        _check_files(args.tls_cert, args.tls_key, args.tls_ca)
        if args.tls_cert and not args.name:
            raise SettingsError("--tls-cert needs --name: the host name in the certificate")
        default = ServerOptions()
        listen, names = args.listen or default.listen, tuple(args.name) or default.names
        _check_address(listen)
        options = ServerOptions(listen, names, args.tls_cert, args.tls_key, args.tls_ca)
    made = folder.init(args.site, options)
    for site in args.revoke:
        folder.revoke(site)
    for path in made:
        print(f"credentials of {path.stem}: {path}")
    for site in args.revoke:
        print(f"credentials of {site} are invalid now")
    print(f"{args.hub}: {counted(len(folder.sites()), 'site')}; start it: maskwatch fleet hub {args.hub}")
    return 0


def _check_address(listen: str) -> None:
    from app.settings.table import checked_url

    host, _, port = listen.rpartition(":")
    try:
        if not host or not port.isdecimal():
            raise ValueError
        checked_url(f"tls://{listen}")
    except ValueError:
        text = f"--listen {listen} is no address; write HOST:PORT, such as 0.0.0.0:7422, with a port from 1 to 65535"
        raise SettingsError(text) from None


def _check_files(*paths: Path | None) -> None:
    for path in paths:
        if path is not None and not is_file(path):
            raise SettingsError(f"there is no file {path}; check the path")


def _settings(args: argparse.Namespace, folder: "HubFolder") -> "Settings":
    """The settings of a hub: its own file and flags, with the event file of the folder."""
    from app.settings.load import load_settings

    flags = flag_values(args, WEB)
    if args.web is not None:
        from app.settings.web import parse_address

        flags["web"] = {**flags.get("web", {}), "enabled": True, **(parse_address(args.web) if args.web else {})}
    flags["alerts"] = {"store": folder.store, "persist": True}
    return load_settings(folder.settings_file if exists(folder.settings_file) else None, flags)


def _hub(args: argparse.Namespace) -> int:
    import asyncio

    folder = hub_folder(args)
    from app.alerts.delivery import AlertCenter
    from app.cli.watch import SignalFlags
    from app.fleet.hub import Hub
    from app.fleet.server import HubServer

    server, settings = HubServer(folder), _settings(args, folder)
    with ExitStack() as stack:
        center = AlertCenter(settings.alerts)
        center.start()
        stack.callback(_close, center.close)
        hub = Hub(folder, server, center)
        stack.callback(server.stop)
        stack.callback(hub.close)
        if settings.web.enabled:
            _start_web(stack, settings, center)
        with SignalFlags(reloads=False) as flags:
            asyncio.run(hub.run(lambda: flags.stop))
    return 0


def _close(close: Callable[[], list[str]]) -> None:
    for unfinished in close():
        log.warning("%s", unfinished)


class _NoCameras:
    """A hub watches no camera itself."""

    def views(self) -> "list[CameraView]":
        return []

    def show(self, indices: Iterable[int]) -> None:
        pass


def _start_web(stack: ExitStack, settings: "Settings", center: "AlertCenter") -> None:
    from app.alerts.mutes import Mutes

    try:
        from app.web.server import WebServer
        from app.web.site import Site
    except ImportError as error:
        raise SettingsError(f"the web view needs {error.name}: pip install 'maskwatch[web]'") from error
    web = WebServer(Site(settings, _NoCameras(), center, Mutes(), settings.alerts.store))
    web.start()
    stack.callback(_close, web.stop)
    print(web.welcome, file=sys.stderr, flush=True)


def _join(args: argparse.Namespace) -> int:
    import asyncio

    from app.alerts.nats_client import connected, read_credentials
    from app.settings.file_edit import edited
    from app.settings.load import load_settings

    path = config_path(args)
    assert path is not None
    credentials = read_credentials(args.creds)
    with edited(path, "write [fleet] to") as document:
        values = {"hub": args.hub, "site": credentials.site, "creds_file": str(args.creds.absolute())}
        document.setdefault("fleet", {}).update(values | ({"node": args.node} if args.node else {}))
        fleet = load_settings(path, text=document.as_string()).fleet  # before anything is written
    print(f"{path}: this machine is the node {fleet.node} of {fleet.site}; restart maskwatch watch --config {path}")

    async def check() -> None:
        async with connected(fleet.hub, credentials, fleet.site, CHECK_LIMIT_S):
            pass

    try:
        asyncio.run(check())
    except HookError as error:
        print(f"the hub cannot be reached now: {error}")
        return 1
    print("the hub accepts the credentials")
    return 0


def _open(args: argparse.Namespace) -> "HubStore":
    """The event file of the hub. Raises SettingsError if a site in ``args`` is not one of it."""
    folder = hub_folder(args)
    store = open_store(folder)
    try:
        check_names("site", args.site, [*folder.sites(), *(each.site for each in store.nodes())])
    except SettingsError:
        store.close()
        raise
    return store


def _known_nodes(args: argparse.Namespace, store: "HubStore") -> "list[SeenNode]":
    return [each for each in store.nodes() if not args.site or each.site in args.site]


def _nodes(args: argparse.Namespace) -> int:
    from rich.table import Table

    from app.cli.event_file import make_console

    columns = ("site", "node", "state", "last message", "cameras live", "waiting", "version", "faults", "from the hub")
    table = Table(*columns, box=None)
    store, now_s = _open(args), time.time()
    nodes = _known_nodes(args, store)
    store.close()
    for each in nodes:
        live = sum(state == "live" for state in each.health.cameras.values())
        table.add_row(
            each.site,
            each.node,
            "online" if each.is_online(now_s) else "offline",
            f"{duration_text(max(now_s - each.seen_s, 0.0))} ago",
            f"{live} of {len(each.health.cameras)}",
            str(each.health.waiting),
            each.health.version,
            "; ".join(each.health.faults),
            "; ".join(each.health.from_hub),
        )
    console = make_console()
    console.print(table)
    console.print(f"{counted(len(nodes), 'node')}, {sum(each.is_online(now_s) for each in nodes)} online")
    return 0


def _cameras(args: argparse.Namespace) -> int:
    from rich.table import Column, Table

    from app.cli.event_file import make_console
    from app.fleet.hub_store import camera_rows, site_rows

    store, now_s = _open(args), time.time()
    rows = camera_rows(store, now_s, args.site)
    store.close()
    right = [Column(name, justify="right") for name in ("people", "masked", "incorrect", "bare", "compliance")]
    table = Table("site", "camera", "state", *right, "watched", box=None)
    for row in [*rows, *site_rows(rows)]:
        seen = row.today
        table.add_row(
            row.site,
            row.camera,
            row.state,
            *map(str, (seen.people, seen.masked, seen.incorrect, seen.bare)),
            "-" if seen.compliance is None else f"{seen.compliance:.1%}",
            duration_text(seen.watched_s),
        )
    console = make_console()
    console.print(table)
    console.print(f"{counted(len(rows), 'camera')}; people and watched time since midnight")
    return 0


def _events(args: argparse.Namespace) -> int:
    from app.cli.events import list_events

    folder, store = hub_folder(args), _open(args)
    names = store.events.cameras()
    store.close()
    args.store, args.config, args.until, args.kind = str(folder.store), None, None, []
    args.camera = [name for name in names if name.partition("/")[0] in args.site] if args.site else []
    if args.site and not args.camera:
        raise SettingsError(f"no event of {', '.join(args.site)} in {folder.path}; see 'maskwatch fleet nodes'")
    return list_events(args)


def _lag(args: argparse.Namespace) -> int:
    import asyncio

    folder = hub_folder(args)
    from app.alerts.export import parse_time
    from app.fleet.server import HubServer

    store = _open(args)
    since_s = parse_time(args.since, time.time())
    delays, nodes = store.delays_s(since_s, args.site), _known_nodes(args, store)
    store.close()
    try:
        print(f"not stored by the hub yet: {counted(asyncio.run(HubServer(folder).waiting()), 'message')}")
    except HookError as error:
        print(f"the server does not run: {error}")
    for each in nodes:
        if each.health.waiting:
            print(f"not sent by {each.name} yet: {counted(each.health.waiting, 'event')}")
    if delays:
        half, most = (delays[min(int(len(delays) * share), len(delays) - 1)] for share in (0.5, 0.95))
        print(f"{counted(len(delays), 'event')}: stored {half:.1f} s after they happened (median), {most:.1f} s (p95)")
    else:
        print("no events in this period")
    return 0
