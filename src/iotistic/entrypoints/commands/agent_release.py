"""`iotistic agent sign-release`: describe the wheels of a version and sign that, for devices that update themselves."""

import json as json_format
import sys
from pathlib import Path

from iotistic.agent.updating.errors import ReleaseInvalid
from iotistic.agent.updating.release import describe_release, description_name
from iotistic.agent.updating.signing import sign_release
from iotistic.contracts.agent_updates import LATEST
from iotistic.entrypoints.commands.options import AsJson
from iotistic.kernel.files import PUBLIC, write_atomic


def sign(folder: Path, version: str, *, key: Path, latest: bool = True, json: AsJson = False) -> None:
    """Describe and sign a release of the agent, in the folder with its wheels.

    Serve the folder over https, or bring it to devices, and name it in their AGENT_UPDATE_SOURCE.

    Parameters
    ----------
    folder
        Folder with the wheel of iotistic and every wheel that it needs.
    version
        Version of the wheel, like 1.4.2.
    key
        File with the private key (PEM, Ed25519); `openssl genpkey -algorithm ed25519` makes one.
    latest
        Whether it is what devices install that are told `latest`.
    """
    try:
        private = key.read_bytes()
        description = describe_release(folder, version)
        signature = sign_release(description, private)
        names = [description_name(one) for one in (version, *([LATEST] if latest else []))]
        for name in names:
            write_atomic(folder / name, description, mode=PUBLIC)
            write_atomic(folder / f"{name}.sig", signature, mode=PUBLIC)
    except OSError as exc:
        raise ReleaseInvalid(f"{exc.filename} cannot be read or written: {exc.strerror}") from exc
    if json:
        sys.stdout.write(json_format.dumps({"version": version, "signed": names}) + "\n")
    else:
        sys.stdout.write(f"signed {version}: {', '.join(names)}\n")
