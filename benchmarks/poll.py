"""Devices that ask for their target and have it already (304), over HTTP: the API's one process, 1,000 devices.

Each poll shows the device's own key. Beside it, in the same run, what the server (uvicorn) answers that looks at
nothing, and a route of the framework (FastAPI) that does.
"""

from benchmarks.control_site import ControlSite, bare_server, control_site, cpu_seconds
from benchmarks.framework import Goal, Report, at_least, at_most
from benchmarks.http_bare import FASTAPI, HELLO
from benchmarks.http_load import HttpLoad, HttpSummary, LoadStalled, asked

_DEVICES = 1000
_AT_ONCE = 64
_PACE = 500


def run(quick: bool, report: Report) -> None:
    seconds = 4.0 if quick else 15.0
    with control_site(devices=_DEVICES) as site:
        PollBench(site, report, seconds).measure()


class PollBench:
    """One API, and loads on it."""

    def __init__(self, site: ControlSite, report: Report, seconds: float) -> None:
        self._site, self._report, self._seconds = site, report, seconds
        self._polls = [device.poll() for device in site.devices]

    def measure(self) -> None:
        """Measure the frameworks, then the polls."""
        bare = {kind: self._bare(kind) for kind in (HELLO, FASTAPI)}
        self._ask("warming up", self._site.port, _AT_ONCE, seconds=2)
        few = self._most(_AT_ONCE, at_least(3000))
        self._report.add(
            "polls beside uvicorn's hello", few.per_second, "req/s", reference=bare[HELLO].per_second
        )
        self._report.add(
            "polls beside a bare FastAPI 304", few.per_second, "req/s", reference=bare[FASTAPI].per_second
        )
        self._most(len(self._site.devices), at_least(3000))
        self._paced(_AT_ONCE)
        self._paced(len(self._site.devices))

    def _bare(self, kind: str) -> HttpSummary:
        with bare_server(kind) as port:
            found = self._ask(f"bare {kind}", port, _AT_ONCE)
        self._report.add(f"bare {kind}, {_AT_ONCE} connections", found.per_second, "req/s")
        return found

    def _most(self, connections: int, goal: Goal) -> HttpSummary:
        api, database = cpu_seconds(self._site.api_pid), cpu_seconds(self._site.postgres_pid)
        found = self._ask("polls", self._site.port, connections)
        _require(found)
        name = f"{connections:,} connections"
        self._report.add(f"polls answered 304, {name}", found.per_second, "req/s", goal=goal)
        self._report.add(f"their p99, {name}", found.p99_ms, "ms")
        for part, pid, before in (
            ("the API", self._site.api_pid, api),
            ("PostgreSQL", self._site.postgres_pid, database),
        ):
            cost = 1e3 * (cpu_seconds(pid) - before) / found.answered
            self._report.add(f"CPU of {part} a poll, {name}", cost, "ms")
        return found

    def _paced(self, connections: int) -> None:
        found = self._ask("paced polls", self._site.port, connections, rate=_PACE)
        _require(found)
        name = f"{_PACE} polls/s on {connections:,} connections"
        self._report.add(f"{name}, p50", found.p50_ms, "ms")
        self._report.add(f"{name}, p99", found.p99_ms, "ms", goal=at_most(20))
        self._report.add(f"{name}, how late the asker was, p99", found.late_ms, "ms")

    def _ask(
        self, what: str, port: int, connections: int, *, rate: float = 0, seconds: float = 0
    ) -> HttpSummary:
        plan = HttpLoad(
            port=port,
            requests=self._polls,
            connections=connections,
            seconds=seconds or self._seconds,
            rate=rate,
        )
        found = asked(plan)
        self._report.progress(
            f"{what}: {found.per_second:,.0f}/s, p50 {found.p50_ms:.1f}, p99 {found.p99_ms:.1f} ms, {found.statuses}"
        )
        return found


def _require(found: HttpSummary) -> None:
    if not found.only(304):
        raise LoadStalled(f"not every poll was answered 304: {found.statuses}")
