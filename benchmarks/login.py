"""What a login costs, and what it costs others: p99 of paced polls before and while 20 people log in at once.

In rounds, each with both, since a shared machine changes from second to second; medians stand in the table. People ask
from a process that has connected beforehand and steps back: what it costs them to ask is not what is measured. Beside
both, polls while the product's own process hashes and nobody logs in: what a busy processor costs on this machine.
"""

import json
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.control_site import BASE, ControlSite, control_site, raw_request
from benchmarks.framework import Report, at_least, at_most, percentile
from benchmarks.http_load import HttpLoad, HttpSummary, http_load
from iotistic.control.accounts.passwords import Passwords
from iotistic.kernel.postgres.pool import open_connection

_PEOPLE = 20
_RATE = 500
_POLLS = 1000
_POLLED_S = 3.0
_SOON_S = 1.5  # until both processes run and are connected
_HASHES = 200  # more than are computed while polls are measured
_AHEAD = (
    -10
)  # devices do not share processors with the cloud: how late the asking process is, is not measured
_PERSON = (
    "INSERT INTO users (id, username, email, password_hash, role) "
    "SELECT gen_random_uuid(), name, name || '@bench.example', $2, 'viewer' FROM unnest($1::text[]) name"
)


def run(quick: bool, report: Report) -> None:
    # All people come from one address, round after round.
    with control_site(devices=_POLLS, LOGIN_LIMIT_ADDRESS="100000") as site:
        LoginBench(site, report, rounds=3 if quick else 9).measure()


class LoginBench:
    """One API, people and devices."""

    def __init__(self, site: ControlSite, report: Report, *, rounds: int) -> None:
        self._site, self._report, self._rounds = site, report, rounds
        self._password = secrets.token_urlsafe(24)

    def measure(self) -> None:
        """Measure the hash alone, then polls without and with logins."""
        self._report.add("CPU of one argon2id", self._hash_ms(), "ms", goal=at_least(100))
        logins = [self._login(name) for name in self._site.site.run(self._people())]
        self._polls(_SOON_S)
        rounds = [
            (self._polls(_POLLED_S), self._beside_hashes(), *self._both(logins)) for _ in range(self._rounds)
        ]
        before, beside, during, people = zip(*rounds, strict=True)
        self._report.add(f"{_PEOPLE} logins at once, all in after", _median(people, "seconds"), "s")
        self._report.add("one of them, p50", _median(people, "p50_ms"), "ms")
        for name in ("p50", "p99", "max"):
            was, hashes, became = (_median(some, f"{name}_ms") for some in (before, beside, during))
            goal = at_most(1.5, "ratio") if name == "p99" else None
            self._report.add(f"polls at 500/s before: {name}", was, "ms")
            self._report.add(f"polls at 500/s beside hashes alone: {name}", hashes, "ms", reference=was)
            self._report.add(f"polls at 500/s during logins: {name}", became, "ms", reference=was, goal=goal)

    def _both(self, logins: list[bytes]) -> tuple[HttpSummary, HttpSummary]:
        """Return what came of polls and of logins that begin together."""
        starts_at = time.perf_counter() + _SOON_S
        asking = HttpLoad(
            port=self._site.port,
            requests=logins,
            connections=_PEOPLE,
            seconds=60,
            count=_PEOPLE,
            starts_at=starts_at + 0.1,
            niceness=10,
        )
        with http_load(self._load(_POLLED_S, starts_at)) as polls, http_load(asking) as people:
            polled, came = polls.wait(60), people.wait(120)
        if not came.only(200):
            raise RuntimeError(f"logins were answered {came.statuses}")
        return polled, came

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

    def _login(self, name: str) -> bytes:
        body = json.dumps({"username": name, "password": self._password}).encode()
        headers = {"Host": "127.0.0.1", "Content-Type": "application/json"}
        return raw_request("POST", f"{BASE}/auth/login", headers, body)

    def _load(self, seconds: float, starts_at: float = 0.0) -> HttpLoad:
        polls = [device.poll() for device in self._site.devices]
        return HttpLoad(
            port=self._site.port,
            requests=polls,
            connections=64,
            seconds=seconds,
            rate=_RATE,
            starts_at=starts_at,
            niceness=_AHEAD,
        )

    def _beside_hashes(self) -> HttpSummary:
        with _hashing(self._password):
            return self._polls(_POLLED_S)

    def _polls(self, seconds: float) -> HttpSummary:
        with http_load(self._load(seconds)) as load:
            return load.wait(seconds + 60)


@contextmanager
def _hashing(password: str) -> Iterator[None]:
    """Have the product's process hash one password after the other while the block runs."""
    command = [sys.executable, "-m", "iotistic.control.accounts.hashing", "4", "65536"]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    try:
        assert child.stdin is not None
        child.stdin.write((json.dumps(["hash", password]) + "\n").encode() * _HASHES)
        child.stdin.flush()
        time.sleep(_SOON_S)
        yield
    finally:
        child.kill()
        child.communicate()


def _median(summaries: tuple[HttpSummary, ...], name: str) -> float:
    return percentile([getattr(one, name) for one in summaries], 50)
