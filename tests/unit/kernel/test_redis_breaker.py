"""How long a Redis that failed is left alone, and which settings are refused."""

import pytest

from iotistic.kernel.redis.breaker import Breaker
from iotistic.kernel.redis.settings import RedisSettings
from iotistic.kernel.settings import SettingsInvalid, load_settings


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def breaker(clock: Clock) -> Breaker:
    return Breaker(first_s=1, most_s=10, held_s=60, clock=clock, jitter=lambda: 1.0)


def test_pauses_grow_up_to_a_bound():
    failing = breaker(Clock())

    assert [failing.failed() for _ in range(6)] == [1, 2, 4, 8, 10, 10]


def test_pauses_differ_so_that_processes_do_not_come_back_together():
    assert len({Breaker(first_s=1).failed() for _ in range(20)}) == 20


def test_answering_a_probe_and_failing_at_work_is_no_recovery():
    clock = Clock()
    flapping = breaker(clock)
    pauses = []
    for _ in range(4):
        flapping.succeeded()
        clock.now += 5
        pauses.append(flapping.failed())

    assert pauses == [1, 2, 4, 8]


def test_what_has_held_for_a_while_starts_anew():
    clock = Clock()
    once = breaker(clock)
    once.failed()
    once.failed()
    once.succeeded()
    clock.now += 30
    once.succeeded()
    clock.now += 31

    assert once.failed() == 1


@pytest.mark.parametrize(
    "address",
    ["redis://cache:6379/2", "rediss://user@cache", "unix:///run/redis.sock", "redis://[::1]:6379"],
)
def test_addresses_are_taken(monkeypatch, address):
    monkeypatch.setenv("REDIS_URL", address)

    assert load_settings(RedisSettings).redis_url == address


@pytest.mark.parametrize("address", ["cache:6379", "http://cache", "redis://", "redis://cache:port"])
def test_other_words_are_refused_as_addresses(monkeypatch, address):
    monkeypatch.setenv("REDIS_URL", address)

    with pytest.raises(SettingsInvalid, match="REDIS_URL"):
        load_settings(RedisSettings)


def test_a_password_in_the_address_is_refused_and_not_repeated(monkeypatch):
    monkeypatch.setenv("REDIS_URL", "redis://:hunter22@cache:6379")

    with pytest.raises(SettingsInvalid, match="REDIS_PASSWORD_FILE") as refused:
        load_settings(RedisSettings)
    assert "hunter22" not in str(refused.value)
