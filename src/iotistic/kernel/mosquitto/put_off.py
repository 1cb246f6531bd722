"""Which clients were put off lately: those whose return means that they resumed a TLS session.

A TLS 1.2 session outlives the certificate that it was made with: resuming it, OpenSSL verifies nothing, and
no setting that Mosquitto or OpenSSL's configuration has turns that off. (For TLS 1.3 one does.) The sessions
are in the broker's memory for two hours, so a client that comes back within them is a reason to start the
broker anew. The certificate authority's process writes the file, the one that started the broker reads it.
"""

import json
import time
from collections.abc import Iterable
from pathlib import Path

from iotistic.kernel.files import write_atomic

SESSION_LIFE_S = 7200.0
"""How long OpenSSL lets a session be resumed."""


class PutOffClients:
    """The file of clients that were put off since the broker started."""

    def __init__(self, path: Path, *, owner: tuple[int, int] | None) -> None:
        self._path = path
        self._owner = owner
        self._read_at = 0
        self._clients: dict[str, float] = {}

    def clear(self) -> None:
        """Forget all: a broker that starts has no sessions."""
        self._path.unlink(missing_ok=True)
        self._clients, self._read_at = {}, 0

    def add(self, clients: Iterable[str]) -> None:
        """Remember clients."""
        self._read()
        now = time.time()
        recent = {client: at for client, at in self._clients.items() if now - at < SESSION_LIFE_S}
        content = json.dumps(recent | dict.fromkeys(clients, now))
        write_atomic(self._path, content, owner=self._owner)

    def __contains__(self, client: str) -> bool:
        """Whether the client was put off and may still hold a session; costs one `stat`."""
        self._read()
        return time.time() - self._clients.get(client, 0.0) < SESSION_LIFE_S

    def _read(self) -> None:
        try:
            changed_at = self._path.stat().st_mtime_ns
            if changed_at != self._read_at:
                self._clients = json.loads(self._path.read_text(encoding="utf-8"))
                self._read_at = changed_at
        except (OSError, ValueError):  # absent, or damaged: the thread that reads the broker's log goes on
            self._clients, self._read_at = {}, 0
