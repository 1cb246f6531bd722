"""The account of a fault run: what was published beside what is stored, and how long healing took."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.fault_devices import Load
from benchmarks.fault_site import FaultSite
from benchmarks.fault_watch import Fault
from benchmarks.framework import percentile
from iotistic.kernel.postgres.pool import open_connection

_ROWS = 'SELECT (extract(epoch FROM "timestamp") * 1000000)::bigint, count(*) FROM decoded_data GROUP BY 1'


@dataclass(frozen=True)
class Account:
    """What was published, beside what is stored and what the ledger says."""

    messages: int
    readings: int
    missing: int
    """Readings that were published and are not stored."""
    doubled: int
    """Rows that are there more often than they were published, or that nobody published."""
    dead_letters: int
    sent_again: int
    """Messages that devices sent again because the ledger asked."""
    totals: dict[str, int]
    """The ledger's sums."""
    table: str
    """The ledger's own table."""

    @property
    def is_whole(self) -> bool:
        """Whether everything is stored once, and the ledger says the same."""
        told = self.totals["missing"], self.totals["stored"], self.totals["sent"]
        return not (self.missing or self.doubled or self.dead_letters) and told == (
            0,
            self.messages,
            self.messages,
        )


async def take_account(site: FaultSite, load: Load) -> Account:
    """Count every row, by the time that names its message, and ask the ledger."""
    published = Counter(load.readings())
    connection = await open_connection(site.dsn, application_name="account")
    try:
        stored = Counter(dict(await connection.fetch(_ROWS)))
        letters = await connection.fetchval("SELECT count(*) FROM dead_letters")
    finally:
        await connection.close()
    totals, table = await site.ledger()
    return Account(
        messages=load.messages,
        readings=published.total(),
        missing=(published - stored).total(),
        doubled=(stored - published).total(),
        dead_letters=letters,
        sent_again=sum(device.resent for device in load.devices),
        totals=totals,
        table=table,
    )


def seconds(faults: Sequence[Fault], what: str) -> list[float]:
    """Return the seconds until each was `flowing` or `whole`; infinite where that did not happen."""
    found = (getattr(fault, f"{what}_s") for fault in faults)
    return [math.inf if one is None else one for one in found]


def healing_table(faults: Sequence[Fault]) -> str:
    """Return, by what was broken, how often and the seconds until readings flowed and nothing was missing."""
    lines = [
        f"{'':20}{'times':>6}{'flowing p50':>13}{'p99':>7}{'max':>7}{'whole p50':>13}{'p99':>7}{'max':>7}"
    ]
    kinds = sorted({fault.what for fault in faults})
    for name, some in [*((k, [f for f in faults if f.what == k]) for k in kinds), ("all", list(faults))]:
        both = seconds(some, "flowing"), seconds(some, "whole")
        figures = [[percentile(one, percent) for percent in (50, 99, 100)] for one in both]
        told = "".join(f"{a:>13.2f}{b:>7.2f}{c:>7.2f}" for a, b, c in figures)
        lines.append(f"{name:20}{len(some):>6}{told}")
    return "\n".join(lines)
