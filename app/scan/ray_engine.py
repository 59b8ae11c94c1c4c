"""The engine for clusters: each shard is one Ray task. Placement, autoscaling and dead machines are left to Ray.

Ray runs whatever reaches its ports, so a token is always required, and usage statistics are turned off.
"""

import logging
import os
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from app.core.errors import SettingsError
from app.scan.worker import Outcome, Task, perform

_POLL_S = 1.0
_WAITING = 16
"""Tasks that wait for a free core, so that an autoscaler adds machines."""
_LIMIT_S, _LIMIT_FACTOR = 1200.0, 5.0
"""A shard may take this time plus this many times its length; then its task is cancelled."""
_TOKEN_VARIABLES = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")


def has_token() -> bool:
    """Whether Ray finds a token: in the environment, or in the file that 'ray get-auth-token --generate' writes."""
    return any(os.environ.get(name) for name in _TOKEN_VARIABLES) or (Path.home() / ".ray" / "auth_token").is_file()


class RayEngine:
    """``address``: of a cluster, or '' for this machine alone. ``workers``: most tasks at a time; None: all cores."""

    def __init__(self, address: str, workers: int | None) -> None:
        """Raises SettingsError if Ray is missing, the cluster cannot be reached, or there is no token for it."""
        os.environ.update(RAY_AUTH_MODE="token", RAY_USAGE_STATS_ENABLED="0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        if address and not has_token():
            raise SettingsError(
                f"no token for {address}: Ray runs whatever reaches its ports; start the cluster with "
                "RAY_AUTH_MODE=token and set RAY_AUTH_TOKEN here"
            )
        try:
            import ray
        except ImportError as error:
            raise SettingsError(
                "--engine ray needs Ray: pip install 'maskwatch[ray]' (from a checkout: pip install '.[ray]')"
            ) from error
        options: dict[str, Any] = {"address": address} if address else {"num_cpus": workers, "include_dashboard": False}
        try:
            ray.init(**options, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            reason = str(error).splitlines()[0]
            raise SettingsError(f"cannot start Ray at {address or 'this machine'}: {reason}; check it") from error
        self._ray = ray
        self._workers = workers
        self._perform = ray.remote(num_cpus=1, max_retries=0)(perform)

    def run(self, tasks: deque[Task]) -> Iterator[Outcome]:
        """See ``Engine``. A task whose machine or process dies has an error as its outcome. Raises SettingsError if Ray
        itself ends: no task is to blame."""
        ray = self._ray
        running: dict[Any, tuple[Task, float]] = {}
        while tasks or running:
            most = self._workers or int(ray.cluster_resources().get("CPU", 1)) + _WAITING
            while tasks and len(running) < most:
                task = tasks.popleft()
                running[self._perform.remote(task)] = task, time.monotonic()
            ready, _ = ray.wait(list(running), timeout=_POLL_S)
            for reference in ready:
                task, _ = running.pop(reference)
                yield self._outcome(task, reference)
            now_s = time.monotonic()
            for reference, (task, started_s) in list(running.items()):
                if now_s - started_s > _LIMIT_S + _LIMIT_FACTOR * task.shard.length_s:
                    ray.cancel(reference, force=True)
                    running.pop(reference)
                    yield Outcome(task, error=f"not ready after {now_s - started_s:.0f} s; check its machine")

    def _outcome(self, task: Task, reference: Any) -> Outcome:
        errors = self._ray.exceptions
        try:
            outcome: Outcome = self._ray.get(reference)
        except (errors.LocalRayletDiedError, errors.RaySystemError, errors.RpcError) as error:
            reason = str(error).splitlines()[0]
            raise SettingsError(f"Ray has ended: {reason}; continue with 'maskwatch scan resume'") from error
        except errors.RayError as error:
            return Outcome(task, error=f"its task died: {str(error).splitlines()[0]}")
        return outcome

    def close(self) -> None:
        self._ray.shutdown()
