"""What `iotistic train` needs around the training: whose key signs, where readings are, and the progress shown."""

import asyncio
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import datetime

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from iotistic.kernel.errors import NotFound, Unavailable
from iotistic.kernel.home import HomeSettings
from iotistic.kernel.postgres.claim import running_dsn
from iotistic.kernel.postgres.dsn import Dsn
from iotistic.kernel.postgres.pool import DatabaseSettings, open_connection
from iotistic.pki.ca import CertificateAuthority
from iotistic.pki.keystore import open_authority
from iotistic.pki.settings import AuthoritySettings
from iotistic.training.readings import read_readings

Show = Callable[[int, float, float], None]
"""Takes the number of an epoch, and the losses on what is learned from and on what is held out."""


class TrainSettings(HomeSettings, AuthoritySettings, DatabaseSettings):
    """Whose key signs a forecaster, and where a fleet's readings are."""


class AuthorityMissing(NotFound):
    """There is no certificate authority in this installation."""

    code = "train.authority_missing"


class NoDatabase(Unavailable):
    """No database is configured, and the embedded one does not run."""

    code = "train.no_database"


def has_authority(settings: TrainSettings) -> bool:
    """Say whether this installation can sign: one is never made by the way, devices would not know it."""
    return bool(settings.ca_key) or settings.home.ca_certificate.exists()


def authority_of(settings: TrainSettings) -> CertificateAuthority:
    """Return the certificate authority of this installation. Raises AuthorityMissing, AuthorityUnusable."""
    if not has_authority(settings):
        raise AuthorityMissing(
            f"there is no certificate authority in {settings.home.path}",
            hint="run this where the installation is, or set IOTISTIC_HOME",
        )
    return open_authority(settings.home, settings)


def readings_of(
    settings: TrainSettings, *, device: str | None, metric: str | None, since: datetime
) -> dict[str, list[float]]:
    """Return series of a fleet's readings. Raises NoDatabase, NoReadings, DatabaseUnavailable."""

    async def read() -> dict[str, list[float]]:
        connection = await open_connection(_dsn(settings), application_name="iotistic train")
        try:
            return await read_readings(connection, device=device, metric=metric, since=since)
        finally:
            await connection.close()

    return asyncio.run(read())


def _dsn(settings: TrainSettings) -> Dsn:
    if settings.database_url is not None:
        return settings.dsn
    found = running_dsn(settings.home)
    if found is None:
        raise NoDatabase(
            f"no database runs in {settings.home.path}",
            hint="start it with `iotistic up`, or set DATABASE_URL",
        )
    return found


@contextmanager
def shown_progress(epochs: int, *, quiet: bool) -> Generator[Show]:
    """Show a bar on standard error while it lasts; on no terminal a line for each epoch, nothing when quiet."""
    console = Console(stderr=True, quiet=quiet)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("compiling", total=epochs)

        def show(epoch: int, learned: float, held_out: float) -> None:
            text = f"epoch {epoch}: loss {learned:.4f}, held out {held_out:.4f}"
            bar.update(task, completed=epoch, description=text)
            if not console.is_terminal:
                console.print(text, highlight=False)

        yield show
