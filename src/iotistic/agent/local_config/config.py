"""The device's own settings: what was set here, over the environment, over defaults; kept on disk.

A change is refused whole when any of it is wrong. It is on disk before it takes effect; an option takes
effect at once when somebody listens for it, otherwise with the next start.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol, cast

import structlog

from iotistic.agent.local_config.options import OPTIONS, Option, Value, Values
from iotistic.kernel.errors import Invalid, IotisticError, NotFound

log = structlog.get_logger()

_NAME = "local_config"

Listener = Callable[[Value], Awaitable[None]]
"""Makes a value take effect."""


class OptionUnknown(NotFound):
    """There is no such setting."""

    code = "config.option_unknown"


class ValueInvalid(Invalid):
    """A setting cannot have this value."""

    code = "config.value_invalid"


class Source(StrEnum):
    """Where a value is from."""

    LOCAL = "local"
    ENVIRONMENT = "environment"
    DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Setting:
    """An option with its value; `needs_restart` says that a change takes effect with the next start only."""

    option: Option
    value: Value
    source: Source
    needs_restart: bool


@dataclass(frozen=True, slots=True)
class Change:
    """What a change did."""

    changed: tuple[str, ...]
    needs_restart: tuple[str, ...]


class Disk(Protocol):
    """Names and values that outlive the process."""

    async def load(self) -> dict[str, Any]:
        """Return all of them."""
        ...

    async def put(self, name: str, value: Any) -> None:
        """Keep one; None removes it. Raises StoreUnavailable."""
        ...


class LocalConfig:
    """The settings of one device. `environment` holds what the process was started with, by option."""

    def __init__(
        self,
        disk: Disk,
        environment: Values,
        listeners: Mapping[str, Listener] | None = None,
        local: Values | None = None,
    ) -> None:
        self._disk, self._environment = disk, environment
        self._listeners = dict(listeners or {})
        self._local: dict[str, Value] = dict(local or {})
        self._changing = asyncio.Lock()

    @classmethod
    async def open(
        cls, disk: Disk, environment: Values, listeners: Mapping[str, Listener] | None = None
    ) -> "LocalConfig":
        """Return the settings as they were left; what this agent does not know any more is passed over."""
        return cls(disk, environment, listeners, _readable((await disk.load()).get(_NAME)))

    @property
    def local(self) -> Values:
        """What was set here, by option: it goes before the environment."""
        return dict(self._local)

    def listen(self, name: str, listener: Listener) -> None:
        """Let an option take effect at once."""
        self._listeners[name] = listener

    def all(self) -> list[Setting]:
        """Return every setting."""
        return [self.get(name) for name in OPTIONS]

    def get(self, name: str) -> Setting:
        """Return one setting. Raises OptionUnknown."""
        option = _option(name)
        value, source = option.default, Source.DEFAULT
        if option.name in self._environment:
            value, source = self._environment[option.name], Source.ENVIRONMENT
        if option.name in self._local:
            value, source = self._local[option.name], Source.LOCAL
        return Setting(option, value, source, option.name not in self._listeners)

    async def set(self, values: Mapping[str, object]) -> Change:
        """Set some options. Raises OptionUnknown, ValueInvalid with every fault, and StoreUnavailable."""
        read, faults = _read(values)
        if faults:
            listed = "; ".join(f"{name} {reason}" for name, reason in faults.items())
            raise ValueInvalid(listed, faults=faults)
        return await self._change(lambda local: {**local, **read})

    async def reset(self, *names: str) -> Change:
        """Forget what was set here, of some options or of all. Raises OptionUnknown and StoreUnavailable."""
        forgotten = {_option(name).name for name in names} or set(OPTIONS)
        return await self._change(
            lambda local: {name: value for name, value in local.items() if name not in forgotten}
        )

    async def forget(self) -> None:
        """Begin again without anything that was set here: the disk was emptied by a factory reset."""
        async with self._changing:
            await self._take({})

    async def _change(self, change: Callable[[dict[str, Value]], dict[str, Value]]) -> Change:
        async with self._changing:
            local = change(self._local)
            if local != self._local:
                await self._disk.put(_NAME, local or None)
            return await self._take(local)

    async def _take(self, local: dict[str, Value]) -> Change:
        before = {setting.option.name: setting.value for setting in self.all()}
        self._local = local
        changed = [one for one in self.all() if one.value != before[one.option.name]]
        waiting = [one.option.name for one in changed if not await self._take_effect(one)]
        names = tuple(one.option.name for one in changed)
        if names:
            log.info("config.changed", options=list(names))
        return Change(names, tuple(waiting))

    async def _take_effect(self, setting: Setting) -> bool:
        listener = self._listeners.get(setting.option.name)
        if listener is None:
            return False
        try:
            await listener(setting.value)
        except IotisticError as exc:
            log.warning("config.not_in_effect", option=setting.option.name, reason=exc.message)
            return False
        return True


def _option(name: str) -> Option:
    found = OPTIONS.get(name.upper())
    if found is None:
        raise OptionUnknown(f"there is no setting {name[:80]!r}", hint=f"there are {', '.join(OPTIONS)}")
    return found


def _read(values: Mapping[str, object]) -> tuple[dict[str, Value], dict[str, str]]:
    read: dict[str, Value] = {}
    faults: dict[str, str] = {}
    for name, value in values.items():
        option = _option(name)
        try:
            read[option.name] = option.read(value)
        except ValueError as exc:
            faults[option.name] = str(exc)
    return read, faults


def _readable(kept: object) -> dict[str, Value]:
    values = cast("dict[str, object]", kept) if isinstance(kept, dict) else {}
    read: dict[str, Value] = {}
    for name, value in values.items():
        try:
            read |= {name: OPTIONS[name].read(value)}
        except (KeyError, ValueError):
            log.warning("config.value_passed_over", option=name[:80])
    return read
