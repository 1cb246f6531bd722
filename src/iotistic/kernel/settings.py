"""Settings: frozen, one class per process, read once in its entrypoint and passed down.

A process composes its class from groups by inheritance (`class IngestSettings(HomeSettings,
DatabaseSettings)`). A field's name in capitals is its environment variable; its docstring gives unit
and reason, and the reference page is made from it. Any variable may be given as `NAME_FILE`, the path
of a file that holds the value, which is how secrets arrive. Every fault is reported at once.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from iotistic.kernel.errors import Invalid
from iotistic.kernel.settings_words import BaseModel, ConfigDict, ValidationError

_FILE_SUFFIX = "_FILE"


class SettingsInvalid(Invalid):
    """The settings have faults."""

    code = "settings.invalid"


class Settings(BaseModel):
    """Base of every settings group: what the environment does not say and no argument gives is the default."""

    # A group is only built when it is read by itself; most are parts of a process' class.
    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, hide_input_in_errors=True, defer_build=True
    )

    def __init__(self, **given: Any) -> None:
        """Take explicit arguments first, then the environment. Raises ValidationError and OSError."""
        missing = [name for name in type(self).model_fields if name not in given]
        super().__init__(**_found(missing, os.environ), **given)


def _found(fields: list[str], environ: Mapping[str, str]) -> dict[str, str]:
    """Return what the environment says: `NAME`, or the file that `NAME_FILE` points at; empty is not set."""
    found: dict[str, str] = {}
    for field in fields:
        name = field.upper()
        if value := environ.get(name):
            found[field] = value
        elif path := environ.get(name + _FILE_SUFFIX):
            found[field] = _content(Path(path))
    return found


def _content(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except UnicodeDecodeError as exc:
        raise OSError(f"{path} is not text in UTF-8") from exc


S = TypeVar("S", bound=Settings)


def load_settings(settings_cls: type[S], **overrides: object) -> S:
    """Read `settings_cls` from the environment; `overrides` (command line options) win when not None.

    Raises SettingsInvalid naming every faulty variable at once.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        return settings_cls(**given)
    except ValidationError as exc:
        faults = {
            ".".join(str(part) for part in fault["loc"]).upper(): fault["msg"] for fault in exc.errors()
        }
        listed = "\n".join(f"  {name}: {reason}" for name, reason in faults.items())
        raise SettingsInvalid(f"{len(faults)} setting(s) have faults:\n{listed}", faults=faults) from exc
    except OSError as exc:
        raise SettingsInvalid(f"a setting's file cannot be read: {exc}") from exc
