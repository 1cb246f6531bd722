"""`iotistic completion`."""

import os
import sys
from pathlib import Path
from typing import Literal

from cyclopts import App

from iotistic.entrypoints.cli import build_app
from iotistic.entrypoints.commands.options import AsJson
from iotistic.entrypoints.output import emit
from iotistic.kernel.errors import Invalid

app = App(name="completion", help_format="plaintext")

Shell = Literal["bash", "zsh", "fish"]


class ShellUnknown(Invalid):
    """The shell cannot be told from SHELL; name it: bash, zsh or fish."""

    code = "completion.shell_unknown"


@app.command
def show(shell: Shell | None = None) -> None:
    """Print the completion script of a shell (default: yours)."""
    sys.stdout.write(build_app().generate_completion(prog_name="iotistic", shell=shell or _own_shell()))


@app.command
def install(shell: Shell | None = None, *, json: AsJson = False) -> None:
    """Write the completion script where the shell finds it, and say where."""
    path = build_app().install_completion(shell=shell or _own_shell(), add_to_startup=False)
    emit({"installed": path} if json else f"installed {path}; it works in the next shell", json=json)


def _own_shell() -> Shell:
    name = Path(os.environ.get("SHELL", "")).name
    for known in ("bash", "zsh", "fish"):
        if name == known:
            return known
    raise ShellUnknown
