"""The direct transport and Telegraf in turns: the same messages, broker, PostgreSQL and machine, one run."""

import math
import statistics
import time
from dataclasses import dataclass, field, replace

from benchmarks.feed import CommitWatch
from benchmarks.framework import Report, at_most
from benchmarks.installation import Installation
from benchmarks.load import LoadPlan, load
from benchmarks.telegraf import BATCH, FAMILY, Telegraf, TelegrafMissing, telegraf
from benchmarks.usage import Meter

_WITHIN_S = 300.0
_WARM = 4 * BATCH
_READY_S = 2.0
WORKER = "ingest-0"


@dataclass
class Side:
    """What one side's rounds measured: messages a second that became rows, CPU seconds, rows in all."""

    rates: list[float] = field(default_factory=list[float])
    cpu_s: dict[str, float] = field(default_factory=dict[str, float])
    messages: int = 0

    @property
    def rate(self) -> float:
        """Median of the rounds; NaN when there were none."""
        return statistics.median(self.rates) if self.rates else math.nan

    def cpu(self, process: str) -> float:
        """CPU seconds per million messages; NaN when there were none."""
        return self.cpu_s[process] * 1e6 / self.messages if self.messages else math.nan

    def add(self, rate: float, meter: Meter, count: int) -> None:
        """Add one round."""
        self.rates.append(rate)
        self.messages += count
        for process, used_s in meter.used_s.items():
            self.cpu_s[process] = self.cpu_s.get(process, 0.0) + used_s


class Comparison:
    """Rounds of either side; `direct` and `peer` hold what they measured."""

    def __init__(self, site: Installation, plan: LoadPlan, report: Report) -> None:
        self._site, self._plan, self._report = site, plan, report
        self.direct, self.peer = Side(), Side()
        self._stored = 0

    def run(self, *, rounds: int, count: int) -> None:
        """Alternate, and tell. Without Telegraf the direct transport is measured alone, and the table says so."""
        self._site.start_worker()
        count = count // BATCH * BATCH
        with CommitWatch(self._site.home.run) as watch:
            try:
                with telegraf(self._site) as peer:
                    self._turns(watch, peer, rounds, count)
                    self._tell(peer)
            except TelegrafMissing as exc:
                self._report.add(f"no Telegraf to compare with: {exc.message}", math.nan, "")
                self._turns(watch, None, rounds, count)

    def _turns(self, watch: CommitWatch, peer: Telegraf | None, rounds: int, count: int) -> None:
        """Measure rounds after one that makes connections and resolves every series."""
        before = self._rows()
        self._direct(watch, _WARM)
        if peer is not None:
            time.sleep(_READY_S)  # it says nowhere that it has subscribed
            self._telegraf(peer, _WARM)
        for number in range(rounds):
            if peer is not None and number % 2:
                self.peer.add(*self._telegraf(peer, count), count)
            self.direct.add(*self._direct(watch, count), count)
            if peer is not None and not number % 2:
                self.peer.add(*self._telegraf(peer, count), count)
        self._stored = self._rows() - before - _WARM

    def _direct(self, watch: CommitWatch, count: int) -> tuple[float, Meter]:
        watch.reset()
        with Meter(self._site.pids) as meter, load(replace(self._plan, count=count)) as publisher:
            if not watch.wait_for(count, _WITHIN_S):
                raise TimeoutError(f"{watch.rows} of {count} rows were committed")
            first_us = publisher.wait(_WITHIN_S).first_us
        return count * 1e6 / (watch.last_commit_us - first_us), meter

    def _telegraf(self, peer: Telegraf, count: int) -> tuple[float, Meter]:
        plan = replace(self._plan, count=count, family=FAMILY)
        with Meter(self._site.pids | {"telegraf": peer.pid}) as meter, load(plan) as publisher:
            ended_us = peer.wait_for(count, _WITHIN_S)
            first_us = publisher.wait(_WITHIN_S).first_us
        return count * 1e6 / (ended_us - first_us), meter

    def _rows(self) -> int:
        return int(str(self._site.scalar("SELECT count(*) FROM decoded_data")))

    def _tell(self, peer: Telegraf) -> None:
        add, ours, theirs = self._report.add, self.direct, self.peer
        add("direct transport beside Telegraf", ours.rate, "msg/s", reference=theirs.rate)
        add(
            "CPU of our worker beside Telegraf's", ours.cpu(WORKER), "s/million",
            reference=theirs.cpu("telegraf"), goal=at_most(0.5, of="ratio"),
        )  # fmt: skip
        for process in ("postgres", "broker"):
            reference = theirs.cpu(process)
            add(
                f"CPU of {process} beside its for Telegraf",
                ours.cpu(process),
                "s/million",
                reference=reference,
            )
        together = [
            side.cpu(one) + side.cpu("postgres") for side, one in ((ours, WORKER), (theirs, "telegraf"))
        ]
        add("CPU of both, direct beside Telegraf", together[0], "s/million", reference=together[1])
        add("rows missing or double, direct", abs(ours.messages - self._stored), "rows", goal=at_most(0))
        rows, distinct = peer.rows(), peer.distinct_rows()
        add("rows missing, Telegraf", peer.expected - distinct, "rows")
        add("rows double, Telegraf", rows - distinct, "rows")
