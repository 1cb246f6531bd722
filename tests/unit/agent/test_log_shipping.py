"""What of the log is sent, and what is said of the rest."""

import asyncio
import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotistic.agent.link.errors import CloudDenied, CloudRefused, CloudUnavailable
from iotistic.agent.logs.entry import Level, LogEntry, Source, SourceType
from iotistic.agent.logs.settings import AgentLogSettings
from iotistic.agent.logs.shipper import LogShipper
from iotistic.agent.logs.shipping import Allowance, Loss, Losses, Reason, Shipping, Sieve, told
from iotistic.agent.logs.waiting import WaitingLines
from iotistic.kernel.settings import load_settings

ALL = dict.fromkeys(Level, 1.0)


def entry(number=0, level=Level.INFO, service="web", text="", own=False):
    kind, name = (SourceType.MANAGER, "agent") if own else (SourceType.CONTAINER, service)
    about = {} if own else {"service_id": "3", "service_name": service, "container_id": service}
    return LogEntry(
        f"e{number}", text or f"line {number}", 1000, level, Source(kind, name), is_system=own, **about
    )


def shares(**more):
    return Shipping(shares=ALL, **{"lines_per_minute": 0, "flush_s": 0.0, "urgent_flush_s": 0.0, **more})


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


class Sink:
    """Keeps lines; answers first with what it is told to."""

    def __init__(self, *answers):
        self.answers, self.batches, self.tries = list(answers), [], 0

    async def send_logs(self, lines, *, is_gzip):
        self.tries += 1
        if self.answers and (answer := self.answers.pop(0)) is not None:
            raise answer
        plain = gzip.decompress(lines) if is_gzip else lines
        self.batches.append([json.loads(line) for line in plain.splitlines()])

    @property
    def messages(self):
        return [line["message"] for batch in self.batches for line in batch]


class Running:
    """A shipper at work, whose pauses take no time."""

    def __init__(self, sink, shipping=None, clock=None):
        self.sink, self.pauses = sink, []
        self.shipper = LogShipper(
            sink,
            shipping or shares(),
            clock=lambda: 5.0,
            chance=lambda: 0.5,
            now=clock or (lambda: 100.0),
            pause=self.pause,
        )

    async def pause(self, seconds):
        self.pauses.append(seconds)
        await asyncio.sleep(0)

    async def __aenter__(self):
        self.task = asyncio.create_task(self.shipper.run())
        return self

    async def __aexit__(self, *_):
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    async def until(self, met):
        async with asyncio.timeout(5):
            while not met():  # noqa: ASYNC110  ends at the deadline
                await asyncio.sleep(0)


def test_lines_are_drawn_by_level():
    chance = iter([0.05, 0.15, 0.005, 0.02])
    sieve = Sieve(Losses(), Clock(), lambda: next(chance))
    drawn = [
        sieve.passes(entry(level=level), Shipping())
        for level in (Level.ERROR, Level.WARN, Level.INFO, Level.INFO, Level.DEBUG, Level.DEBUG)
    ]

    assert drawn == [True, True, True, False, True, False]
    assert sieve.left_out == {Level.INFO: 1, Level.DEBUG: 1}


def test_the_agents_own_words_are_not_left_to_chance():
    sieve = Sieve(Losses(), Clock(), lambda: 0.99)

    assert sieve.passes(entry(own=True), Shipping())
    assert not sieve.passes(entry(own=True, level=Level.DEBUG), Shipping())


def test_the_cloud_may_ask_for_less():
    sieve = Sieve(Losses(), Clock(), lambda: 0.0)
    asked = [sieve.passes(entry(level=level), shares(lowest=Level.WARN)) for level in Level]

    assert asked == [False, False, True, True]


def test_a_service_has_its_share_and_no_more():
    clock, losses = Clock(), Losses()
    sieve, shipping = Sieve(losses, clock, lambda: 0.0), shares(lines_per_minute=60)
    first = sum(sieve.passes(entry(), shipping) for _ in range(1264))
    other = sum(sieve.passes(entry(service="db"), shipping) for _ in range(10))
    clock.now += 5.0
    later = sum(sieve.passes(entry(), shipping) for _ in range(10))

    assert (first, other, later) == (60, 10, 5)
    said = told(losses.take(), 9.0)
    assert [one.message for one in said] == ["1,209 lines of web were not sent: rate"]
    assert (said[0].level, said[0].service_name, said[0].is_system) == (Level.WARN, "web", True)


def test_one_line_is_said_in_the_singular():
    losses = Losses()
    losses.add(Loss("3", "web", Reason.FULL))
    assert told(losses.take(), 9.0)[0].message == "1 line of web was not sent: too many were waiting"


def test_thousands_of_services_take_no_more_memory_than_hundreds():
    losses = Losses()
    sieve = Sieve(losses, Clock(), lambda: 0.0)
    for number in range(3000):
        sieve.passes(entry(service=f"s{number}"), shares(lines_per_minute=1))
        losses.add(Loss("1", f"s{number}", Reason.RATE))

    assert len(sieve._buckets) <= 256
    taken = losses.take()
    assert len(taken) <= 257
    assert sum(taken.values()) == 3000


@given(st.lists(st.integers(1, 40_000), max_size=60))
def test_what_waits_is_bounded_and_every_line_is_waiting_or_counted(sizes):
    losses, shipping = Losses(), shares(buffer_bytes=64 * 1024)
    waiting = WaitingLines(losses)
    for number, size in enumerate(sizes):
        waiting.add(entry(number, text="x" * size), shipping, 0.0)
        assert waiting.bytes <= 64 * 1024 or len(waiting) == 1
    lost = sum(losses.take().values())
    batches = []
    while len(waiting):
        batches.append(waiting.take(shipping))

    assert waiting.bytes == 0
    assert lost + sum(len(batch.lines) for batch in batches) == len(sizes)
    assert all(0 < len(batch.lines) <= 100 for batch in batches)


def test_an_error_waits_less_than_others():
    shipping = Shipping(flush_s=30.0, urgent_flush_s=3.0)
    waiting = WaitingLines(Losses())
    assert waiting.due(shipping) == float("inf")
    waiting.add(entry(), shipping, 100.0)
    assert waiting.due(shipping) == 130.0
    waiting.add(entry(level=Level.ERROR), shipping, 101.0)
    assert waiting.due(shipping) == 104.0
    waiting.take(shipping)
    waiting.add(entry(), shipping, 102.0)
    assert waiting.due(shipping) == 132.0
    for _ in range(99):
        waiting.add(entry(), shipping, 102.0)
    assert waiting.due(shipping) == float("-inf")


@given(st.lists(st.tuples(st.floats(0, 20_000), st.integers(1, 50_000)), max_size=100))
def test_logs_cost_no_more_a_day_than_they_may(asked):
    now, began, spent, per_day = 50.0, 50.0, 0, 200_000
    allowance = Allowance(now)
    for pause_s, size in asked:
        now = max(now + pause_s, allowance.ready_at(per_day, now + pause_s))
        allowance.spend(size, per_day, now)
        spent += size
        assert spent <= per_day * (1 + (now - began) / 86_400) + 50_000


def test_an_allowance_that_is_used_up_comes_back_with_time():
    allowance = Allowance(0.0)
    allowance.spend(286_400, 86_400, 0.0)

    assert allowance.ready_at(86_400, 0.0) == 200_000.0
    assert allowance.ready_at(86_400, 199_000.0) == 200_000.0
    assert allowance.ready_at(86_400, 300_000.0) == 300_000.0
    assert allowance.ready_at(0, 5.0) == 5.0


async def test_errors_that_never_end_do_not_cost_a_request_each():
    clock, sent_at = Clock(), []
    shipping = shares(flush_s=30.0, urgent_flush_s=3.0)
    waiting = WaitingLines(Losses())
    last = float("-inf")
    for _ in range(600):  # one a second for ten minutes
        clock.now += 1.0
        waiting.add(entry(level=Level.ERROR), shipping, clock.now)
        if waiting.due(shipping, last) <= clock.now:
            waiting.take(shipping)
            last = clock.now
            sent_at.append(clock.now)

    assert sent_at[0] == 104.0
    assert len(sent_at) == 20


async def test_a_day_that_is_used_up_keeps_lines_waiting():
    clock = Clock()
    async with Running(Sink(), shares(bytes_per_day=600), clock) as running:
        for number in range(3):
            running.shipper.take(entry(number))
            for _ in range(20):
                await asyncio.sleep(0)
        assert (running.shipper.sent, running.shipper.waiting) == (1, 2)
        clock.now += 86_400.0
        running.shipper.take(entry(3))
        await running.until(lambda: running.shipper.sent == 4)


async def test_lines_arrive_once_in_their_order():
    async with Running(Sink()) as running:
        for number in range(250):
            running.shipper.take(entry(number))
        await running.until(lambda: running.shipper.sent == 250)

    assert running.sink.messages == [f"line {number}" for number in range(250)]
    assert max(len(batch) for batch in running.sink.batches) <= 100


async def test_lines_wait_for_company():
    clock = Clock()
    async with Running(Sink(), shares(flush_s=0.05), clock) as running:
        for number in range(5):
            running.shipper.take(entry(number))
            await asyncio.sleep(0)
        assert running.sink.tries == 0
        clock.now += 1.0
        await running.until(lambda: running.shipper.sent == 5)

    assert len(running.sink.batches) == 1


async def test_a_cloud_that_is_away_costs_no_line_while_there_is_room():
    away = (
        [CloudUnavailable("no answer")] * 12 + [CloudUnavailable("proxy", status=502)] + [CloudDenied("key")]
    )
    async with Running(Sink(*away)) as running:
        running.shipper.take(entry(1))
        await running.until(lambda: running.shipper.sent == 1)

    assert running.sink.messages == ["line 1"]
    assert running.sink.tries == 15
    assert running.pauses[:4] == [1.0, 2.0, 4.0, 8.0]
    assert running.pauses[9:] == [60.0] * 5


async def test_a_cloud_that_is_away_for_long_costs_the_oldest_lines_and_says_so():
    sink = Sink()
    sink.answers = [CloudUnavailable("no answer")] * 50
    async with Running(sink, shares(buffer_bytes=32 * 1024)) as running:
        running.shipper.take(entry(0))
        await running.until(lambda: sink.tries > 2)
        for number in range(1, 1001):
            running.shipper.take(entry(number))
        await running.until(lambda: not running.shipper.waiting and running.shipper.losses.total)

    sent = [int(text.removeprefix("line ")) for text in sink.messages if text.startswith("line ")]
    said = [text for text in sink.messages if not text.startswith("line ")]
    assert sent == [0, *range(1001 - len(sent) + 1, 1001)]
    assert said == [f"{1001 - len(sent):,} lines of web were not sent: too many were waiting"]


async def test_lines_that_the_cloud_fails_on_are_given_up_after_five_tries():
    failing = [CloudUnavailable("oops", status=500)] * 5
    async with Running(Sink(*failing)) as running:
        running.shipper.take(entry(1))
        running.shipper.take(entry(2))
        await running.until(lambda: running.sink.batches)

    assert running.sink.tries == 6
    assert running.sink.messages == ["2 lines of web were not sent: the cloud failed again and again"]


async def test_lines_that_the_cloud_refuses_are_given_up_at_once():
    async with Running(Sink(CloudRefused("too large", status=413))) as running:
        running.shipper.take(entry(1, own=True))
        await running.until(lambda: running.sink.batches)

    assert running.sink.messages == ["1 line of agent was not sent: the cloud refused them"]


async def test_what_could_not_be_said_of_losses_is_said_later():
    async with Running(Sink(CloudRefused("no", status=400)), shares(lines_per_minute=1)) as running:
        for number in range(5):
            running.shipper.take(entry(number))
        await running.until(lambda: running.sink.batches)

    assert sorted(running.sink.messages) == [
        "1 line of web was not sent: the cloud refused them",
        "4 lines of web were not sent: rate",
    ]


async def test_the_cloud_says_when_to_come_again():
    async with Running(Sink(CloudUnavailable("busy", status=429, retry_after_s=45.0))) as running:
        running.shipper.take(entry(1))
        await running.until(lambda: running.shipper.sent)

    assert running.pauses == [45.0]


async def test_logging_to_the_cloud_may_be_switched_off_and_on():
    async with Running(Sink(*[CloudUnavailable("away")] * 3)) as running:
        running.shipper.take(entry(1))
        await running.until(lambda: running.sink.tries)
        running.shipper.shipping = shares(is_enabled=False)
        running.shipper.take(entry(2))
        tries = running.sink.tries
        for _ in range(20):
            await asyncio.sleep(0)
        assert running.sink.tries <= tries + 1
        running.sink.answers.clear()
        running.shipper.shipping = shares()
        running.shipper.take(entry(3))
        await running.until(lambda: running.shipper.sent)

    assert running.sink.messages == ["line 3"]


async def test_lines_are_sent_plain_if_that_is_wanted():
    async with Running(Sink(), shares(is_compressed=False)) as running:
        running.shipper.take(entry(1))
        await running.until(lambda: running.shipper.sent)

    assert running.sink.messages == ["line 1"]


def test_settings_are_read_under_the_names_of_the_contract(monkeypatch):
    for name, value in {
        "MAX_LOGS": "50",
        "LOG_MAX_AGE": "60000",
        "ENABLE_CLOUD_LOGGING": "false",
        "LOG_COMPRESSION": "false",
        "LOG_FILE_PERSISTANCE": "true",
        "LOG_DIR": "/tmp/logs",
        "MAX_LOG_FILE_SIZE": "5MB",
    }.items():
        monkeypatch.setenv(name, value)
    settings = load_settings(AgentLogSettings)

    assert (settings.max_logs, settings.log_max_age, settings.max_log_file_size) == (50, 60_000, 5_000_000)
    assert (settings.shipping.is_enabled, settings.shipping.is_compressed) == (False, False)
    assert settings.keeps_log_files


@pytest.mark.parametrize("name", ["LOG_FILE_PERSISTANCE", "LOG_FILE_PERSISTENCE"])
def test_files_are_asked_for_in_either_spelling(name, monkeypatch):
    assert not load_settings(AgentLogSettings).keeps_log_files
    monkeypatch.setenv(name, "true")
    assert load_settings(AgentLogSettings).keeps_log_files
