"""Users of the broker and their rules.

Names are kept apart from names that mean something else to a broker: a device's uuid or MAC (the CN of its
certificate, which patterns are made of), accounts of agents (`device_<uuid>`), and our own services.
"""

import re
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntFlag

from iotistic.control.broker.topics import check_filter, covers, matches, substitute
from iotistic.kernel.errors import Conflict, Invalid, NotFound

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}")
_RESERVED = re.compile(
    r"iotistic.*|device_.*|(.*-)?(ingest|connector)-\d+|backlog.*|pki"
    r"|[0-9a-f]{12}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    re.IGNORECASE,
)
_LEAST_PASSWORD, _MOST_PASSWORD = 8, 256


class UsernameInvalid(Invalid):
    """This name cannot be given to a user of the broker."""

    code = "mqtt.username_invalid"


class PasswordInvalid(Invalid):
    """This password cannot be used."""

    code = "mqtt.password_invalid"


class AccessInvalid(Invalid):
    """A rule allows 1 (read), 2 (write), 4 (subscribe), or a sum of them."""

    code = "mqtt.access_invalid"


class UserExists(Invalid):
    """There is a user of this name already."""

    code = "mqtt.user_exists"


class AclExists(Conflict):
    """This user has a rule for this topic already."""

    code = "mqtt.acl_exists"


class UserUnknown(NotFound):
    """There is no such user of the broker."""

    code = "mqtt.user_unknown"


class AclUnknown(NotFound):
    """There is no such rule."""

    code = "mqtt.acl_unknown"


class TooMany(Conflict):
    """There are as many as there may be."""

    code = "mqtt.too_many"


class Access(IntFlag):
    """What a rule allows, and what is asked for."""

    READ = 1
    WRITE = 2
    SUBSCRIBE = 4


ALL_ACCESS = Access.READ | Access.WRITE | Access.SUBSCRIBE


@dataclass(frozen=True, kw_only=True, slots=True)
class Acl:
    """One rule of one user."""

    id: int
    user_id: int
    topic: str
    access: Access
    priority: int
    created_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class MqttUser:
    """A user of the broker, with the rules of this name."""

    id: int
    username: str
    password_hash: str = field(repr=False)
    is_superuser: bool
    is_active: bool
    created_at: datetime
    updated_at: datetime
    acls: tuple[Acl, ...] = ()


@dataclass(frozen=True, slots=True)
class Rule:
    """A topic filter, with %u and %c for names, and what it allows."""

    topic: str
    access: Access

    def allows(self, asked: Access, topic: str, *, username: str, client_id: str) -> bool:
        """Whether this alone allows all that is asked; a subscription is compared as a filter."""
        own = substitute(self.topic, username=username, client_id=client_id)
        if own is None or not asked or asked & ~self.access:
            return False
        if asked & Access.SUBSCRIBE:
            return covers(own, topic)
        return matches(own, topic)


def check_username(name: str) -> str:
    """Return a name that can be given. Raises UsernameInvalid."""
    if not _NAME.fullmatch(name):
        raise UsernameInvalid(
            "a name has 1 to 64 letters, digits, and . _ - @, and begins with a letter or digit"
        )
    if _RESERVED.fullmatch(name):
        raise UsernameInvalid(
            "this name belongs to devices or services", hint="choose another that is no uuid and no MAC"
        )
    return name


def check_password(password: str) -> str:
    """Return a password that a broker takes. Raises PasswordInvalid."""
    if not _LEAST_PASSWORD <= len(password) <= _MOST_PASSWORD or not password.isprintable():
        raise PasswordInvalid(f"a password has {_LEAST_PASSWORD} to {_MOST_PASSWORD} printable characters")
    return password


def check_topic(topic: str) -> str:
    """Return the filter of a rule. Raises FilterInvalid."""
    return check_filter(topic.strip())


def read_access(access: int | None, rw: int | None) -> Access:
    """Return what a rule allows, from our words or those of the earlier system. Raises AccessInvalid.

    `access` is the sum of bits. `rw` was a level: 1 read, 2 write, 3 both; who reads may subscribe.
    """
    if rw is not None and access is None:
        levels = {1: Access.READ | Access.SUBSCRIBE, 2: Access.WRITE, 3: ALL_ACCESS}
        if rw not in levels:
            raise AccessInvalid("rw is 1 (read), 2 (write) or 3 (both)")
        return levels[rw]
    if access is None or rw is not None or not 1 <= access <= ALL_ACCESS:
        raise AccessInvalid(hint="say access, as a sum of bits")
    return Access(access)
