"""`iotistic version`."""

import platform
from typing import Annotated

from cyclopts import App, Parameter

from iotistic.entrypoints import catalogue
from iotistic.entrypoints.output import emit

app = App(name="version", help_format="plaintext")


@app.default
def show(*, json: Annotated[bool, Parameter(negative="")] = False) -> None:
    """Print the version of iotistic and of Python.

    Parameters
    ----------
    json
        Print JSON for programs.
    """
    emit({"iotistic": catalogue.version(), "python": platform.python_version()}, json=json)
