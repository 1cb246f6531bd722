"""`iotctl config`."""

from cyclopts import App

from iotistic.entrypoints.commands.options import AsJson
from iotistic.entrypoints.iotctl.asking import Yes, confirm
from iotistic.entrypoints.iotctl.client import Document, ask, part
from iotistic.entrypoints.output import emit

app = App(name="config", help="Show and change the agent's settings on this device.", help_format="plaintext")

_ENDPOINT = "CLOUD_API_ENDPOINT"


@app.default
@app.command
def show(*, json: AsJson = False) -> None:
    """Show all settings."""
    found: dict[str, Document] = ask("GET", "/v1/config")["config"]
    if json:
        emit(found, json=True)
        return
    rows = [
        {
            "setting": name,
            "value": _shown(one["value"]),
            "from": one["source"],
            "takes effect": "after a restart" if one["needsRestart"] else "at once",
            "what": one["summary"],
        }
        for name, one in found.items()
    ]
    emit(rows, json=False)


@app.command
def get(name: str, /, *, json: AsJson = False) -> None:
    """Print one setting.

    Parameters
    ----------
    name
        The setting, as `iotctl config show` names it.
    """
    _get(name, json=json)


@app.command(name="set")
def set_(name: str, value: str, /, *, json: AsJson = False) -> None:
    """Change one setting.

    Parameters
    ----------
    name
        The setting, as `iotctl config show` names it.
    value
        What it is to be.
    """
    _set(name, value, json=json)


@app.command(name="set-api")
def set_api(url: str, /, *, json: AsJson = False) -> None:
    """Change where the cloud is.

    Parameters
    ----------
    url
        Base URL of the cloud.
    """
    _set(_ENDPOINT, url, json=json)


@app.command(name="get-api")
def get_api(*, json: AsJson = False) -> None:
    """Print where the cloud is."""
    _get(_ENDPOINT, json=json)


@app.command
def reset(name: str | None = None, *, yes: Yes = False, json: AsJson = False) -> None:
    """Put one setting, or all of them, back to what they are without this device's own.

    Parameters
    ----------
    name
        The setting; without it all of them, which asks first.
    """
    if name is None:
        confirm("All settings that were made on this device will be forgotten.", yes=yes)
        _tell(ask("DELETE", "/v1/config"), json=json)
    else:
        _tell(ask("DELETE", f"/v1/config/{part(name)}"), json=json)


def _get(name: str, *, json: bool) -> None:
    found = ask("GET", f"/v1/config/{part(name)}")
    emit(found if json else _shown(found["value"]), json=json)


def _set(name: str, value: str, *, json: bool) -> None:
    _tell(ask("PATCH", "/v1/config", body={name: value}), json=json)


def _tell(found: Document, *, json: bool) -> None:
    if json:
        emit(found, json=True)
        return
    emit(f"changed: {', '.join(found['changed']) or 'nothing'}", json=False)
    if found["needsRestart"]:
        emit(f"after `iotctl restart`: {', '.join(found['needsRestart'])}", json=False)


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
