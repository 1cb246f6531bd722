"""Every `.sql` file of the product that holds queries is prepared against the migrated schema.

Two ways of keeping them exist: one statement a file, the purpose on top; or several in one file, each
below a line `-- name: NAME`. A file with {placeholders} is text to fill in; its owner's tests prepare it.
"""

import re
from pathlib import Path

import pytest

import iotistic
from iotistic.kernel.migrations.statements import split

SOURCE = Path(iotistic.__file__).parent
_PLACEHOLDER = re.compile(r"\{\w+\}")


def query_files():
    return [path for path in sorted(SOURCE.rglob("*.sql")) if path.parent.name != "migrations"]


def queries():
    for path in query_files():
        for statement in split(path.read_text()):
            place = f"{path.relative_to(SOURCE)}:{statement.line}"
            yield pytest.param(statement.text.rstrip(";"), id=place)


@pytest.mark.parametrize("query", [found for found in queries() if not _PLACEHOLDER.search(found.values[0])])
async def test_a_query_fits_the_schema(connection, query):
    prepared = await connection.prepare(query)

    assert prepared.get_query() == query


@pytest.mark.parametrize("path", query_files(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_query_file_says_what_each_query_is_for(path):
    lines = path.read_text().splitlines()
    heads = [number for number, line in enumerate(lines) if line.startswith("-- name:")]

    assert all(lines[number].startswith("-- ") for number in [0, *(head + 1 for head in heads)])
