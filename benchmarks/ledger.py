"""What delivery stamps cost: the same messages without, with a user property, and with JSON fields.

One worker, ten publishers, flat out, in alternating rounds of one run. The ledger is added up between the
rounds, and not counted: it is not on the way of a reading, whichever round it fell into would pay for others,
and every round begins new epochs, which devices that go on do not. Four loads: frames of F2 controllers (three
readings each, 154 bytes behind the length), lean JSON readings of controllers that come by mutual TLS as devices
do (138 bytes), and the leanest there are (111 bytes) of few and of many devices, without TLS. Mosquitto reads the length of a packet byte by byte, so 128 bytes cost it one system call more than
127: a stamp pushes the lean messages over that step, and not the frames. Payloads as long as stamped ones, with
fields of other names, say what of the cost is length alone. What stamps cost the broker alone, towards
`mosquitto_sub`, stands beside, and what two properties for one: it has one thread. At the end the ledger itself
says whether anything is missing.
"""

import statistics
import time
from dataclasses import dataclass, field, replace

from benchmarks.feed import CommitWatch
from benchmarks.framework import Report, at_least, at_most
from benchmarks.ingest import register_controllers
from benchmarks.installation import Installation, installation
from benchmarks.load import LoadPlan, load
from benchmarks.messages import Stamp
from benchmarks.peers import mosquitto_sub
from benchmarks.usage import Meter

_WITHIN_S = 300.0
_WAYS: dict[Stamp, str] = {
    "": "no stamps",
    "data": "correlation data",
    "properties": "a user property",
    "pair": "two user properties",
    "json": "JSON fields",
    "other": "other JSON fields",
}
_ORDER: tuple[Stamp, ...] = ("", "data", "properties", "json", "other")
_TO_THE_BROKER: tuple[Stamp, ...] = (*_ORDER, "pair")
_SHIPPED: tuple[Stamp, ...] = ("data", "properties", "json")
_CONTROLLERS, _SENSORS = 100, 6
_MOST_COST = 0.95
_PUBLISHERS = "the publishers"


@dataclass
class Rounds:
    """What the rounds of one way to stamp measured: messages a second, and CPU seconds by process."""

    rates: list[float] = field(default_factory=list[float])
    cpu_s: dict[str, float] = field(default_factory=dict[str, float])
    messages: int = 0

    @property
    def rate(self) -> float:
        """Median of the rounds."""
        return statistics.median(self.rates)

    def cpu_per_million(self, process: str) -> float:
        """CPU seconds per million messages."""
        return self.cpu_s[process] * 1e6 / self.messages


def run(quick: bool, report: Report) -> None:
    # Many short rounds: what else the machine does then falls on all ways alike.
    rounds, seconds = (1, 1.2) if quick else (16, 1.5)
    with installation(workers=1) as site, CommitWatch(site.home.run) as watch:
        site.execute(register_controllers(_CONTROLLERS))
        site.start_maintenance(ROLLUP_INTERVAL_S="3600", LEDGER_FOLD_S="60", LEDGER_WATERMARK_S="3600")
        bench = LedgerBench(site, watch, report)
        frames = replace(bench.plan, kind="modbus", series=_CONTROLLERS * _SENSORS)
        bench.compare("100 F2 controllers", frames, rounds=rounds, seconds=seconds)
        bench.compare("10 F2 controllers by TLS", bench.by_tls(), rounds=rounds, seconds=seconds)
        bench.compare("100 devices", bench.plan, rounds=rounds, seconds=seconds)
        fleet = replace(bench.plan, devices=5000, series=5000)
        bench.compare("5,000 devices", fleet, rounds=rounds, seconds=seconds)
        bench.broker_alone(rounds=(rounds + 1) // 2, seconds=seconds)
        bench.account()


class LedgerBench:
    """The comparison over one installation."""

    def __init__(self, site: Installation, watch: CommitWatch, report: Report) -> None:
        self._site, self._watch, self._report = site, watch, report
        self._stamped = 0
        self._epoch = int(time.time())
        endpoints = site.endpoints
        self.plan = LoadPlan(
            port=endpoints.service_port,
            username=endpoints.service_username,
            password_file=str(endpoints.service_password_file),
            connections=10,
            protocol=5,
        )

    def by_tls(self) -> LoadPlan:
        """Return lean JSON readings of controllers that connect as devices do: each with its certificate."""
        authority = self._site.authority
        names = [f"02b0{number:08x}" for number in range(self.plan.connections)]
        return replace(
            self.plan,
            kind="json-tele",
            port=self._site.endpoints.device_port,
            username="",
            devices=len(names),
            series=len(names) * _SENSORS,
            ca_file=str(authority.certificate),
            certificate_files=tuple(str(authority.issue(name)) for name in names),
        )

    def compare(self, who: str, plan: LoadPlan, *, rounds: int, seconds: float) -> None:
        """Alternate the ways, the first one changing from round to round."""
        self._report.progress(f"{who}: warming up, every series is resolved once")
        count = round(self._committed(replace(plan, count=20_000))[0] * seconds)
        found: dict[Stamp, Rounds] = {stamp: Rounds() for stamp in _ORDER}
        for number in range(rounds):
            turn = number % len(_ORDER)
            for stamp in (*_ORDER[turn:], *_ORDER[:turn]):
                self._measure(replace(plan, count=count, stamp=stamp), found[stamp])
            told = ", ".join(f"{found[stamp].rates[-1]:,.0f} with {_WAYS[stamp]}" for stamp in _ORDER)
            self._report.progress(f"{who}, round {number + 1}: {told}")
        self._tell(who, found)

    def broker_alone(self, *, rounds: int, seconds: float) -> None:
        """What the broker delivers to mosquitto_sub, with and without stamps."""
        count = round(self._delivered(replace(self.plan, count=20_000)) * seconds)
        rates: dict[Stamp, list[float]] = {stamp: [] for stamp in _TO_THE_BROKER}
        for number in range(rounds):
            turn = number % len(_TO_THE_BROKER)
            for stamp in (*_TO_THE_BROKER[turn:], *_TO_THE_BROKER[:turn]):
                rates[stamp].append(self._delivered(replace(self.plan, count=count, stamp=stamp)))
        plain = statistics.median(rates[""])
        self._report.add("broker alone, no stamps", plain, "msg/s")
        for stamp in _TO_THE_BROKER[1:]:
            value = statistics.median(rates[stamp])
            self._report.add(f"broker alone, {_WAYS[stamp]}", value, "msg/s", reference=plain)

    def _delivered(self, plan: LoadPlan) -> float:
        probes = replace(plan, family="probes")
        with mosquitto_sub(self._site.endpoints, "probes/#", plan.count) as peer, load(probes) as publisher:
            finished_us = peer.finish(_WITHIN_S)
            return plan.count * 1e6 / (finished_us - publisher.wait(_WITHIN_S).first_us)

    def _measure(self, plan: LoadPlan, into: Rounds) -> None:
        with Meter(self._site.pids) as meter:
            rate, publisher_s = self._committed(plan)
        self._fold()
        into.rates.append(rate)
        into.messages += plan.count
        for process, used_s in (*meter.used_s.items(), (_PUBLISHERS, publisher_s)):
            into.cpu_s[process] = into.cpu_s.get(process, 0.0) + used_s

    def _committed(self, plan: LoadPlan) -> tuple[float, float]:
        """Return messages a second from the first publish to the last commit, and the publishers' CPU seconds."""
        self._watch.reset()
        self._epoch += 1
        rows = plan.count * (3 if plan.kind == "modbus" else 1)
        with load(replace(plan, epoch=self._epoch)) as publisher:
            if not self._watch.wait_for(rows, _WITHIN_S):
                raise TimeoutError(f"{self._watch.rows} of {rows} rows were committed")
            summary = publisher.wait(_WITHIN_S)
        self._stamped += plan.count if plan.stamp in (*_SHIPPED, "pair") else 0
        return plan.count * 1e6 / (self._watch.last_commit_us - summary.first_us), summary.cpu_s

    def _tell(self, who: str, found: dict[Stamp, Rounds]) -> None:
        plain = found[""]
        self._report.add(f"committed, {who}, no stamps", plain.rate, "msg/s")
        for stamp in _ORDER[1:]:
            goal = at_least(_MOST_COST, of="ratio") if stamp in _SHIPPED else None
            self._report.add(
                f"committed, {who}, {_WAYS[stamp]}", _beside(found[stamp], plain) * plain.rate, "msg/s",
                reference=plain.rate, goal=goal,
            )  # fmt: skip
        as_long = found["other"]
        for stamp in _SHIPPED:
            self._report.add(
                f"committed, {who}, {_WAYS[stamp]}, to as long", _beside(found[stamp], as_long) * as_long.rate,
                "msg/s", reference=as_long.rate,
            )  # fmt: skip
        for process in (*self._site.pids, _PUBLISHERS):
            for stamp in _ORDER:
                self._report.add(
                    f"CPU of {process}, {who}, {_WAYS[stamp]}", found[stamp].cpu_per_million(process), "s/million",
                    reference=plain.cpu_per_million(process) if stamp and plain.cpu_s[process] else None,
                )  # fmt: skip

    @staticmethod
    def _sum(column: str, table: str = "ledger_epochs") -> str:
        return f"(SELECT coalesce(sum({column}), 0) FROM {table})"  # noqa: S608 - constants

    def _fold(self) -> None:
        self._site.execute("SELECT ledger_fold(1000000)")

    def account(self) -> None:
        """The ledger knows every stamped message, once."""
        self._fold()
        # Each round is an epoch, of which the ledger keeps 32 for one sender and adds up the others.
        stored, highest = (
            int(str(self._site.scalar(f"SELECT {self._sum(one)} + {self._sum(*two)}")))
            for one, two in (
                ("stored", ("stored", "ledger_dropped")),
                ("highest", ("sent", "ledger_dropped")),
            )
        )
        self._report.add(
            "stamped messages that the ledger lacks", self._stamped - stored, "messages", goal=at_most(0)
        )
        self._report.add("missing in the ledger", highest - stored, "messages", goal=at_most(0))


def _beside(stamped: Rounds, without: Rounds) -> float:
    """Return the ratio of rates: that of rounds that stood side by side says more than that of two medians."""
    return statistics.median(one / other for one, other in zip(stamped.rates, without.rates, strict=True))
