"""Where Mosquitto's binary is, and how it gets onto a machine that lacks it."""

import os
import shutil
from pathlib import Path

from iotistic.kernel.errors import NotFound

_SEARCH_BESIDE_PATH = ("/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin")


class BrokerMissing(NotFound):
    """Mosquitto is not installed."""

    code = "broker.missing"


def find_mosquitto() -> Path:
    """Return the broker's binary; system administrators' folders are often missing in a user's PATH."""
    folders = os.pathsep.join([os.environ.get("PATH", os.defpath), *_SEARCH_BESIDE_PATH])
    if found := shutil.which("mosquitto", path=folders):
        return Path(found)
    raise BrokerMissing(hint=f"install it: {install_command()}")


def install_command() -> str:
    """Return the command that installs Mosquitto on this system."""
    sudo = "" if os.geteuid() == 0 else "sudo "
    installers = {
        "apt-get": "apt-get install -y mosquitto mosquitto-clients",
        "dnf": "dnf install -y mosquitto",
        "apk": "apk add mosquitto mosquitto-clients",
        "pacman": "pacman -S --noconfirm mosquitto",
        "zypper": "zypper install -y mosquitto",
    }
    known = (command for tool, command in installers.items() if shutil.which(tool))
    return sudo + next(known, "apt-get install -y mosquitto")
