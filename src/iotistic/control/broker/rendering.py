"""Lines of Mosquitto's password file and access rules, made from accounts; pure.

The same accounts always give the same text, so that a difference is a change. Devices with a certificate have
no lines: patterns let them in (kernel/mosquitto/agent_rights.py), and a new one costs the broker nothing.
"""

import hashlib
import hmac
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from iotistic.control.broker.model import Access, Acl, MqttUser
from iotistic.control.broker.repository import DeviceAccount
from iotistic.control.broker.topics import substitute
from iotistic.kernel.mosquitto.agent_rights import agent_rules
from iotistic.kernel.mosquitto.passwords import password_hash
from iotistic.kernel.web.auth import digest

_SALT_BYTES = 12
_WORDS = {Access.READ: "read", Access.WRITE: "write", Access.READ | Access.WRITE: "readwrite"}
_EVERYTHING = ("topic readwrite #", "topic read $SYS/#")


class DevicePasswords(Protocol):
    """Knows the passwords of devices, which are derived and kept nowhere."""

    def mqtt_password(self, uuid: str, registration: str) -> str:
        """Return the password that a device was given."""
        ...


@dataclass(frozen=True, slots=True)
class AccountTexts:
    """What the broker is to be started with."""

    passwords: str = ""
    acl: str = ""

    @property
    def names(self) -> frozenset[str]:
        """Who may connect."""
        return frozenset(line.partition(":")[0] for line in self.passwords.splitlines())

    def takes_away_from(self, before: "AccountTexts") -> bool:
        """Whether somebody may less with this than with `before`, or has another password."""
        return not before._grants() <= self._grants()  # noqa: SLF001  its own class

    def _grants(self) -> frozenset[str]:
        user, grants = "", set(self.passwords.splitlines())
        for line in self.acl.splitlines():
            if line.startswith("user "):
                user = line
            else:
                grants.add(f"{user} {line}")
        return frozenset(grants)


class Renderer:
    """Writes the texts; hashes of devices' passwords are kept, as each takes a tenth of a millisecond."""

    def __init__(self, passwords: DevicePasswords) -> None:
        self._passwords = passwords
        self._hashes: dict[bytes, str] = {}
        self.unknown: list[str] = []
        """Devices whose password is not the one derived: the secret has changed since they registered."""

    def render(self, users: Iterable[MqttUser], devices: Iterable[DeviceAccount]) -> AccountTexts:
        """Return the texts for these accounts; those that are switched off are left out."""
        active = [user for user in users if user.is_active]
        plain = [device for device in devices if device.is_active and not device.has_certificate]
        hashes = {device.username: self._hash(device) for device in plain}
        self.unknown = [name for name, hashed in hashes.items() if not hashed]
        self._hashes = {device.digest: hashes[device.username] for device in plain}
        known = [device for device in plain if hashes[device.username]]
        passwords = [f"{user.username}:{user.password_hash}\n" for user in active]
        passwords += [f"{device.username}:{hashes[device.username]}\n" for device in known]
        rules = [line for user in active for line in _user_rules(user)]
        rules += [line for device in known for line in _device_rules(device)]
        return AccountTexts("".join(passwords), "".join(f"{line}\n" for line in rules))

    def _hash(self, device: DeviceAccount) -> str:
        if device.digest in self._hashes:
            return self._hashes[device.digest]
        plain = self._passwords.mqtt_password(device.uuid, device.registration)
        if not hmac.compare_digest(digest(plain), device.digest):
            return ""
        salt = hashlib.sha256(device.username.encode() + device.digest).digest()[:_SALT_BYTES]
        return password_hash(plain, salt=salt)


def _user_rules(user: MqttUser) -> Iterator[str]:
    yield f"user {user.username}"
    if user.is_superuser:
        yield from _EVERYTHING
        return
    for acl in user.acls:
        yield from _rule(acl, user.username)


def _rule(acl: Acl, username: str) -> Iterator[str]:
    # The broker grants every subscription and looks at each message instead: subscribing alone brings nothing.
    word = _WORDS.get(acl.access & ~Access.SUBSCRIBE)
    # Where accounts connect, the client id is the name.
    topic = substitute(acl.topic, username=username, client_id=username)
    if word and topic:
        yield f"topic {word} {topic}"


def _device_rules(device: DeviceAccount) -> Iterator[str]:
    yield f"user {device.username}"
    for access, topic in agent_rules(device.uuid):
        yield f"topic {access} {topic}"
