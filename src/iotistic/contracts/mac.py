"""MAC addresses: accepted in the ways people and devices write them, kept in one."""

import re
from typing import NewType

from iotistic.kernel.errors import Invalid

Mac = NewType("Mac", str)
"""Twelve lower-case hex digits without separators: the CN of a device certificate."""

_FORMS = re.compile(r"(?:[0-9a-f]{2}([:-])(?:[0-9a-f]{2}\1){4}[0-9a-f]{2}|[0-9a-f]{12})")
_RESERVED = {"000000000000", "ffffffffffff"}


class MacInvalid(Invalid):
    """A MAC address has six bytes in hex: aa:bb:cc:dd:ee:ff, aa-bb-cc-dd-ee-ff or aabbccddeeff."""

    code = "mac.invalid"


def parse_mac(text: str) -> Mac:
    """Normalise `text` to a `Mac`; raise MacInvalid for anything that cannot name a device."""
    lowered = text.lower()
    if not _FORMS.fullmatch(lowered):
        raise MacInvalid(given=text[:64])
    digits = lowered.replace(":", "").replace("-", "")
    if digits in _RESERVED:
        raise MacInvalid("this MAC address is reserved and cannot name a device", given=text[:64])
    return Mac(digits)


def format_mac(mac: Mac) -> str:
    """Return the colon form, aa:bb:cc:dd:ee:ff."""
    return ":".join(mac[i : i + 2] for i in range(0, 12, 2))
