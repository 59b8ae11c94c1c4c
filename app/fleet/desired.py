"""What the hub wants of each site: written here, read by the nodes (``app/fleet/agent.py``)."""

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from app.core.errors import HookError
from app.fleet.messages import DESIRED, MODELS, Desired, Revision

if TYPE_CHECKING:
    from nats.js import JetStreamContext

TRIES = 10


async def change_desired(stream: "JetStreamContext", site: str, change: Callable[[Desired], Desired]) -> Desired:
    """Writes what ``change`` makes of the present value, and returns the value before. Raises HookError."""
    from nats.errors import Error
    from nats.js.errors import KeyWrongLastSequenceError

    for _ in range(TRIES):
        old, number = await _read(stream, site)
        try:
            bucket = await stream.key_value(DESIRED)
            await bucket.update(site, change(old).model_dump_json().encode(), last=number)
            return old
        except KeyWrongLastSequenceError:  # another command was first
            continue
        except (Error, TimeoutError) as error:
            raise HookError(f"cannot write what {site} is to use: {error}") from error
    raise HookError(f"cannot write what {site} is to use: other commands write it too; try again")


async def _read(stream: "JetStreamContext", site: str) -> tuple[Desired, int]:
    from nats.errors import Error
    from nats.js.errors import KeyNotFoundError

    try:
        entry = await (await stream.key_value(DESIRED)).get(site)
        return Desired.model_validate_json(entry.value or b"{}"), entry.revision or 0
    except KeyNotFoundError:
        return Desired(), 0
    except (Error, TimeoutError, ValueError) as error:
        raise HookError(f"cannot read what {site} is to use: {error}") from error


async def store_model(stream: "JetStreamContext", content: bytes) -> Revision:
    """Stores the model under its SHA-256, unless it is there: nodes may be reading it. Raises HookError."""
    from nats.errors import Error
    from nats.js.errors import NotFoundError

    name = hashlib.sha256(content).hexdigest()
    try:
        models = await stream.object_store(MODELS)
        try:
            stored = await models.get_info(name)
        except NotFoundError:
            stored = await models.put(name, content)
    except (Error, TimeoutError) as error:
        raise HookError(f"cannot store the model: {error}") from error
    return Revision(content=name, nuid=stored.nuid, size=len(content))
