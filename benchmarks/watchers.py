"""Two who look at one device: one listens to the stream, one asks for its latest values again and again.

Both note when they saw which reading. A reading bears the time at which it was due to be published, so
the difference is the latency that a person would see.
"""

import http.client
import json
import re
import threading
import time
from datetime import datetime
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import numpy as np

_PREFIX = "/api/v1/telemetry"
_TIME = re.compile(rb'"timestamp":"([^"]+)Z"')
_ASK_EVERY_S = 0.01
_TIMEOUT_S = 20.0


class Watcher(threading.Thread):
    """A thread that watches until the end of the block."""

    def __init__(self, base_url: str, token: str, device: str) -> None:
        super().__init__(daemon=True)
        address = urlsplit(base_url)
        self.connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=_TIMEOUT_S)
        self.headers = {"Authorization": f"Bearer {token}"}
        self.device = device
        self.closing = threading.Event()
        self.watching = threading.Event()
        self.failure: Exception | None = None

    def __enter__(self) -> Self:
        self.start()
        if not self.watching.wait(_TIMEOUT_S):
            raise TimeoutError(f"{type(self).__name__} did not begin to watch") from self.failure
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.closing.set()
        self.join(_TIMEOUT_S)
        self.connection.close()
        if self.failure is not None and exc is None:
            raise self.failure

    def run(self) -> None:
        """Watch, and keep what went wrong for `__exit__`."""
        try:
            self.watch()
        except (OSError, http.client.HTTPException, RuntimeError) as failure:
            self.failure = failure

    def watch(self) -> None:
        """Look until `closing` is set."""
        raise NotImplementedError

    def get(self, path: str) -> http.client.HTTPResponse:
        """Ask; raise RuntimeError for an answer other than 200."""
        self.connection.request("GET", _PREFIX + path, headers=self.headers)
        answer = self.connection.getresponse()
        if answer.status != http.HTTPStatus.OK:
            raise RuntimeError(f"{path}: {answer.status} {answer.read(500)!r}")
        return answer


class StreamWatcher(Watcher):
    """Listens to the server-sent events of one device."""

    def __init__(self, base_url: str, token: str, device: str) -> None:
        super().__init__(base_url, token, device)
        self._seen: list[tuple[float, list[bytes]]] = []

    def watch(self) -> None:
        """Collect what the stream says."""
        answer = self.get(f"/stream?device={self.device}")
        rest = b""
        while not self.closing.is_set():
            octets = rest + answer.read1(1 << 16)
            self.watching.set()
            end = octets.rfind(b"\n") + 1
            rest = octets[end:]
            if found := _TIME.findall(octets[:end]):
                self._seen.append((time.time(), found))

    def latencies_ms(self, since_us: int) -> list[float]:
        """Return a latency for each reading published from then on."""
        seen = [(at, text) for at, texts in self._seen for text in texts]
        times_us = _microseconds([text.decode() for _, text in seen])
        arrived_us = np.array([at for at, _ in seen]) * 1e6
        return ((arrived_us - times_us)[times_us >= since_us] / 1000).tolist()


class LatestWatcher(Watcher):
    """Asks for the latest values of one device every 10 ms, as a poller would see them."""

    def __init__(self, base_url: str, token: str, device: str) -> None:
        super().__init__(base_url, token, device)
        self._answers: list[tuple[float, float]] = []

    def watch(self) -> None:
        """Collect what each answer says."""
        while not self.closing.wait(_ASK_EVERY_S):
            items = json.loads(self.get(f"/devices/{self.device}/latest").read())["items"]
            newest = max(datetime.fromisoformat(item["timestamp"]).timestamp() for item in items)
            self._answers.append((time.time(), newest))
            self.watching.set()

    def latencies_ms(self, due_us: np.ndarray) -> list[float]:
        """Return for each reading the time from when it was due to the first answer that has it, or a newer one."""
        answered_us = np.array([at for at, _ in self._answers]) * 1e6
        newest_us = np.maximum.accumulate(np.array([newest for _, newest in self._answers]) * 1e6 + 1)
        first = np.searchsorted(newest_us, due_us)
        seen = first < len(answered_us)
        return ((answered_us[first[seen]] - due_us[seen]) / 1000).tolist() + [float("inf")] * int(
            (~seen).sum()
        )


def _microseconds(texts: list[str]) -> np.ndarray:
    return np.array(texts, dtype="datetime64[us]").astype(np.int64)
