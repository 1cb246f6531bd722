"""What one worker commits, beside what the broker delivers to `mosquitto_sub`, in the same run.

    (a) publishers -> broker -> mosquitto_sub -q 1
    (b) publishers -> broker -> worker -> COPY, INSERT ... ON CONFLICT DO NOTHING, COMMIT -> PUBACK

Ten publishers, in one process. Both are timed from the first publish to the last message delivered or committed, flat out, in
alternating rounds. Then: latency at half of (b), memory over millions of messages, TLS, Modbus.
"""

import statistics
from dataclasses import dataclass, replace

from benchmarks.feed import CommitWatch
from benchmarks.framework import Report, at_least, at_most
from benchmarks.installation import Installation, installation
from benchmarks.load import LoadPlan, load
from benchmarks.peers import mosquitto_sub
from benchmarks.usage import MemorySampler, Meter

_WITHIN_S = 300.0
_CONTROLLERS = 10
_SENSORS = 24  # six on each of four connectors
_MIB = 2**20
_VARIANT_S = 8.0
# What a device's controller and its sensors are in the metadata: every pin holds a climate sensor.
_REGISTER = """
WITH controllers AS (
    INSERT INTO devices (devicename, devicetemplateid, macaddress)
    SELECT 'bench ' || n, t.id, '02b0' || lpad(to_hex(n), 8, '0')
    FROM generate_series(0, {controllers} - 1) AS n, devicetemplates t WHERE t.model = 'F2'
    RETURNING id
), joined AS (
    INSERT INTO connectors (controllerid, connectornumber)
    SELECT id, n FROM controllers, generate_series(1, 4) AS n RETURNING id
), sensors AS (
    INSERT INTO devices (devicename, devicetemplateid)
    SELECT 'bench sensor ' || n, t.id
    FROM generate_series(1, {sensors}) AS n, devicetemplates t WHERE t.model = 'THC-485'
    RETURNING id
)
INSERT INTO pins (connectorid, position, deviceid)
SELECT place.connector, place.position, sensor.id
FROM (SELECT c.id AS connector, p AS position, row_number() OVER () AS n
      FROM joined c, generate_series(1, 6) AS p) AS place
JOIN (SELECT id, row_number() OVER () AS n FROM sensors) AS sensor USING (n)
"""


@dataclass(frozen=True)
class Sizes:
    """How many messages, or for how long."""

    rounds: int
    round_s: float
    latency_s: float
    memory_messages: int


QUICK = Sizes(rounds=1, round_s=2.5, latency_s=4, memory_messages=150_000)
FULL = Sizes(rounds=5, round_s=6, latency_s=6, memory_messages=5_000_000)


def register_controllers(count: int) -> str:
    """Return the statement that registers F2 controllers with a sensor on every pin."""
    return _REGISTER.format(controllers=count, sensors=count * _SENSORS)


def run(quick: bool, report: Report) -> None:
    sizes = QUICK if quick else FULL
    with installation(workers=1) as site:
        site.execute(register_controllers(_CONTROLLERS))
        with CommitWatch(site.home.run) as watch:
            bench = IngestBench(site, watch, report)
            bench.compare(sizes)
            bench.latency(sizes)
            bench.memory(sizes)
            bench.variants(sizes)
        bench.account()


class IngestBench:
    """The parts of the benchmark, over one installation."""

    def __init__(self, site: Installation, watch: CommitWatch, report: Report) -> None:
        self._site = site
        self._watch = watch
        self._report = report
        self._rows = 0
        endpoints = site.endpoints
        self.plan = LoadPlan(
            port=endpoints.service_port,
            username=endpoints.service_username,
            password_file=str(endpoints.service_password_file),
            connections=_CONTROLLERS,
        )

    def delivered(self, count: int) -> float:
        """(a): messages a second that the broker delivers to mosquitto_sub."""
        plan = replace(self.plan, family="probes", count=count)
        with mosquitto_sub(self._site.endpoints, "probes/#", count) as peer, load(plan) as publisher:
            finished_us = peer.finish(_WITHIN_S)
            return count * 1e6 / (finished_us - publisher.wait(_WITHIN_S).first_us)

    def committed(self, plan: LoadPlan, *, rows_each: int = 1) -> float:
        """(b): messages a second until the last is committed."""
        self._watch.reset()
        rows = plan.count * rows_each
        with load(plan) as publisher:
            if not self._watch.wait_for(rows, _WITHIN_S):
                raise TimeoutError(f"{self._watch.rows} of {rows} rows were committed in {_WITHIN_S:.0f} s")
            summary = publisher.wait(_WITHIN_S)
        self._rows += rows
        return plan.count * 1e6 / (self._watch.last_commit_us - summary.first_us)

    def compare(self, sizes: Sizes) -> None:
        """Alternate (a) and (b); the ratio is the median of the rounds' ratios."""
        self._report.progress("warming up: every series is resolved once")
        self.committed(replace(self.plan, count=20_000))
        pace = self.delivered(30_000)
        count = round(pace * sizes.round_s)
        delivered: list[float] = []
        committed: list[float] = []
        used = dict.fromkeys(self._site.pids, 0.0)
        for number in range(sizes.rounds):
            delivered.append(self.delivered(count))
            with Meter(self._site.pids) as meter:
                committed.append(self.committed(replace(self.plan, count=count)))
            used = {name: used[name] + meter.used_s[name] for name in used}
            self._report.progress(
                f"round {number + 1}: {delivered[-1]:,.0f} delivered, {committed[-1]:,.0f} committed /s"
            )
        self.rate = statistics.median(committed)
        self._report.add(
            "committed, single JSON, one worker", self.rate, "msg/s",
            reference=statistics.median(delivered), goal=at_least(1.0, of="ratio"),
        )  # fmt: skip
        millions = count * sizes.rounds / 1e6
        self._report.add("CPU of our worker", used["ingest-0"] / millions, "s/million", goal=at_most(2.5))
        self._report.add("CPU of the broker", used["broker"] / millions, "s/million")
        self._report.add("CPU of PostgreSQL", used["postgres"] / millions, "s/million")

    def latency(self, sizes: Sizes) -> None:
        """Publish to commit at half of the rate reached; in rounds, since the machine may stall for a second."""
        # Log files that the server has used before, as on any installation that ran for a while: a new one is
        # filled with zeros and synced first, which stalls a shared disk for up to a second.
        self._site.execute("CHECKPOINT")
        rate = self.rate / 2
        rounds: list[tuple[float, float]] = []
        for _ in range(sizes.rounds):
            self.committed(replace(self.plan, rate=rate, count=round(rate * sizes.latency_s)))
            rounds.append((self._watch.latency_ms(50), self._watch.latency_ms(99)))
        medians, tails = zip(*rounds, strict=True)
        at = f"publish to commit at {rate:,.0f} msg/s"
        self._report.add(f"{at}, p50", statistics.median(medians), "ms")
        self._report.add(f"{at}, p99, median round", statistics.median(tails), "ms", goal=at_most(50))
        self._report.add(f"{at}, p99, worst round", max(tails), "ms")

    def memory(self, sizes: Sizes) -> None:
        """Memory of the worker over many messages, flat out."""
        worker = self._site.pids["ingest-0"]
        with MemorySampler(worker, every_s=0.25) as sampler:
            # One publisher takes turns with the worker at the broker, so no queue builds up there.
            rate = self.committed(replace(self.plan, connections=1, count=sizes.memory_messages))
        millions = sizes.memory_messages / 1e6
        self._report.add(f"sustained over {millions:g} million messages", rate, "msg/s")
        self._report.add("peak memory of our worker", sampler.peak_bytes / _MIB, "MiB", goal=at_most(200))
        self._report.add("its growth, last fifth over second", sampler.growth_ratio, "x", goal=at_most(1.1))

    def variants(self, sizes: Sizes) -> None:
        """Publishers that come by mutual TLS, and frames of three datapoints; against plain JSON above."""
        count = round(self.rate * sizes.round_s / 2)
        names = [f"02b0{number:08x}" for number in range(_CONTROLLERS)]
        tls = replace(
            self.plan,
            port=self._site.endpoints.device_port,
            username="",
            devices=_CONTROLLERS,
            series=_CONTROLLERS * _SENSORS,
            ca_file=str(self._site.authority.certificate),
            certificate_files=tuple(str(self._site.authority.issue(name)) for name in names),
            count=count,
        )
        plain_modbus = replace(
            self.plan, kind="modbus", devices=_CONTROLLERS, series=_CONTROLLERS * _SENSORS, count=count
        )
        for name, plan, rows_each in (
            ("JSON, 10 publishers by mutual TLS", replace(tls, kind="json-tele"), 1),
            ("Modbus, three datapoints each", plain_modbus, 3),
            ("Modbus by mutual TLS", replace(tls, kind="modbus"), 3),
            ("JSON, one publisher", replace(self.plan, connections=1, count=count), 1),
        ):
            if self._report.remaining_s < _VARIANT_S:
                self._report.progress(f"no time left for {name}")
                continue
            self.committed(replace(plan, count=2000), rows_each=rows_each)
            with Meter(self._site.pids) as meter:
                rate = self.committed(plan, rows_each=rows_each)
            self._report.add(f"committed, {name}", rate, "msg/s", reference=self.rate)
            millions = count / 1e6
            self._report.add(f"CPU of our worker, {name}", meter.used_s["ingest-0"] / millions, "s/million")

    def account(self) -> None:
        """Every acknowledged message is a row, once, and nothing was refused."""
        stored = self._site.scalar("SELECT count(*) FROM decoded_data")
        refused = self._site.scalar("SELECT count(*) FROM dead_letters")
        self._report.add(
            "rows missing or double", abs(self._rows - int(str(stored))), "rows", goal=at_most(0)
        )
        self._report.add("dead letters", int(str(refused)), "messages", goal=at_most(0))
