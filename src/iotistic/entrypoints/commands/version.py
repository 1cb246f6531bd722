"""`iotistic version`."""

import platform

from cyclopts import App

from iotistic.entrypoints import catalogue
from iotistic.entrypoints.commands.options import AsJson
from iotistic.entrypoints.output import emit

app = App(name="version", help_format="plaintext")


@app.default
def show(*, json: AsJson = False) -> None:
    """Print the version of iotistic and of Python."""
    emit({"iotistic": catalogue.version(), "python": platform.python_version()}, json=json)
