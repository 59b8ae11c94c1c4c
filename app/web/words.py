"""Names of kinds, states and labels in the language of the request, and the texts of the scripts."""

from collections.abc import Mapping
from typing import Any

from app.alerts.hook import TITLES
from app.alerts.marks import Verdict
from app.capture.capture import SourceState
from app.core.text import REASONS
from app.core.translation import gettext, marked, ngettext, pgettext
from app.core.types import EventKind, Label
from app.web.people import Role

KIND_NAMES = TITLES | {  # shorter where a page has little room
    EventKind.INCORRECT: marked("Worn wrong"),
    EventKind.PART_RECOVERED: marked("Part back"),
    EventKind.OCCUPANCY_REACHED: marked("Limit reached"),
    EventKind.OCCUPANCY_BELOW: marked("Below limit"),
}
LABEL_NAMES = {
    Label.MASK: marked("Mask"),
    Label.NO_MASK: marked("No mask"),
    Label.INCORRECT: marked("Worn wrong"),
    Label.UNSURE: marked("Unsure"),
}
STATE_NAMES = {
    SourceState.CONNECTING: marked("Connecting"),
    SourceState.LIVE: marked("Live"),
    SourceState.STALE: marked("Stale"),
    SourceState.RECONNECTING: marked("Reconnecting"),
    SourceState.ENDED: marked("Ended"),
    SourceState.FAILED: marked("Failed"),
    SourceState.STANDBY: marked("Standby"),
}
ROLE_NAMES = {Role.VIEWER: marked("viewer"), Role.OPERATOR: marked("operator"), Role.ADMIN: marked("admin")}
CHANNEL_STATES = {"ok": marked("ok"), "sending": marked("sending"), "retrying": marked("retrying")}
NODE_STATES = {
    "online": marked("online"),
    "offline": marked("offline"),
    "node offline": marked("node offline"),
    "not reported": marked("not reported"),
}
VERDICT_NAMES = {
    Verdict.RIGHT: marked("Right"),
    Verdict.NO_FACE: marked("No face"),
    Verdict.WRONG_LABEL: marked("Wrong label"),
    Verdict.UNSURE: marked("Unsure"),
}


def page_words() -> dict[str, dict[str, str]]:
    """The names that templates use."""
    names: dict[str, Mapping[Any, str]] = {
        "kind_names": KIND_NAMES,
        "label_names": LABEL_NAMES,
        "state_names": STATE_NAMES,
        "role_names": ROLE_NAMES,
        "channel_states": CHANNEL_STATES,
        "fleet_states": {**STATE_NAMES, **NODE_STATES},
        "verdicts": VERDICT_NAMES,
    }
    return {name: {key: gettext(text) for key, text in table.items()} for name, table in names.items()}


def script_words() -> dict[str, object]:
    """The texts of the scripts. ``{0}``, ``{1}`` and so on are the places of values."""
    words = page_words()
    one, two = "{0}", "{1}"
    return {
        "kinds": words["kind_names"],
        "states": {**words["fleet_states"], "playing": gettext("Playing")},
        "channels": words["channel_states"],
        "labels": words["label_names"],
        "verdicts": words["verdicts"],
        "reasons": {code: gettext(text) for code, text in REASONS.items()},
        "people": ngettext("%(num)s person", "%(num)s people", 2, num=one),
        "person": gettext("person %(number)s", number=one),
        "percent": gettext("%(number)s %%", number=one),
        "seconds": gettext("%(number)s s", number=one),
        "minutes": gettext("%(number)s min", number=one),
        "hours": gettext("%(hours)s h %(minutes)s min", hours=one, minutes=two),
        "age": gettext(", %(time)s old", time=one),
        "old": gettext("This image is %(time)s old.", time=one),
        "acknowledged": pgettext("alert", "Acknowledged"),
        "connected": gettext("Connected"),
        "lost": gettext("No connection"),
        "play": gettext("Play video"),
        "pause": gettext("Pause video"),
        "silent": gettext("maskwatch does not respond. Check that it is running."),
        "refused": gettext("This was not possible: %(reason)s", reason=one),
        "tested": gettext("Every channel has sent the test alert."),
        "failed": gettext("The test alert failed: %(channels)s. The reason is below.", channels=one),
        "sent": gettext("%(channel)s: sent", channel=one),
        "unsent": gettext("Failed: %(channel)s: %(reason)s", channel=one, reason=two),
        "stored": gettext("%(verdict)s: stored.", verdict=one),
        "live": gettext("%(live)s of %(count)s live", live=one, count=two),
        "found": gettext("%(found)s of %(count)s cameras, sites: %(sites)s", found=one, count=two, sites="{2}"),
        "corner": gettext("%(shape)s, corner %(number)s", shape=one, number=two),
    }
