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

from pydantic import ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from iotistic.kernel.errors import Invalid

_FILE_SUFFIX = "_FILE"


class SettingsInvalid(Invalid):
    """The settings have faults."""

    code = "settings.invalid"


class _MappingSource(PydanticBaseSettingsSource):
    """Reads `NAME`, or the file that `NAME_FILE` points at; an empty variable counts as not set."""

    def __init__(self, settings_cls: type[BaseSettings], environ: Mapping[str, str]) -> None:
        super().__init__(settings_cls)
        self._environ = environ

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002
        name = field_name.upper()
        if value := self._environ.get(name):
            return value, field_name, False
        if path := self._environ.get(name + _FILE_SUFFIX):
            return Path(path).read_text(encoding="utf-8").strip(), field_name, False
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, field in self.settings_cls.model_fields.items():
            value, key, _ = self.get_field_value(field, name)
            if value is not None:
                found[key] = self.prepare_field_value(name, field, value, value_is_complex=False)
        return found


class Settings(BaseSettings):
    """Base of every settings group."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        validate_default=True,
        hide_input_in_errors=True,
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take explicit arguments first, then the environment; no dotenv and no secrets folder."""
        return init_settings, _MappingSource(settings_cls, os.environ)


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
