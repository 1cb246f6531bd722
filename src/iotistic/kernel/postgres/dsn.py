"""The address of a database, with the password kept apart so that the address can be shown."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypedDict
from urllib.parse import SplitResult, quote, unquote, urlencode, urlsplit

from pydantic import SecretStr

from iotistic.kernel.errors import Invalid


class DsnInvalid(Invalid):
    """A database address looks like postgresql://USER@HOST:PORT/DATABASE."""

    code = "database.url_invalid"


class ConnectOptions(TypedDict):
    """Arguments of asyncpg.connect and asyncpg.create_pool."""

    dsn: str
    password: str | None


@dataclass(frozen=True)
class Dsn:
    """Where a database is: `url` never holds a password, so it can be logged and printed."""

    url: str
    password: SecretStr | None = None

    @classmethod
    def parse(cls, url: str, password: SecretStr | None = None) -> "Dsn":
        """Take an address that may hold a password; `password` wins over that. Raises DsnInvalid."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as exc:
            raise DsnInvalid from exc
        if parts.scheme not in {"postgres", "postgresql"}:
            raise DsnInvalid(
                f"a database address starts with postgresql://, not {parts.scheme or 'nothing'}://"
            )
        if parts.password is not None:
            user, host = parts.username or "", parts.hostname or ""
            host = f"[{host}]" if ":" in host else host
            parts = parts._replace(netloc=f"{user}@{host}" + (f":{port}" if port else ""))
            password = password or SecretStr(unquote(urlsplit(url).password or ""))
        return cls(_joined(parts), password)

    @classmethod
    def of(cls, *, user: str, host: str, port: int, database: str, password: SecretStr | None) -> "Dsn":
        """Put an address together from its parts."""
        return cls(f"postgresql://{quote(user)}@{host}:{port}/{quote(database)}", password)

    def __str__(self) -> str:
        return self.url

    @property
    def database(self) -> str:
        """Name of the database, empty when the address gives none."""
        return unquote(urlsplit(self.url).path.removeprefix("/"))

    def with_database(self, name: str) -> "Dsn":
        """Return the address of another database on the same server."""
        return replace(self, url=_joined(urlsplit(self.url)._replace(path="/" + quote(name))))

    def over_socket(self, folder: Path) -> "Dsn":
        """Return the address of the same database over the socket that its server has in `folder`."""
        parts = urlsplit(self.url)
        query = urlencode({"host": folder, "port": parts.port}, quote_via=quote)
        return replace(self, url=_joined(parts._replace(netloc=f"{parts.username}@", query=query)))

    def options(self) -> ConnectOptions:
        """Return what asyncpg needs to connect: `asyncpg.connect(**dsn.options())`."""
        return {"dsn": self.url, "password": self.password.get_secret_value() if self.password else None}

    def environment(self) -> dict[str, str]:
        """Return the variables that DatabaseSettings reads; for child processes of tests."""
        password = {"DATABASE_PASSWORD": self.password.get_secret_value()} if self.password else {}
        return {"DATABASE_URL": self.url} | password


def _joined(parts: SplitResult) -> str:
    # urlunsplit() drops the slashes of an address without a host, which stands for the default host.
    query = f"?{parts.query}" if parts.query else ""
    return f"{parts.scheme}://{parts.netloc}{parts.path}{query}"
