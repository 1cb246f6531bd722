"""How requests name a device, and how a page remembers where it ended."""

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

import msgspec

from iotistic.contracts.mac import Mac, MacInvalid, parse_mac
from iotistic.kernel.errors import Conflict, Invalid, NotFound
from iotistic.telemetry.query.times import LATEST, to_us

_MOST_INTEGER = 2**31 - 1
_UUID = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}")

CursorKey = int | str
"""A part of a keyset: an id, microseconds since the epoch, or a text."""


class Key(StrEnum):
    """What a part of a keyset is."""

    ID = "id"
    SERIAL = "serial"
    TIME = "time"
    TEXT = "text"


_INTEGER_KEYS = {
    Key.ID: (-1, _MOST_INTEGER),
    Key.SERIAL: (0, 2**63 - 1),
    Key.TIME: (0, to_us(LATEST)),
}
_cursor_decoder = msgspec.json.Decoder(tuple[str, list[CursorKey]])


class DeviceUnknown(NotFound):
    """There is no such device."""

    code = "device.unknown"


class DeviceAmbiguous(Conflict):
    """Several devices have this name."""

    code = "device.ambiguous"


class DatapointUnknown(NotFound):
    """The device has no such datapoint."""

    code = "datapoint.unknown"


class ParameterInvalid(Invalid):
    """A parameter of the request has a fault."""

    code = "request.invalid"

    @classmethod
    def of(cls, name: str, reason: str) -> "ParameterInvalid":
        """Blame one query parameter, in the form that faults of form are reported in."""
        return cls(f"query.{name}: {reason}", **{f"query.{name}": reason})


@dataclass(frozen=True)
class DeviceReference:
    """The ways in which one text may name a device; several can be meant at once.

    A device's name is not among them: it is looked at only when nothing else fits.
    """

    id: int | None
    mac: Mac | None
    uuid: UUID | None
    external_key: str | None

    @classmethod
    def of_id(cls, device_id: int) -> "DeviceReference":
        """Return the reference that means this device and no other."""
        return cls(id=device_id, mac=None, uuid=None, external_key=None)


def parse_device_reference(text: str) -> DeviceReference:
    """Read an integer id, a MAC in any accepted form (`f2-` in front or not), a uuid or an external key."""
    if "\0" in text or not text:
        raise DeviceUnknown
    try:
        mac = parse_mac(text.removeprefix("f2-"))
    except MacInvalid:
        mac = None
    return DeviceReference(
        id=parse_id(text),
        mac=mac,
        uuid=UUID(text) if _UUID.fullmatch(text) else None,
        external_key=text,
    )


def parse_id(text: str) -> int | None:
    """Return the id that `text` is, or None when it is none that the database can hold."""
    is_number = text.isascii() and text.isdigit() and len(text) <= len(str(_MOST_INTEGER))
    return int(text) if is_number and int(text) <= _MOST_INTEGER else None


def encode_cursor(kind: str, *keys: CursorKey) -> str:
    """Return an opaque, URL-safe text that `decode_cursor` understands."""
    return base64.urlsafe_b64encode(msgspec.json.encode((kind, keys))).decode().rstrip("=")


def decode_cursor(cursor: str, *kinds: str, keys: Sequence[Key]) -> tuple[str, list[CursorKey]]:
    """Return kind and keys of a cursor made for one of `kinds`; raise ParameterInvalid for anything else."""
    try:
        raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        kind, found = _cursor_decoder.decode(raw)
    except (binascii.Error, ValueError, msgspec.MsgspecError) as exc:
        raise ParameterInvalid.of("cursor", "take it unchanged from the answer before") from exc
    if kind not in kinds or len(found) != len(keys) or not all(map(_fits, found, keys)):
        raise ParameterInvalid.of("cursor", "it belongs to another list or another order")
    return kind, found


def _fits(value: CursorKey, key: Key) -> bool:
    """Say whether the database takes `value`, so that a forged cursor is the caller's fault, not ours."""
    if key is Key.TEXT:
        return isinstance(value, str) and "\0" not in value
    return isinstance(value, int) and _INTEGER_KEYS[key][0] <= value <= _INTEGER_KEYS[key][1]
