"""`iotistic audit`: check the audit trail's chain, and show its end.

It reads the database itself, so that nothing that could have been changed stands between.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import asyncpg
from cyclopts import App

from iotistic.control.audit import repository
from iotistic.control.audit.model import Head
from iotistic.control.audit.verifying import Verdict
from iotistic.control.audit.verifying import verify as verify_chain
from iotistic.entrypoints.commands.options import AsJson
from iotistic.entrypoints.database_of_home import ControlDatabaseSettings, control_dsn
from iotistic.entrypoints.output import emit
from iotistic.kernel.postgres.pool import open_connection
from iotistic.kernel.settings import load_settings

app = App(name="audit", help="Check that the audit trail was not changed.", help_format="plaintext")

T = TypeVar("T")

_BROKEN = 1


@app.command(name="verify")
def verify(*, anchor: str | None = None, json: AsJson = False) -> int:
    """Check every link of the chain; end with status 1 when something was changed, removed or put in.

    Parameters
    ----------
    anchor
        POSITION:HASH that was written down before (`iotistic audit head`, or the log): notices a chain that was
        cut off at its end or computed anew.
    """
    known = Head.parse(anchor) if anchor else None
    verdict = asyncio.run(_with_connection(lambda connection: verify_chain(connection, anchor=known)))
    emit(_document(verdict) if json else _told(verdict), json=json)
    return 0 if verdict.holds else _BROKEN


@app.command(name="head")
def head(*, json: AsJson = False) -> None:
    """Print the end of the chain as POSITION:HASH; keep it where nobody who can change the database can."""
    end = asyncio.run(_with_connection(repository.head))
    emit(
        {"position": end.position, "hash": end.hash.hex(), "anchor": str(end)} if json else str(end),
        json=json,
    )


async def _with_connection(act: Callable[[asyncpg.Connection], Awaitable[T]]) -> T:
    dsn = control_dsn(load_settings(ControlDatabaseSettings))
    connection = await open_connection(dsn, application_name="iotistic audit")
    try:
        return await act(connection)
    finally:
        await connection.close()


def _document(verdict: Verdict) -> dict[str, object]:
    breaks = [
        {"fault": one.fault, "position": one.position, "entry": one.entry, "table": one.table, "sentence": one.sentence}
        for one in verdict.breaks
    ]  # fmt: skip
    return {
        "holds": verdict.holds,
        "checked": verdict.checked,
        "dropped": verdict.dropped,
        "unsealed": verdict.unsealed,
        "head": str(verdict.head),
        "first": breaks[0] if breaks else None,
        "breaks": breaks,
    }


def _told(verdict: Verdict) -> str:
    lines = [f"{verdict.checked:,} entries checked; {verdict.unsealed:,} wait to be sealed"]
    if verdict.dropped:
        lines.append(f"{verdict.dropped:,} have left by whole months")
    lines.append(f"head {verdict.head}")
    if verdict.first is None:
        return "\n".join([*lines, "the chain holds"])
    lines.append(f"BROKEN: {verdict.first.sentence}")
    lines += [f"  also: {one.sentence}" for one in verdict.breaks[1:10]]
    return "\n".join(lines)
