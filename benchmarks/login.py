"""What a login costs, and what it costs others: p99 of paced polls before and while 20 people log in at once."""

import http.client
import json
import secrets
import time
from concurrent.futures import ThreadPoolExecutor

from benchmarks.control_site import BASE, ControlSite, control_site
from benchmarks.framework import Report, at_least, at_most, percentile
from benchmarks.http_load import HttpLoad, HttpSummary, http_load
from iotistic.control.accounts.passwords import Passwords
from iotistic.kernel.postgres.pool import open_connection

_PEOPLE = 20
_RATE = 500
_POLLS = 1000
_PERSON = (
    "INSERT INTO users (id, username, email, password_hash, role) "
    "SELECT gen_random_uuid(), name, name || '@bench.example', $2, 'viewer' FROM unnest($1::text[]) name"
)


def run(quick: bool, report: Report) -> None:
    with control_site(devices=_POLLS) as site:
        LoginBench(site, report, rounds=1 if quick else 3).measure()


class LoginBench:
    """One API, people and devices."""

    def __init__(self, site: ControlSite, report: Report, *, rounds: int) -> None:
        self._site, self._report, self._rounds = site, report, rounds
        self._password = secrets.token_urlsafe(24)

    def measure(self) -> None:
        """Measure the hash alone, then polls without and with logins."""
        self._report.add("CPU of one argon2id", self._hash_ms(), "ms", goal=at_least(100))
        people = self._site.site.run(self._people())
        self._polls(2)
        before = self._polls(5)
        began = time.perf_counter()
        with ThreadPoolExecutor(_PEOPLE) as threads, self._load(4) as load:
            time.sleep(0.5)  # the process of the polls starts
            began = time.perf_counter()
            times = list(threads.map(self._login, people))
            lasted = time.perf_counter() - began
            during = load.wait(60)
        self._report.add(f"{_PEOPLE} logins at once, all in after", lasted, "s")
        self._report.add("one of them, p50", 1e3 * percentile(times, 50), "ms")
        self._report.add("polls at 500/s before: p50", before.p50_ms, "ms")
        self._report.add("polls at 500/s before: p99", before.p99_ms, "ms")
        self._report.add("polls at 500/s during logins: p50", during.p50_ms, "ms", reference=before.p50_ms)
        self._report.add(
            "polls at 500/s during logins: p99",
            during.p99_ms,
            "ms",
            reference=before.p99_ms,
            goal=at_most(1.5, "ratio"),
        )

    def _hash_ms(self) -> float:
        passwords = Passwords(threads=1)
        times: list[float] = []
        for _ in range(5):
            began = time.process_time()
            self._site.site.run(passwords.hash(self._password))
            times.append(1e3 * (time.process_time() - began))
        passwords.close()
        return percentile(times, 50)

    async def _people(self) -> list[str]:
        """Make people who may log in; they have the same password."""
        passwords = Passwords(threads=1)
        known = await passwords.hash(self._password)
        passwords.close()
        names = [f"person{number}" for number in range(_PEOPLE)]
        connection = await open_connection(self._site.site.dsn, application_name="bench-login")
        try:
            await connection.execute(_PERSON, names, known)
        finally:
            await connection.close()
        return names

    def _login(self, name: str) -> float:
        began = time.perf_counter()
        connection = http.client.HTTPConnection("127.0.0.1", self._site.port, timeout=60)
        body = json.dumps({"username": name, "password": self._password})
        connection.request("POST", f"{BASE}/auth/login", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        if answer.status != 200:
            raise RuntimeError(f"{answer.status} {content[:300]!r}")
        return time.perf_counter() - began

    def _load(self, seconds: float):  # noqa: ANN202  a context manager
        polls = [device.poll() for device in self._site.devices]
        return http_load(
            HttpLoad(port=self._site.port, requests=polls, connections=64, seconds=seconds, rate=_RATE)
        )

    def _polls(self, seconds: float) -> HttpSummary:
        with self._load(seconds) as load:
            return load.wait(seconds + 60)
