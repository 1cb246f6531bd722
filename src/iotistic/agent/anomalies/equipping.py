"""A forecaster as equipment of the watch. The one part of the agent that loads numpy and X.509."""

from dataclasses import replace

from iotistic.agent.anomalies.memory import Equipment
from iotistic.contracts.forecast_trust import verify_key
from iotistic.contracts.forecasts import ForecastWish
from iotistic.detection.constants import DEFAULTS
from iotistic.detection.forecaster import Forecaster, ForecasterRefused, SignatureWrong
from iotistic.detection.foreseen import Foreseen
from iotistic.kernel.errors import Invalid


class ForecasterUnusable(Invalid):
    """The forecaster is none that this device may use."""

    code = "anomalies.forecaster_unusable"


class ForecasterNotTrusted(Invalid):
    """The forecaster was not signed by the installation whose CA this device trusts, or was changed since."""

    code = "anomalies.forecaster_not_trusted"


def equipment_of(wish: ForecastWish, ca_pem: str) -> Equipment:
    """Return detectors with forecasts. Raises ForecasterUnusable, ForecasterNotTrusted and TrustInvalid."""
    try:
        weights = Forecaster.load(wish.file, verify_key(ca_pem)).weights
    except SignatureWrong as exc:
        raise ForecasterNotTrusted(str(exc)) from exc
    except ForecasterRefused as exc:
        raise ForecasterUnusable(str(exc), reason=exc.code) from exc
    constants = replace(DEFAULTS, forecast_weight=wish.weight)
    return Equipment(constants, lambda: Foreseen(weights, constants), "forecasts")
