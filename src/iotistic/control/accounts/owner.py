"""The first account: made on the machine itself, by whoever can reach the database."""

from datetime import datetime

import asyncpg

from iotistic.control.access.model import Role
from iotistic.control.accounts import repository
from iotistic.control.accounts.model import NewUser, OwnerExists, User
from iotistic.control.accounts.passwords import Passwords
from iotistic.control.accounts.policy import check_email, check_password, check_username
from iotistic.kernel.postgres.pool import database_errors


async def create_owner(
    connection: asyncpg.Connection,
    passwords: Passwords,
    *,
    username: str,
    email: str,
    password: str,
    password_min_length: int,
    another: bool,
    now: datetime,
) -> User:
    """Make an owner. With `another`, also beside an active one: the way back in when its password is lost.

    Raises OwnerExists, UserInvalid, UserTaken, PasswordRefused.
    """
    check_username(username)
    check_email(email)
    check_password(password, least=password_min_length, names=(username, email))
    hashed = await passwords.hash(password)
    owner = NewUser(username=username, email=email, role=Role.OWNER, must_change_password=False)
    with database_errors():
        async with connection.transaction():
            # Of two first owners at the same moment one is the second.
            await repository.lock_owners(connection)
            if not another and await repository.count_owners(connection):
                raise OwnerExists(hint="log in as that one, or ask for --another")
            return await repository.add(connection, owner, hashed, now)
