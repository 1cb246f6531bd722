"""May this name connect, may it use this topic: for brokers that ask, message by message.

Whatever is not allowed is refused: names nobody knows, devices that are switched off, rules that do not fit.
What is known of a name is kept for a few seconds and forgotten at once when the database tells of a change, so
that a busy broker costs no read for each message; names that nobody knows are kept as well.

Invariant: what was read before a change is never kept after it.
"""

import asyncio
import hmac
import re
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

import asyncpg

from iotistic.control.broker import repository
from iotistic.control.broker.model import ALL_ACCESS, Access, Rule
from iotistic.control.broker.repository import DeviceAccount
from iotistic.kernel.mosquitto.agent_rights import agent_rules
from iotistic.kernel.mosquitto.passwords import is_password, password_hash
from iotistic.kernel.postgres.pool import database_errors
from iotistic.kernel.web.auth import digest

_MOST_KEPT = 10_000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_DEVICE = "device_"
_WORDS = {
    "read": Access.READ | Access.SUBSCRIBE,
    "write": Access.WRITE,
    "readwrite": ALL_ACCESS,
}
# Compared with when nobody has the name, so that the time taken does not tell.
_NOBODY = password_hash("nobody", iterations=101, salt=b"nobody-nobody")


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of one name."""

    rules: tuple[Rule, ...] = ()
    is_superuser: bool = False
    password_hash: str = field(default="", repr=False)
    password_digest: bytes = field(default=b"", repr=False)

    def has_password(self, presented: str) -> bool:
        """Whether this is the password; a name without one has none that fits. Takes milliseconds."""
        if self.password_digest:
            return hmac.compare_digest(self.password_digest, digest(presented))
        return is_password(self.password_hash or _NOBODY, presented) and bool(self.password_hash)


_STRANGER = Standing()


class AccessJudge:
    """Decides for brokers that ask."""

    def __init__(
        self, pool: asyncpg.Pool, *, keeps_s: float = 10.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._pool, self._keeps_s, self._clock = pool, keeps_s, clock
        self._known: OrderedDict[str, tuple[float, Standing]] = OrderedDict()
        self._changes = 0

    def forget(self) -> None:
        """Forget everything: something has changed."""
        self._changes += 1
        self._known.clear()

    async def may_connect(self, username: str, password: str) -> bool:
        """Whether the password is that of the name. Raises DatabaseUnavailable."""
        standing = await self._standing(username)
        presented = password.encode("utf-8", "replace").decode()
        return await asyncio.to_thread(standing.has_password, presented)

    async def is_superuser(self, username: str) -> bool:
        """Whether the name may everything. Raises DatabaseUnavailable."""
        return (await self._standing(username)).is_superuser

    async def may(self, username: str, client_id: str, asked: int, topic: str) -> bool:
        """Whether one rule of the name allows all that is asked (bits). Raises DatabaseUnavailable."""
        if not 1 <= asked <= ALL_ACCESS:
            return False
        standing = await self._standing(username)
        return standing.is_superuser or any(
            rule.allows(Access(asked), topic, username=username, client_id=client_id)
            for rule in standing.rules
        )

    async def _standing(self, username: str) -> Standing:
        if not _NAME.fullmatch(username):
            return _STRANGER
        until, standing = self._known.get(username, (0.0, _STRANGER))
        if until > self._clock():
            return standing
        changes = self._changes
        standing = await self._look_up(username)
        if changes == self._changes:
            self._keep(username, standing)
        return standing

    def _keep(self, username: str, standing: Standing) -> None:
        self._known[username] = (self._clock() + self._keeps_s, standing)
        self._known.move_to_end(username)
        if len(self._known) > _MOST_KEPT:
            self._known.popitem(last=False)

    async def _look_up(self, username: str) -> Standing:
        is_certified = bool(_UUID.fullmatch(username))
        with database_errors():
            if username.startswith(_DEVICE) or is_certified:
                name = f"{_DEVICE}{username}" if is_certified else username
                devices = await repository.device_accounts(self._pool, username=name)
                return _device(devices[0], is_certified=is_certified) if devices else _STRANGER
            users = await repository.users(self._pool, name=username)
        if not users or not users[0].is_active:
            return _STRANGER
        user = users[0]
        rules = tuple(Rule(acl.topic, acl.access) for acl in user.acls)
        return Standing(rules, user.is_superuser, password_hash=user.password_hash)


def _device(account: DeviceAccount, *, is_certified: bool) -> Standing:
    """Return what a device may do; under its uuid alone it comes with a certificate, never with a password."""
    rules = tuple(Rule(topic, _WORDS[access]) for access, topic in agent_rules(account.uuid))
    return Standing(rules, password_digest=b"" if is_certified else account.digest)
