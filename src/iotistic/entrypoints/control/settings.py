"""Settings of the control plane, and the secrets that an installation makes for itself."""

import os

from iotistic.control.access.addresses import ProxySettings
from iotistic.control.accounts.settings import AccountSettings
from iotistic.control.agentupdates.settings import AgentUpdateSettings
from iotistic.control.alerts.settings import AlertSettings, DeliverySettings, MailSettings
from iotistic.control.anomalies.settings import AnomalyDeskSettings
from iotistic.control.audit.settings import AuditSettings
from iotistic.control.broker.settings import BrokerDeskSettings
from iotistic.control.devicelogs.settings import DeviceLogSettings
from iotistic.control.devices.service import DeviceKeySettings
from iotistic.control.history.settings import HistorySettings
from iotistic.control.images.settings import ImageSettings
from iotistic.control.jobs.settings import JobDeskSettings
from iotistic.control.licences.settings import LicenceSettings
from iotistic.control.presence.settings import PresenceSettings
from iotistic.control.provisioning.answering import OfferSettings
from iotistic.control.provisioning.attempts import AttemptSettings
from iotistic.control.rollouts.settings import RolloutSettings
from iotistic.control.upkeep.settings import UpkeepSettings
from iotistic.control.why.settings import WhySettings
from iotistic.entrypoints.control.authority import SignerSettings
from iotistic.kernel.files import secret_file
from iotistic.kernel.home import Home

_MADE = (
    "alert_signing_secret",
    "broker_auth_token",
    "broker_secret",
    "jwt_secret",
    "provisioning_secret",
    "registry_secret",
)


class ControlSettings(
    AccountSettings,
    ProxySettings,
    DeviceKeySettings,
    AttemptSettings,
    OfferSettings,
    SignerSettings,
    LicenceSettings,
    PresenceSettings,
    DeviceLogSettings,
    HistorySettings,
    JobDeskSettings,
    AgentUpdateSettings,
    RolloutSettings,
    AlertSettings,
    DeliverySettings,
    MailSettings,
    BrokerDeskSettings,
    AnomalyDeskSettings,
    AuditSettings,
    ImageSettings,
    WhySettings,
    UpkeepSettings,
):
    """Settings of the control plane. Secrets that nobody gives are made in the home's `secrets`."""


def made_secrets(home: Home) -> dict[str, str]:
    """Return the secrets that the environment does not give; made once, kept in files of mode 600."""
    home.create()
    return {name: secret_file(home.secrets / name.replace("_", "-")) for name in _MADE if not _is_given(name)}


def _is_given(name: str) -> bool:
    return any(os.environ.get(name.upper() + suffix) for suffix in ("", "_FILE"))
