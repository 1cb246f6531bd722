"""The database that a command works on: the one in the environment, otherwise the embedded one of this home."""

from iotistic.kernel.errors import Unavailable
from iotistic.kernel.home import HomeSettings
from iotistic.kernel.postgres.claim import running_dsn
from iotistic.kernel.postgres.dsn import Dsn
from iotistic.kernel.postgres.pool import DatabaseSettings


class DatabaseAway(Unavailable):
    """No database is configured, and the embedded one does not run."""

    code = "database.not_running"


class ControlDatabaseSettings(HomeSettings, DatabaseSettings):
    """Which database is worked on."""


def control_dsn(settings: ControlDatabaseSettings) -> Dsn:
    """Return its address. Raises DatabaseAway."""
    if settings.database_url is not None:
        return settings.dsn
    found = running_dsn(settings.home)
    if found is None:
        raise DatabaseAway(
            f"no database runs in {settings.home.path}",
            hint="start it with `iotistic up`, or set DATABASE_URL",
        )
    return found
