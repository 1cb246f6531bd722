"""Reads the agent's settings in a process of their own, while the agent loads its parts.

    this process --fork--> the reader: pydantic reads and checks the environment, tells the values, ends
          |                                         |
          +--> loads the agent <------ pipe --------+     its settings only hold values: kernel/holding.py

What pydantic takes goes with the reader: 8 MB of 68, for 0.1 s of a CPU; see docs/decisions/0026.
"""

import importlib
import os
import traceback
from typing import TYPE_CHECKING, NoReturn

from iotistic.entrypoints.agent.engine_kind import EngineKind
from iotistic.kernel.errors import Unavailable
from iotistic.kernel.holding import Holding

if TYPE_CHECKING:
    from iotistic.entrypoints.agent.settings import AgentProcessSettings

# Loaded after the fork, on either side of it: the classes of settings are not the same there.
_TELLING = "iotistic.entrypoints.agent.telling"


class SettingsNotRead(Unavailable):
    """The process that reads the settings ended before it had told them."""

    code = "agent.settings_not_read"


class Reading:
    """Begins at once. The process may have neither threads nor settings yet."""

    def __init__(self, engine: EngineKind | None) -> None:
        self._from_reader, to_holder = os.pipe()
        self._reader = os.fork()
        if not self._reader:
            _read(to_holder, engine)
        os.close(to_holder)
        Holding.begin()

    def settings(self) -> "AgentProcessSettings":
        """Return the settings. Raises SettingsInvalid and SettingsNotRead."""
        with os.fdopen(self._from_reader, "rb") as pipe:
            sent = pipe.read()
        _, status = os.waitpid(self._reader, 0)
        if status:
            raise SettingsNotRead
        return importlib.import_module(_TELLING).hold(sent)


def _read(to_holder: int, engine: EngineKind | None) -> NoReturn:
    """Be the reader; whatever happens, this process ends here."""
    status = 1
    try:
        sent: bytes = importlib.import_module(_TELLING).tell(engine)
        with os.fdopen(to_holder, "wb") as pipe:
            pipe.write(sent)
        status = 0
    except (KeyboardInterrupt, BrokenPipeError):  # whoever wanted the settings ends as well
        pass
    except BaseException:  # noqa: BLE001  nothing may lead out of here
        traceback.print_exc()
    finally:
        os._exit(status)
