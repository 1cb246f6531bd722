"""Settings of the control plane, and the secrets that an installation makes for itself."""

import os

from iotistic.control.access.addresses import ProxySettings
from iotistic.control.accounts.settings import AccountSettings
from iotistic.control.devices.service import DeviceKeySettings
from iotistic.control.licences.settings import LicenceSettings
from iotistic.control.provisioning.answering import OfferSettings
from iotistic.control.provisioning.attempts import AttemptSettings
from iotistic.entrypoints.control.authority import SignerSettings
from iotistic.kernel.files import secret_file
from iotistic.kernel.home import Home

_MADE = ("jwt_secret", "provisioning_secret")


class ControlSettings(
    AccountSettings,
    ProxySettings,
    DeviceKeySettings,
    AttemptSettings,
    OfferSettings,
    SignerSettings,
    LicenceSettings,
):
    """Settings of the control plane."""


def made_secrets(home: Home) -> dict[str, str]:
    """Return the secrets that the environment does not give; made once, kept in files of mode 600."""
    home.create()
    return {name: secret_file(home.secrets / name.replace("_", "-")) for name in _MADE if not _is_given(name)}


def _is_given(name: str) -> bool:
    return any(os.environ.get(name.upper() + suffix) for suffix in ("", "_FILE"))
