"""The `.sql` files of a folder: one way, in alphabetical order, each its own transaction."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from iotistic.kernel.errors import Conflict, Invalid, NotFound
from iotistic.kernel.files import PUBLIC, write_atomic
from iotistic.kernel.migrations.statements import Statement, split

_NAME = re.compile(r"[a-z0-9]+(?:_[a-z0-9]+)*")
_NUMBER = re.compile(r"\d+")
_DIGITS = 4
_TEMPLATE = """\
-- {title}.
-- Runs in one transaction with lock_timeout 5 s: a statement that cannot get its lock fails here instead
-- of making everyone else queue behind it. A table that is always busy may need another value:
-- SET LOCAL lock_timeout = '30s';

"""


class MigrationFileInvalid(Invalid):
    """A migration file cannot be used."""

    code = "migrations.file_invalid"


class MigrationNotFound(NotFound):
    """There is no migration of this name."""

    code = "migrations.not_found"


class MigrationExists(Conflict):
    """There already is a migration of this name."""

    code = "migrations.exists"


@dataclass(frozen=True)
class MigrationFile:
    """One file; `name` is its name without `.sql`."""

    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the text in hex; how an editor ends lines makes no difference."""
        return hashlib.sha256(self.sql.encode()).hexdigest()

    def statements(self) -> list[Statement]:
        """Return the statements. Raises MigrationFileInvalid for BEGIN, COMMIT and their like."""
        found = split(self.sql)
        for statement in found:
            if statement.controls_transaction:
                raise MigrationFileInvalid(
                    f"{self.name}.sql, line {statement.line}: a migration is one transaction already",
                    hint=f"remove the statement: {statement.text.strip()[:60]}",
                )
        return found


def read_folder(folder: Path) -> list[MigrationFile]:
    """Return the migrations of `folder` in the order in which they run. Raises MigrationFileInvalid."""
    if not folder.is_dir():
        raise MigrationFileInvalid(f"the folder {folder} does not exist")
    return [_read(path) for path in sorted(folder.glob("*.sql"), key=lambda path: path.stem)]


def create(folder: Path, title: str) -> Path:
    """Write an empty migration with the next number and return its path.

    `title` may be words or a name ("add door index", "add_door_index").
    """
    name = re.sub(r"[^a-z0-9]+", "_", title.lower()).strip("_")
    if not _NAME.fullmatch(name):
        raise MigrationFileInvalid(
            f"{title!r} makes no file name", hint="use letters and digits, e.g. add_door_index"
        )
    present = read_folder(folder)
    if any(file.name.split("_", 1)[-1] == name for file in present):
        raise MigrationExists(f"a migration named {name} is there already")
    numbers = [int(found.group()) for file in present if (found := _NUMBER.match(file.name))]
    path = folder / f"{max(numbers, default=0) + 1:0{_DIGITS}}_{name}.sql"
    text = name.replace("_", " ").capitalize()
    write_atomic(path, _TEMPLATE.format(title=text), mode=PUBLIC)
    return path


def find(folder: Path, name: str) -> MigrationFile:
    """Return the migration `name`, with or without `.sql`. Raises MigrationNotFound."""
    wanted = name.removesuffix(".sql")
    for file in read_folder(folder):
        if file.name == wanted:
            return file
    raise MigrationNotFound(f"there is no migration {wanted} in {folder}", hint="see `iotistic db status`")


def _read(path: Path) -> MigrationFile:
    try:
        return MigrationFile(path.stem, path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as exc:
        raise MigrationFileInvalid(f"{path.name} is not UTF-8 text: {exc.reason}") from exc
