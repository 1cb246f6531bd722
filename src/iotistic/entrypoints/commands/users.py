"""`iotistic users`: the first owner, made on the machine itself; everybody else is made over the API.

The database is the one in the environment (DATABASE_URL), otherwise the embedded server of this home
while it runs.
"""

import asyncio
import getpass
import sys
from datetime import UTC, datetime
from typing import Annotated

from cyclopts import App, Parameter

from iotistic.control.accounts.model import User
from iotistic.control.accounts.owner import create_owner as make_owner
from iotistic.control.accounts.passwords import Passwords
from iotistic.control.accounts.service import generated_password
from iotistic.control.accounts.settings import PasswordSettings
from iotistic.entrypoints.commands.options import AsJson
from iotistic.entrypoints.output import emit
from iotistic.kernel.errors import Invalid, Unavailable
from iotistic.kernel.home import HomeSettings
from iotistic.kernel.postgres.claim import running_dsn
from iotistic.kernel.postgres.dsn import Dsn
from iotistic.kernel.postgres.pool import DatabaseSettings, open_connection
from iotistic.kernel.settings import load_settings

app = App(name="users", help="Accounts of people.", help_format="plaintext")

Flag = Annotated[bool, Parameter(negative="")]


class DatabaseNotRunning(Unavailable):
    """No database is configured, and the embedded one does not run."""

    code = "database.not_running"


class PasswordsDiffer(Invalid):
    """The two passwords are not the same."""

    code = "password.differs"


class UsersSettings(HomeSettings, DatabaseSettings, PasswordSettings):
    """Which database `iotistic users` works on, and what passwords it accepts."""


@app.command(name="create-owner")
def create_owner(
    username: str, *, email: str, ask: Flag = False, another: Flag = False, json: AsJson = False
) -> None:
    """Make the first owner; its password is made here and printed this once.

    Parameters
    ----------
    username
        The name to log in with: letters, digits, dots, hyphens, underscores.
    email
        The mail address, which one can log in with too.
    ask
        Take the password from the terminal, or a line of standard input, instead of making one.
    another
        Make an owner although there is one: the way back in when its password is lost.
    """
    settings = load_settings(UsersSettings)
    password = _asked() if ask else generated_password().get_secret_value()
    made = asyncio.run(_create(settings, username, email, password, another=another))
    shown: dict[str, object] = {"id": made.id, "username": made.username, "email": made.email}
    emit(shown | {"role": made.role} | ({} if ask else {"password": password}), json=json)


async def _create(
    settings: UsersSettings, username: str, email: str, password: str, *, another: bool
) -> User:
    passwords = Passwords(threads=1)
    connection = await open_connection(_dsn(settings), application_name="iotistic users")
    try:
        return await make_owner(
            connection,
            passwords,
            username=username,
            email=email,
            password=password,
            password_min_length=settings.password_min_length,
            another=another,
            now=datetime.now(UTC),
        )
    finally:
        await connection.close()
        passwords.close()


def _asked() -> str:
    """Return a password that no argument and no screen has shown."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    password = getpass.getpass("Password: ")
    if getpass.getpass("Once more: ") != password:
        raise PasswordsDiffer
    return password


def _dsn(settings: UsersSettings) -> Dsn:
    if settings.database_url is not None:
        return settings.dsn
    found = running_dsn(settings.home)
    if found is None:
        raise DatabaseNotRunning(
            f"no database runs in {settings.home.path}",
            hint="start it with `iotistic up`, or set DATABASE_URL",
        )
    return found
