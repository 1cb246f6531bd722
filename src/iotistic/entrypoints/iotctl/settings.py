"""Where iotctl finds the agent, and the key that it shows."""

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import Field, SecretStr

from iotistic.agent.local_api.address import KEY_FILE, PORT
from iotistic.kernel.errors import Denied, Invalid
from iotistic.kernel.home import HomeSettings


class AddressInvalid(Invalid):
    """DEVICE_API_URL is no address."""

    code = "device_api.address_invalid"


class KeyInvalid(Denied):
    """API_KEY holds what no key has."""

    code = "device_api.key_invalid"


class IotctlSettings(HomeSettings):
    """How an agent is reached."""

    device_api_url: str = ""
    """Base URL of a device API; without it the agent on this machine is asked."""
    device_api_port: int = Field(default=PORT, ge=1, le=65_535)
    """Port of the device API on this machine."""
    config_dir: Path | None = None
    """Folder of the agent on this machine, where its key lies (default: agent/ in IOTISTIC_HOME)."""
    api_key: SecretStr | None = None
    """The key of the device API; without it, the one in the agent's folder, for an agent on this machine."""


@dataclass(frozen=True)
class Place:
    """An agent: base URL and key, which may be empty, and where the key was found."""

    url: str
    key: str
    key_from: str = ""


def place_of(settings: IotctlSettings) -> Place:
    """Return where the agent is. The key in this machine's folder is shown to nobody else.

    Raises AddressInvalid, KeyInvalid.
    """
    url = _checked(settings.device_api_url) or f"http://127.0.0.1:{settings.device_api_port}"
    if settings.api_key is not None:
        key = settings.api_key.get_secret_value()
        if not key.isprintable():
            raise KeyInvalid
        return Place(url, key, "API_KEY")
    file = (settings.config_dir or settings.home.path / "agent") / KEY_FILE
    key = _kept_key(file) if _is_here(url) else ""
    return Place(url, key, str(file) if key else "")


def _checked(text: str) -> str:
    """Return a base URL without the version that older settings have at its end."""
    if not text:
        return ""
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise AddressInvalid(hint=f"DEVICE_API_URL is to be like http://127.0.0.1:{PORT}")
    return text.rstrip("/").removesuffix("/v1").removesuffix("/v2").rstrip("/")


def _is_here(url: str) -> bool:
    name = urlsplit(url).hostname or ""
    try:
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _kept_key(file: Path) -> str:
    try:
        return file.read_text("utf-8").strip()
    except (OSError, ValueError):
        return ""
