"""Every statement fits the schema."""

from iotistic.kernel.postgres.queries import load_queries
from iotistic.telemetry.query.repository import device_statements, series_statements

QUERY = dict(load_queries("iotistic.telemetry.query"))
STATEMENTS = {
    **device_statements(QUERY.pop("devices")),
    **series_statements(QUERY.pop("series")),
    **QUERY,
    **{
        f"dead_letters.{name}": text for name, text in load_queries("iotistic.telemetry.dead_letters").items()
    },
    **{f"ledger.{name}": text for name, text in load_queries("iotistic.telemetry.ledger").items()},
    **{f"registry.{name}": text for name, text in load_queries("iotistic.telemetry.registry").items()},
}


async def test_every_statement_can_be_prepared(connection):
    for text in STATEMENTS.values():
        await connection.prepare(text)
