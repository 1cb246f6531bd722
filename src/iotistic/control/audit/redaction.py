"""What is left out of the trail: secrets and personal data, by the names of fields and by what values are. Pure.

    a name        password, token, key, secret, ...            -> "[secret]"
                  email, full_name, phone, ...                 -> "[personal]"
                  environment of a service: every value        -> "[secret]"
    a type        pydantic secrets, bytes, private keys        -> "[secret]"
    a look        PEM, JWT, our own keys, URL with a password  -> "[secret]",  mail addresses -> "[personal]"

That something left out was changed can still be seen: `after` then says "[secret, changed]".
"""

import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from enum import Enum
from typing import cast
from uuid import UUID

from pydantic import BaseModel, SecretBytes, SecretStr
from pydantic.types import Secret

SECRET, PERSONAL = "[secret]", "[personal]"

_SECRET_NAME = re.compile(
    r"pass(word|wd|phrase)?$|password|secret|token|api_?key|private_?key|device_?key|provisioning_?key$|credential"
    r"|authorization|cookie|digest|signature|challenge|psk|(^|_)(key|hash|pin|otp)$",
    re.IGNORECASE,
)
# Names that sound like secrets and say what a row is, or when it ends.
_HARMLESS_NAME = re.compile(
    r"(_|^)(id|ids|at|by|count|name|type|days|expires|expires_at|must_change_password)$"
)
_PERSONAL_NAME = re.compile(
    r"e?_?mail(_address)?$|(full|first|last|given|family|sur)_?name$|phone|birth|street|postal|iban",
    re.IGNORECASE,
)
_SECRET_MAPS = frozenset({"environment", "env"})
_SECRET_LOOK = re.compile(
    r"-----BEGIN [A-Z ]*(PRIVATE KEY|CERTIFICATE REQUEST)|\beyJ[\w-]{8,}\.[\w-]+\.[\w-]*|\biot[a-z]?_\w{8,}"
    r"|\$(argon2id|2[abxy])\$|[a-z][a-z0-9+.-]*://[^\s/:@]*:[^\s/@]+@"
)
_MAIL = re.compile(r"[^@\s<>\"']{1,64}@[^@\s<>\"']+\.[A-Za-z]{2,}")
_DEEPEST = 24
_MOST_BYTES = 64 * 1024


def redacted(before: object, after: object) -> tuple[object, object]:
    """Return both as JSON values without what is to be left out; None stays None."""
    old, new = _cleaned(before, "", 0), _cleaned(after, "", 0)
    if before is not None and after is not None:
        new = _marked(_plain(before), _plain(after), new)
    return _limited(old), _limited(new)


def clean(value: object) -> object:
    """Return a JSON value without what is to be left out."""
    return _limited(_cleaned(value, "", 0))


def is_secret_name(name: str) -> bool:
    """Whether a field of this name is left out."""
    snake = _snake(name)
    return bool(_SECRET_NAME.search(snake)) and not _HARMLESS_NAME.search(snake)


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).replace("-", "_").lower()


def _cleaned(value: object, name: str, depth: int) -> object:
    if value is None or isinstance(value, bool):
        return value
    if mark := _left_out(value, name):
        return mark
    value = _plain(value)
    if not isinstance(value, Mapping | list | tuple | set | frozenset):
        return _scalar(value)
    if depth > _DEEPEST:
        return "[too deep]"
    is_secret = name.lower() in _SECRET_MAPS
    if isinstance(value, Mapping):
        fields = cast("Mapping[object, object]", value)
        return {
            _text(key): SECRET if is_secret else _cleaned(item, str(key), depth + 1)
            for key, item in fields.items()
        }
    items = cast("Iterable[object]", value)
    return [SECRET if is_secret else _cleaned(item, "", depth + 1) for item in items]


def _left_out(value: object, name: str) -> str:
    """Return what stands in the place of a value by its type or its name; empty for what stays."""
    if isinstance(value, SecretStr | SecretBytes | Secret | bytes | bytearray | memoryview):
        return SECRET
    if is_secret_name(name):
        return SECRET
    return PERSONAL if _PERSONAL_NAME.search(_snake(name)) else ""


def _plain(value: object) -> object:
    """Return a mapping for what has fields."""
    if isinstance(value, BaseModel):
        return {name: getattr(value, name) for name in type(value).model_fields}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return value


def _scalar(value: object) -> object:
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, datetime | timedelta):
        return value.isoformat() if isinstance(value, datetime) else value.total_seconds()
    if isinstance(value, int | float):
        return value if isinstance(value, int) or math.isfinite(value) else str(value)
    if not isinstance(value, str | UUID):
        # A type that we do not know may hold anything: its name is enough.
        return f"[{type(value).__name__}]"
    text = _text(value)
    return SECRET if _SECRET_LOOK.search(text) else _MAIL.sub(PERSONAL, text)


def _text(value: object) -> str:
    """Return a text that the database takes: no NUL, no half characters."""
    return str(value).replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def _marked(old: object, new: object, shown: object) -> object:
    """Say of what is left out whether it is another than before."""
    if shown in (SECRET, PERSONAL):
        return shown if _same(old, new) else f"{str(shown)[:-1]}, changed]"
    old, new = _plain(old), _plain(new)
    if not isinstance(shown, dict) or not isinstance(old, Mapping) or not isinstance(new, Mapping):
        return cast("object", shown)
    were, are = cast("Mapping[object, object]", old), cast("Mapping[object, object]", new)
    named = {_text(key): key for key in are}
    fields = cast("dict[str, object]", shown)
    return {
        key: _marked(were.get(named[key]), are.get(named[key]), item) if named.get(key) in were else item
        for key, item in fields.items()
    }


def _same(old: object, new: object) -> bool:
    if isinstance(old, SecretStr | SecretBytes) and isinstance(new, SecretStr | SecretBytes):
        return old.get_secret_value() == new.get_secret_value()
    return old == new


def _limited(value: object) -> object:
    """Replace what is too large by its size and name: an entry is no archive."""
    text = json.dumps(value, separators=(",", ":"))
    if len(text) <= _MOST_BYTES:
        return value
    return {"left_out": "too large", "bytes": len(text), "sha256": hashlib.sha256(text.encode()).hexdigest()}
