"""Every query in a `.sql` file of the product is prepared against the migrated schema.

A file holds several, each below a line `-- name: NAME` and a comment with its purpose. Temporary tables
that a file makes are made first. A query with {placeholders} is text to fill in; its owner's tests
prepare it.
"""

import re
from pathlib import Path

import pytest

import iotistic
from iotistic.kernel.migrations.statements import split
from iotistic.kernel.postgres.pool import open_connection

SOURCE = Path(iotistic.__file__).parent
_PLACEHOLDER = re.compile(r"\{\w+\}")
_TEMPORARY = re.compile(r"CREATE TEMP", re.IGNORECASE)


def query_files():
    return [path for path in sorted(SOURCE.rglob("*.sql")) if path.parent.name != "migrations"]


def queries():
    for path in query_files():
        statements = [one for one in split(path.read_text()) if not _PLACEHOLDER.search(one.text)]
        temporary = "".join(one.text for one in statements if _TEMPORARY.match(one.text))
        for statement in statements:
            place = f"{path.relative_to(SOURCE)}:{statement.line}"
            yield pytest.param(statement.text.rstrip(";"), temporary, id=place)


@pytest.fixture
async def connection(postgres, template_database):
    """The template itself, which a prepared query leaves as it is: a database a query would be slow."""
    opened = await open_connection(postgres.with_database(template_database), application_name="test")
    yield opened
    await opened.close()


@pytest.mark.parametrize(("query", "temporary"), list(queries()))
async def test_a_query_fits_the_schema(connection, query, temporary):
    await connection.execute(f"SELECT 1;{temporary}")  # the driver refuses to run nothing
    prepared = await connection.prepare(query)

    assert prepared.get_query() == query


@pytest.mark.parametrize("path", query_files(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_query_file_says_what_each_query_is_for(path):
    lines = path.read_text().splitlines()
    heads = [number for number, line in enumerate(lines) if line.startswith("-- name:")]

    assert all(lines[number].startswith("-- ") for number in [0, *(head + 1 for head in heads)])
