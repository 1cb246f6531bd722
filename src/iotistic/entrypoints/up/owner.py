"""The first owner: made with the installation, its password told once and kept nowhere in plain."""

from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import SecretStr

from iotistic.control.accounts import repository
from iotistic.control.accounts.model import OwnerExists
from iotistic.control.accounts.owner import create_owner
from iotistic.control.accounts.passwords import Passwords
from iotistic.control.accounts.service import generated_password
from iotistic.control.accounts.settings import PasswordSettings
from iotistic.kernel.postgres.dsn import Dsn
from iotistic.kernel.postgres.pool import open_connection

USERNAME = "owner"
_EMAIL = "owner@localhost"


@dataclass(frozen=True)
class Login:
    """How a person logs in."""

    username: str
    password: SecretStr


async def ensure_owner(dsn: Dsn) -> Login | None:
    """Make an owner where there is none and return how to log in; None when there is one already."""
    connection = await open_connection(dsn, application_name="iotistic-up")
    passwords = Passwords(threads=1)
    try:
        if await repository.count_owners(connection):
            return None  # without the cost of a hash: this is asked at every start
        password = generated_password()
        await create_owner(
            connection,
            passwords,
            username=USERNAME,
            email=_EMAIL,
            password=password.get_secret_value(),
            password_min_length=PasswordSettings().password_min_length,
            another=False,
            now=datetime.now(UTC),
        )
    except OwnerExists:
        return None
    finally:
        passwords.close()
        await connection.close()
    return Login(USERNAME, password)
