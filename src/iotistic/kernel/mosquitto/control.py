"""What another process may ask of the running broker: a new revocation list, and clients to leave.

The certificate authority uses it. Order matters when a certificate is revoked: `apply_crl` first, then
`disconnect`, so that the device that is put off cannot come back. The broker finds the list by itself, at
the next handshake.
"""

import asyncio
import os
import signal
from collections.abc import Iterable
from pathlib import Path

import structlog

from iotistic.kernel.engines import engine_folder
from iotistic.kernel.files import write_atomic
from iotistic.kernel.home import Home
from iotistic.kernel.mosquitto.accounts import AccountFiles
from iotistic.kernel.mosquitto.config import BrokerFiles
from iotistic.kernel.mosquitto.handshake import ServiceAccess, visit
from iotistic.kernel.mosquitto.put_off import PutOffClients
from iotistic.kernel.mosquitto.revocations import RevocationFolder
from iotistic.kernel.mosquitto.server import ENGINE
from iotistic.kernel.process import Account, service_account

_log = structlog.get_logger()
_AT_ONCE = 50
# A device in the middle of its handshake while the list was written is let in under the old one; the second
# round finds it.
_SECOND_ROUND_AFTER_S = 0.5


class BrokerControl:
    """Control over the broker of `home`; the caller runs under the user that started the broker."""

    def __init__(self, home: Home, access: ServiceAccess) -> None:
        self._account: Account | None = service_account()
        self._files = BrokerFiles(engine_folder(home, ENGINE, self._account))
        self._access = access
        self._owner = self._account.owner if self._account else None
        self._revoked = RevocationFolder(self._files.revoked, owner=self._owner)
        self._put_off = PutOffClients(self._files.put_off, owner=self._owner)
        self.accounts = AccountFiles(self._files.folder, owner=self._owner)

    async def apply_crl(self, pem: bytes) -> bool:
        """Put a revocation list in force; return False when no broker runs, which reads it at its start.

        A start copies the list from the authority's own file, so that one is written before this is called.
        """
        await asyncio.to_thread(self._write_crl, pem)
        return running_broker(self._files) is not None

    def save(self) -> bool:
        """Let the broker save now; return False when none runs.

        A reader calls it once subscribed: a new session that no save has seen yet is forgotten by
        `kill -9`, and until it is made again the broker acknowledges messages that nobody gets.
        """
        return self._signal(signal.SIGUSR1)

    def ask_restart(self) -> bool:
        """Let the broker save and end, and be started by whoever keeps it, with all files made anew.

        Return False when none runs, or one is just being started: ask again, unless that start has read the files.
        """
        if running_broker(self._files) is None or not self.accounts.is_ready:
            return False
        self.accounts.ask_restart()
        return self._signal(signal.SIGTERM)

    async def disconnect(self, client_ids: Iterable[str]) -> int:
        """End the connections and sessions of clients by taking each over and leaving; return how many.

        A device that still may connect will come back. Raises BrokerUnavailable, BrokerRefused.
        """
        clients = list(client_ids)
        await asyncio.to_thread(self._put_off.add, clients)
        await self._take_over(clients)
        await asyncio.sleep(_SECOND_ROUND_AFTER_S)
        await self._take_over(clients)
        _log.info("broker.clients_disconnected", count=len(clients))
        return len(clients)

    async def end_sessions(self, client_ids: Iterable[str]) -> None:
        """Forget the sessions of clients that may not connect any more, with what waits for them."""
        await self._take_over(list(client_ids))

    async def _take_over(self, clients: list[str]) -> None:
        gate = asyncio.Semaphore(_AT_ONCE)

        async def one(client: str) -> None:
            async with gate:
                await visit(self._access, client_id=client)

        await asyncio.gather(*map(one, clients))

    def _write_crl(self, pem: bytes) -> None:
        write_atomic(self._files.crl, pem, owner=self._owner)
        self._revoked.add(pem)

    def _signal(self, number: signal.Signals) -> bool:
        pid = running_broker(self._files)
        if pid is None:
            return False
        os.kill(pid, number)
        return True


class WatchedBroker(BrokerControl):
    """Control over a broker in another container, which shares its folder with us."""

    async def apply_crl(self, pem: bytes) -> bool:
        """Put a revocation list in force; whether a broker runs is not seen from here."""
        await asyncio.to_thread(self._write_crl, pem)
        return True

    def ask_restart(self) -> bool:
        """Leave the wish for a start where whoever keeps the broker finds it."""
        self.accounts.ask_restart()
        return True


def running_broker(files: BrokerFiles) -> int | None:
    """Return the process id of the broker that wrote the pid file, None when it is gone.

    The process is looked at, because a number may have gone to another program since.
    """
    try:
        pid = int(files.pid.read_text(encoding="ascii"))
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return None
    return pid if os.fsencode(files.config) in words else None
