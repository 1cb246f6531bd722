"""MQTT sessions of agents, as the broker's log tells of them, in its order.

    $SYS/broker/log/N -> line -> who, came or went -> gathered by client -> presence, in batches

- The log is written by the broker's one thread: whoever is said to have gone has no session from that line on until
  the next one that says he came. A session that is taken over ends without a line of its own.
- Of what waits to be written, only how it ended counts, so a storm costs each device one row.
- What cannot be written waits, and is merged with what comes.
"""

import re
from dataclasses import dataclass
from typing import Protocol

from iotistic.kernel.mosquitto.lines import LineReader, Refusal

LOG_TOPIC = "$SYS/broker/log/N"
"""Where Mosquitto publishes notices, with `log_dest topic`."""

_AGENT = re.compile(r"(?:device_)?([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})")
_STAMPED = re.compile(r"\d{9,}: ")
# What the broker says of sessions that stood; whoever was refused at the door had none.
_ENDED_BY_BROKER = frozenset({Refusal.PROTOCOL_ERROR, Refusal.PACKET_TOO_LARGE})
_BATCH = 500


@dataclass(frozen=True, slots=True)
class Heard:
    """What a line of the log says of an agent's session; `client` is its client id."""

    client: str
    uuid: str
    came: bool


class SessionLog:
    """Reads lines of the broker's log."""

    def __init__(self) -> None:
        self._lines = LineReader(device_port=0, patterns=())

    def read(self, line: str) -> Heard | None:
        """Return what a line says of an agent; None when it is about nothing of the kind."""
        stamp = _STAMPED.match(line)
        event = self._lines.read(line[stamp.end() :] if stamp else line)
        if event is None:
            return None
        client, username = str(event.fields.get("client")), event.fields.get("username")
        found = _AGENT.fullmatch(client)
        if found is None:
            return None
        match event.name:
            # A client id is free at the listener of services; a name is not.
            case "broker.client_connected" if username == client:
                return Heard(client, found[1], came=True)
            case "broker.client_disconnected":
                return Heard(client, found[1], came=False)
            case "broker.client_refused" if event.fields["reason"] in _ENDED_BY_BROKER:
                return Heard(client, found[1], came=False)
            case _:
                return None


class Attending(Protocol):
    """Who keeps presence (Presence)."""

    async def all_opened(self, uuids: list[str]) -> dict[str, int]:
        """Begin sessions; return their epochs."""
        ...

    async def all_closed(self, sessions: list[tuple[str, int | None]]) -> list[str]:
        """End sessions by their epochs."""
        ...


@dataclass(slots=True)
class _Waiting:
    uuid: str
    came: bool
    """A session began that is not written."""
    is_here: bool


class Sessions:
    """Which sessions began and ended, on their way to presence."""

    def __init__(self, presence: Attending) -> None:
        self._presence = presence
        self._epochs: dict[str, int] = {}
        self._waiting: dict[str, _Waiting] = {}

    @property
    def waiting(self) -> int:
        """How many clients have something to be written."""
        return len(self._waiting)

    def hear(self, heard: Heard) -> None:
        """Take a line in."""
        before = self._waiting.get(heard.client)
        came = heard.came or (before is not None and before.came)
        self._waiting[heard.client] = _Waiting(heard.uuid, came, heard.came)

    async def write(self) -> int:
        """Write down some of what waits; return how many clients. What fails waits on."""
        taken = self._take()
        opened = False
        try:
            await self._open({client: one.uuid for client, one in taken.items() if one.came})
            opened = True
            await self._close({client: one.uuid for client, one in taken.items() if not one.is_here})
        except BaseException:
            for client, one in taken.items():
                self._put_back(client, one, opened=opened)
            raise
        return len(taken)

    def _take(self) -> dict[str, _Waiting]:
        """Return a batch in which every device stands once: two of its sessions are two epochs."""
        taken: dict[str, _Waiting] = {}
        uuids: set[str] = set()
        for client, one in self._waiting.items():
            if len(taken) == _BATCH:
                break
            if one.uuid not in uuids:
                uuids.add(one.uuid)
                taken[client] = one
        for client in taken:
            del self._waiting[client]
        return taken

    async def _open(self, clients: dict[str, str]) -> None:
        epochs = await self._presence.all_opened(list(clients.values())) if clients else {}
        self._epochs.update((client, epochs[uuid]) for client, uuid in clients.items() if uuid in epochs)

    async def _close(self, clients: dict[str, str]) -> None:
        """End sessions; of one whose beginning was not heard, the device's newest is meant."""
        if clients:
            await self._presence.all_closed(
                [(uuid, self._epochs.get(client)) for client, uuid in clients.items()]
            )
        for client in clients:
            self._epochs.pop(client, None)

    def _put_back(self, client: str, one: _Waiting, *, opened: bool) -> None:
        came = one.came and not opened
        if (newer := self._waiting.get(client)) is not None:
            newer.came = newer.came or came
        elif came or not one.is_here:
            self._waiting[client] = _Waiting(one.uuid, came, one.is_here)
