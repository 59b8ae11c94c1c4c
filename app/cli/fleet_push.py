"""``maskwatch fleet push``, ``assign`` and ``drain``: what the hub wants of the sites."""

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import closing
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from app.cli.arguments import count
from app.cli.fleet_folder import hub_folder, open_store
from app.core.errors import HookError, SettingsError
from app.core.text import counted, parse_duration

if TYPE_CHECKING:
    from nats.js import JetStreamContext

    from app.fleet.hub_folder import HubFolder
    from app.fleet.hub_store import SeenNode
    from app.fleet.messages import Desired, Revision

T = TypeVar("T")
CHECK_EVERY_S = 1.0


def register(actions: Any) -> None:
    push = actions.add_parser(
        "push",
        help="send settings or a model to the nodes of sites",
        description="send settings (policy, tracking, monitor), a classifier or a detector to the nodes of sites; each "
        "node uses them only if it accepts them and they are valid",
    )
    push.add_argument("site", nargs="?", metavar="SITE", help="a site or a pattern such as 'shop-*'")
    push.add_argument("settings", nargs="?", type=Path, metavar="FILE", help="TOML file of settings")
    push.add_argument(
        "--model", type=Path, metavar="FILE", help="send this classifier or detector (.tflite) instead of settings"
    )
    push.add_argument("--sites", metavar="PATTERN", help="the same as SITE")
    push.add_argument("--canary", type=count, default=0, metavar="N", help="first only to N nodes")
    push.add_argument(
        "--watch",
        default="10m",
        metavar="TIME",
        help="how long the first nodes must work before the others follow (default 10m)",
    )
    push.set_defaults(run=_push)
    assign = actions.add_parser("assign", help="choose the node that watches cameras", description=_assign.__doc__)
    assign.add_argument("camera", metavar="SITE/CAMERA", help="a camera or a pattern such as 'shop-1/door-*'")
    assign.add_argument("node", metavar="NODE", help="a node of this site")
    assign.set_defaults(run=_assign)
    drain = actions.add_parser("drain", help="move all cameras of a node to others", description=_drain.__doc__)
    drain.add_argument("node", metavar="SITE/NODE")
    drain.add_argument("--undo", action="store_true", help="let the node watch cameras again")
    drain.set_defaults(run=_drain)
    for parser in (push, assign, drain):
        parser.add_argument(
            "--hub-dir", dest="hub", type=Path, default=Path(), metavar="HUB_DIR", help="folder of the hub"
        )


def _nodes(folder: "HubFolder") -> "dict[str, SeenNode]":
    with closing(open_store(folder)) as store:
        return {node.name: node for node in store.nodes()}


def _with_stream(folder: "HubFolder", do: "Callable[[JetStreamContext], Awaitable[T]]") -> T:
    """The result of ``do``. The server must run."""
    from app.fleet.server import HubServer

    async def run() -> T:
        async with HubServer(folder).running_connection() as client:
            return await do(client.jetstream())

    try:
        return asyncio.run(run())
    except HookError as error:
        raise SettingsError(f"{error}; start the hub first: maskwatch fleet hub {folder.path}") from error


def _change(folder: "HubFolder", changes: "Mapping[str, Callable[[Desired], Desired]]") -> "dict[str, Desired]":
    """Changes what each site is to use. Returns what it was to use before."""
    from app.fleet.desired import change_desired

    async def change(stream: "JetStreamContext") -> "dict[str, Desired]":
        return {site: await change_desired(stream, site, of_site) for site, of_site in changes.items()}

    return _with_stream(folder, change)


def _push(args: argparse.Namespace) -> int:
    if args.sites and args.site and args.settings is None:  # --sites PATTERN FILE
        args.site, args.settings = None, Path(args.site)
    from app.fleet.messages import TABLES

    folder, pattern = hub_folder(args), args.sites or args.site
    if not pattern or (args.sites and args.site):
        raise SettingsError("say which sites: SITE, or --sites PATTERN")
    if args.model and args.settings:
        raise SettingsError(f"send either {args.settings} or --model {args.model}; the other with a second command")
    sites = [site for site in folder.sites() if fnmatchcase(site, pattern)]
    if not sites:
        raise SettingsError(f"no site matches {pattern}; the sites are {', '.join(folder.sites()) or 'none'}")
    watch_s = _watch_s(args.watch)
    canaries = _canaries(folder, sites, args.canary) if args.canary else []
    part, revision = _model(folder, args.model) if args.model else ("settings", _settings(args.settings))
    what = f"{TABLES.get(part, part)} {revision.fingerprint}".rstrip()

    def of_nodes(*nodes: str, repeats: bool = False) -> "Callable[[Desired], Desired]":
        def change(desired: "Desired") -> "Desired":
            number = getattr(desired, part).number + (not repeats)
            return desired.model_copy(update={part: revision.model_copy(update={"number": number, "nodes": nodes})})

        return change

    first: dict[str, list[str]] = {}
    for each in canaries:
        first.setdefault(each.site, []).append(each.node)
    if first:
        before = _change(folder, {site: of_nodes(*nodes) for site, nodes in first.items()})
        print(f"{what} sent to {', '.join(each.name for each in canaries)}; watched for {args.watch}", flush=True)
        numbers = {site: getattr(desired, part).number + 1 for site, desired in before.items()}
        if fault := _watch(folder, part, canaries, numbers, watch_s):
            _change(folder, {site: _back(part, getattr(before[site], part), nodes) for site, nodes in first.items()})
            print(f"{fault}; the revision before is used again, and no other node got this one")
            return 1
    _change(folder, {site: of_nodes(repeats=site in first) for site in sites})
    print(f"{what} sent to {counted(len(sites), 'site')}; 'maskwatch fleet nodes' shows what each node uses")
    return 0


def _back(part: str, old: "Revision", nodes: Sequence[str]) -> "Callable[[Desired], Desired]":
    """Gives ``nodes`` the content of ``old`` as a new revision; the nodes of ``old`` have it already."""

    def change(desired: "Desired") -> "Desired":
        values = {"number": getattr(desired, part).number + 1, "nodes": (*old.nodes, *nodes) if old.nodes else ()}
        return desired.model_copy(update={part: old.model_copy(update=values)})

    return change


def _watch_s(text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise SettingsError(f"--watch: {error}") from error


def _settings(path: Path | None) -> "Revision":
    from app.fleet.messages import MAX_SETTINGS_BYTES, Revision
    from app.settings.pushed import read_pushed

    if path is None:
        raise SettingsError("say what to send: a FILE of settings, or --model FILE")
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    if len(text) > MAX_SETTINGS_BYTES:
        raise SettingsError(f"{path} has more than {MAX_SETTINGS_BYTES} characters; shorten it")
    try:
        read_pushed(text)
    except SettingsError as error:
        raise SettingsError(f"{path}: {error}") from error
    return Revision(content=text)


def _model(folder: "HubFolder", path: Path) -> "tuple[str, Revision]":
    """The part that the model belongs to, and its revision."""
    from app.fleet.desired import store_model
    from app.fleet.messages import MAX_MODEL_BYTES, TABLES
    from app.vision.model_metadata import fingerprint, kind_of, network_bytes

    if path.suffix != ".tflite":
        raise SettingsError(f"{path} is no .tflite file; nodes run LiteRT models: 'maskwatch models' converts others")
    kind = kind_of(path)
    content = path.read_bytes()
    if len(content) > MAX_MODEL_BYTES:
        raise SettingsError(f"{path} has more than {MAX_MODEL_BYTES // 1_000_000} MB")
    revision = _with_stream(folder, lambda stream: store_model(stream, content))
    part = next(part for part, table in TABLES.items() if table == kind)
    return part, revision.model_copy(update={"fingerprint": fingerprint(network_bytes(path))})


def _canaries(folder: "HubFolder", sites: Sequence[str], count: int) -> "list[SeenNode]":
    now_s = time.time()
    online = [each for each in _nodes(folder).values() if each.site in sites and each.is_online(now_s)]
    if len(online) < count:
        raise SettingsError(f"only {counted(len(online), 'node')} of {', '.join(sites)} online; see 'fleet nodes'")
    return online[:count]


def _watch(
    folder: "HubFolder", part: str, canaries: "Sequence[SeenNode]", numbers: Mapping[str, int], watch_s: float
) -> str:
    """Waits until all have used the revision for ``watch_s``. Returns what is wrong, or ''."""
    end_s = time.monotonic() + watch_s
    while True:
        is_over, nodes, now_s = time.monotonic() >= end_s, _nodes(folder), time.time()
        for before in canaries:
            node = nodes[before.name]
            applied, number = node.health.applied.get(part), numbers[node.site]
            new_faults = [fault for fault in node.health.faults if fault not in before.health.faults]
            if applied is not None and applied.refused == number:
                return f"{node.name} refused it: {applied.reason}"
            if not node.is_online(now_s):
                return f"{node.name} is offline"
            if new_faults:
                return f"{node.name}: {new_faults[0]}"
            if is_over and (applied is None or applied.number != number):
                return f"{node.name} has not used it within {watch_s:.0f} s"
        if is_over:
            return ""
        time.sleep(min(CHECK_EVERY_S, watch_s))


def _assign(args: argparse.Namespace) -> int:
    """Choose the node that watches cameras; their nodes need failover = true under [fleet]."""
    folder = hub_folder(args)
    site, _, pattern = args.camera.partition("/")
    node = _sharing(_nodes(folder), f"{site}/{args.node.removeprefix(site + '/')}")
    cameras = [name for name in node.health.cameras if name == pattern or fnmatchcase(name, pattern)]
    if not cameras:
        known = ", ".join(node.health.cameras) or "none"
        raise SettingsError(f"no camera of {node.name} matches {pattern or args.camera!r}; its cameras are {known}")

    def change(desired: "Desired") -> "Desired":
        return desired.model_copy(update={"assigned": {**desired.assigned, **dict.fromkeys(cameras, node.node)}})

    _change(folder, {site: change})
    print(f"{node.name} is to watch {', '.join(cameras)}")
    return 0


def _drain(args: argparse.Namespace) -> int:
    """Move all cameras of a node to others, before maintenance; they need failover = true under [fleet]."""
    folder = hub_folder(args)
    nodes = _nodes(folder)
    node, now_s = _sharing(nodes, args.node), time.time()
    others = [each for each in nodes.values() if each.site == node.site and each is not node and each.is_online(now_s)]
    able = {name for each in others if each.health.failover for name in each.health.cameras}
    alone = [name for name, state in node.health.cameras.items() if state != "standby" and name not in able]
    if alone and not args.undo:
        raise SettingsError(f"no other node that is online and shares its cameras has {', '.join(alone)}")

    def change(desired: "Desired") -> "Desired":
        drained = [each for each in desired.drained if each != node.node] + [node.node] * (not args.undo)
        return desired.model_copy(update={"drained": tuple(drained)})

    _change(folder, {node.site: change})
    print(f"{node.name} {'may watch cameras again' if args.undo else 'gives its cameras to other nodes'}")
    return 0


def _sharing(nodes: "Mapping[str, SeenNode]", name: str) -> "SeenNode":
    """Raises SettingsError if the node is not known or shares no cameras."""
    if name not in nodes:
        raise SettingsError(f"no node {name}; the nodes are {', '.join(nodes) or 'none'}")
    if not nodes[name].health.failover:
        raise SettingsError(f"{name} does not share its cameras; set failover = true under [fleet] on its machine")
    return nodes[name]
