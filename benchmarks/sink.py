r"""Our sink beside `psql \copy`, of the same rows into the same table, alternating in the same run.

The peer copies all rows as one transaction and tolerates no duplicate. The sink stores them as it does
in service: batch after batch, each committed durably, a row that is there already changing nothing.
"""

import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.framework import Report, at_least
from benchmarks.installation import Installation, installation
from benchmarks.usage import Meter
from iotistic.kernel.postgres.binaries import packaged
from iotistic.telemetry.model import Resolved, Rows
from iotistic.telemetry.sink.copying import COLUMNS, encode_rows
from iotistic.telemetry.sink.sink import Sink

_BATCH = 20_000
_SERIES = 1000
_WITHIN_S = 300.0
_COPY = rf"\copy decoded_data ({', '.join(COLUMNS)}) from '{{path}}' with (format binary)"


def run(quick: bool, report: Report) -> None:
    count, rounds = (300_000, 3) if quick else (2_000_000, 5)
    with installation(workers=0) as site, tempfile.TemporaryDirectory(prefix="iotistic-bench-") as folder:
        SinkBench(site, report, count, Path(folder) / "rows.bin").compare(rounds)


class SinkBench:
    """Both ways of storing the same rows, over one installation."""

    def __init__(self, site: Installation, report: Report, count: int, path: Path) -> None:
        self._site, self._report, self._count, self._path = site, report, count, path
        self._rows = make_rows(count)
        self._path.write_bytes(encode_rows(self._rows, time.time_ns() // 1000))

    def compare(self, rounds: int) -> None:
        """Alternate; the figures are medians, the ratio is that of the medians."""
        peer: list[float] = []
        ours: list[float] = []
        again: list[float] = []
        cpu_s = {"ours": 0.0, "peer": 0.0, "sink": 0.0}
        postgres = {"postgres": self._site.pids["postgres"]}
        for number in range(rounds):
            self._clear()
            with Meter(postgres) as meter:
                peer.append(self._count / self._copy())
            cpu_s["peer"] += meter.used_s["postgres"]
            self._clear()
            with Meter(postgres | {"bench": os.getpid()}) as meter:
                ours.append(self._count / self._sink())
            cpu_s["ours"] += meter.used_s["postgres"]
            cpu_s["sink"] += meter.used_s["bench"] - meter.used_s["postgres"]  # a child of this process
            again.append(self._count / self._sink())
            self._require_all_rows()
            self._report.progress(f"round {number + 1}: {peer[-1]:,.0f} peer, {ours[-1]:,.0f} ours, rows/s")
        millions = self._count * rounds / 1e6
        reference = statistics.median(peer)
        self._report.add(
            "sink", statistics.median(ours), "rows/s", reference=reference, goal=at_least(0.9, of="ratio")
        )
        self._report.add(
            "sink, rows that are there already", statistics.median(again), "rows/s", reference=reference
        )
        self._report.add(
            "CPU of PostgreSQL", cpu_s["ours"] / millions, "s/million", reference=cpu_s["peer"] / millions
        )
        self._report.add("CPU of the sink", cpu_s["sink"] / millions, "s/million")

    def _clear(self) -> None:
        self._site.execute("TRUNCATE decoded_data, rollup_pending", "CHECKPOINT")

    def _copy(self) -> float:
        password = self._site.dsn.password
        started = time.monotonic()
        subprocess.run(
            [packaged().program("psql"), "-X", "-q", self._site.dsn.url, "-c", _COPY.format(path=self._path)],
            env={**os.environ, "PGPASSWORD": password.get_secret_value() if password else ""},
            check=True,
            timeout=_WITHIN_S,
        )
        return time.monotonic() - started

    def _sink(self) -> float:
        started = time.monotonic()
        self._site.run(self._store())
        return time.monotonic() - started

    async def _store(self) -> None:
        sink = Sink(self._site.dsn, application_name="benchmark-sink")
        try:
            for start in range(0, self._count, _BATCH):
                rows = self._rows.take(slice(start, start + _BATCH))
                await sink.write(Resolved(rows, [], [], time.time_ns() // 1000))
        finally:
            await sink.close()

    def _require_all_rows(self) -> None:
        stored = self._site.scalar("SELECT count(*) FROM decoded_data")
        if stored != self._count:
            raise AssertionError(f"{stored} rows are stored instead of {self._count}")


def make_rows(count: int) -> Rows:
    """Return readings of 1,000 series in order of time, 10 microseconds apart, ending now."""
    number = np.arange(count)
    series = number % _SERIES
    now_us = time.time_ns() // 1000
    return Rows(
        device_id=(series % 100 + 1).astype(np.int32),
        datapoint_id=(series // 100 + 1).astype(np.int32),
        time_us=now_us - (count - number) * 10,
        value=np.random.default_rng(7).normal(20, 5, count),
    )
