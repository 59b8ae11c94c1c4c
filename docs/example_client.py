"""Client of the API: cameras, events of the last day, new events. python example_client.py http://HOST:8080 [TOKEN]"""

import itertools
import json
import sys
import time
from collections import deque
from collections.abc import Iterator
from http.client import HTTPException
from typing import Any
from urllib.request import Request, urlopen

RETRY_S, SILENCE_S, OVERLAP_S = 3.0, 10.0, 600.0  # the stream says something each second; events may be stored late


class Client:
    def __init__(self, base: str, token: str = "") -> None:
        self._api = f"{base.rstrip('/')}/api/v1"
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def open(self, path: str) -> Any:
        return urlopen(Request(self._api + path, headers=self._headers), timeout=SILENCE_S)

    def get(self, path: str) -> Any:
        with self.open(path) as response:
            return json.load(response)

    def events(self, since_s: float) -> Iterator[dict[str, Any]]:
        """Each event since ``since_s`` (Unix time), then each new one, for ever, also after a lost connection."""
        seen: deque[str] = deque(maxlen=10_000)
        while True:
            try:
                with self.open("/stream") as lines:  # opened first, so that nothing is lost in between
                    old = self.get(f"/events?since={since_s:.0f}&limit=500")["events"][::-1]
                    for event in itertools.chain(old, _happenings(lines)):
                        if event["id"] not in seen:
                            seen.append(event["id"])
                            since_s = max(since_s, event["wall_s"] - OVERLAP_S)
                            yield event
            except (OSError, HTTPException) as error:
                print(f"no connection ({error}); trying again", file=sys.stderr)
            time.sleep(RETRY_S)


def _happenings(lines: Any) -> Iterator[dict[str, Any]]:
    kind = ""
    for line in lines:
        name, _, value = line.decode().strip().partition(": ")
        if name == "event":
            kind = value
        elif name == "data" and kind == "happening":
            yield json.loads(value)


if __name__ == "__main__":
    client = Client(*sys.argv[1:3])
    for camera in client.get("/status")["cameras"]:
        print(f"{camera['name']}: {camera['state']}, {camera['now']['no_mask']} without a mask", flush=True)
    for each in client.events(time.time() - 86_400):
        print(f"{each['at']} {each['camera']}: {each['kind']}", flush=True)
