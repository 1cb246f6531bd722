"""Heeds the cloud's wish for forecasts; what cannot be taken is said, and detection goes on without."""

import importlib

import structlog

from iotistic.agent.anomalies.memory import Equipment, Memory
from iotistic.contracts.forecasts import ForecastWish
from iotistic.kernel.errors import IotisticError

log = structlog.get_logger()

_LOADED_WHEN_WISHED = "iotistic.agent.anomalies.equipping"
_NUMPY_MISSING = "numpy cannot be used on this device: install the agent with its extra `forecast`"
_MOST_REASON = 300


class Forecasting:
    """Of one watch."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._heeded: tuple[ForecastWish | None, str] = None, ""
        self.status = "none"
        """`none`, `in force`, or the code of why it was refused."""
        self.reason = ""
        """Why it was refused, in words."""

    def heed(self, wish: ForecastWish | None, ca_pem: str) -> None:
        """Take a wish that is another than before; `ca_pem` is the CA that the device trusts, empty without one."""
        if (wish, ca_pem) == self._heeded:
            return
        had_one = self._heeded[0] is not None
        self._heeded = wish, ca_pem
        self.status, self.reason = "none", ""
        equipment = None if wish is None else self._equipment(wish, ca_pem)
        if equipment is not None or had_one:
            self._memory.equip(equipment or Equipment())

    def describe(self) -> dict[str, str]:
        """Return how it stands, with the reason for a refusal."""
        told = {"forecaster": self.status}
        return {**told, "forecaster_reason": self.reason} if self.reason else told

    def _equipment(self, wish: ForecastWish, ca_pem: str) -> Equipment | None:
        try:
            # numpy and X.509 are loaded by who uses them; numpy is not there on every device.
            found: Equipment = importlib.import_module(_LOADED_WHEN_WISHED).equipment_of(wish, ca_pem)
        except IotisticError as exc:
            self._refuse(exc.code, exc.message)
            return None
        except ImportError as exc:
            told = " ".join(str(exc).split())  # numpy tells of a library that it lacks on two pages
            self._refuse("anomalies.numpy_missing", f"{_NUMPY_MISSING} ({told[:_MOST_REASON]})")
            return None
        self.status = "in force"
        log.info("forecaster.taken", weight=wish.weight, bytes=len(wish.file))
        return found

    def _refuse(self, code: str, reason: str) -> None:
        self.status, self.reason = code, reason
        log.warning("forecaster.refused", code=code, reason=reason)
