"""The agent's settings as they go from the process that reads them to the one that holds them.

Each has classes of its own for secrets and sizes (see kernel/settings_words.py), so these cross as plain texts
and numbers. What is told goes through a pipe between a process and its child, and nowhere else.
"""

import pickle
from dataclasses import dataclass, field
from typing import Any

import iotistic
from iotistic.entrypoints.agent.engine_kind import EngineKind
from iotistic.entrypoints.agent.settings import AgentProcessSettings
from iotistic.entrypoints.catalogue import version
from iotistic.kernel.settings import SettingsInvalid, load_settings
from iotistic.kernel.settings_words import ByteSize, SecretStr


@dataclass(frozen=True, slots=True)
class Told:
    """The settings by their names; or the message of the error that they have faults, with its fields."""

    values: dict[str, Any] = field(default_factory=dict[str, Any], repr=False)
    secrets: dict[str, str] = field(default_factory=dict[str, str], repr=False)
    said: frozenset[str] = frozenset()
    version: str = ""
    """Of the agent: what looks it up is not to stay in memory either."""
    fault: str = ""
    faults: dict[str, Any] = field(default_factory=dict[str, Any])


def tell(engine: EngineKind | None) -> bytes:
    """Read the settings, and return what `hold` takes."""
    try:
        read = load_settings(AgentProcessSettings, agent_engine=engine)
    except SettingsInvalid as exc:
        return pickle.dumps(Told(fault=exc.message, faults=exc.fields))
    found: dict[str, object] = dict(read)
    secrets = {
        name: value.get_secret_value() for name, value in found.items() if isinstance(value, SecretStr)
    }
    values = {name: _plain(value) for name, value in found.items() if name not in secrets}
    return pickle.dumps(Told(values, secrets, frozenset(read.model_fields_set), version()))


def hold(sent: bytes) -> AgentProcessSettings:
    """Return the settings that were told. Raises SettingsInvalid."""
    told: Told = pickle.loads(sent)  # noqa: S301  our own child wrote it
    if told.fault:
        raise SettingsInvalid(told.fault, **told.faults)
    iotistic.__version__ = told.version
    secrets = {name: SecretStr(text) for name, text in told.secrets.items()}
    return AgentProcessSettings.model_construct(set(told.said), **told.values, **secrets)


def _plain(value: object) -> object:
    return int(value) if isinstance(value, ByteSize) else value
