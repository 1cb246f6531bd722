"""The agent's own log among the lines: no secrets, from any thread."""

import asyncio
import io
import logging

import pytest
import structlog

from iotistic.agent.logs.entry import Level, SourceType
from iotistic.agent.logs.own import OwnLog, message_of
from iotistic.kernel.logging import LogFormat, LogSettings, configure_logging


@pytest.fixture(params=[LogFormat.JSON, LogFormat.CONSOLE])
def logged(request):
    before, handlers = structlog.get_config(), list(logging.getLogger().handlers)
    written = io.StringIO()
    configure_logging(LogSettings(log_format=request.param), process="agent", stream=written)
    yield written
    logging.getLogger().handlers[:] = handlers
    structlog.configure(**before)
    structlog.contextvars.clear_contextvars()


def test_an_event_is_a_line_with_its_fields():
    event = {"event": "target.declared", "version": 3, "why": "a new one", "level": "info", "timestamp": "x"}
    assert message_of(event) == 'target.declared version=3 why="a new one"'


@pytest.mark.parametrize(
    "fields",
    [
        {"password": "hunter2hunter2"},
        {"device_api_key": "hunter2hunter2"},
        {"mqttPassword": "hunter2hunter2"},
        {"broker": "mqtts://device:hunter2hunter2@host:8883"},
        {"reason": "Authorization: Bearer hunter2hunter2 was refused"},
        {"reason": "got {'token': 'hunter2hunter2'}"},
        {"reason": "API_KEY=hunter2hunter2"},
        {"pem": "-----BEGIN PRIVATE KEY-----\nhunter2hunter2\n-----END PRIVATE KEY-----"},
        {"reason": "x" * 485 + " password=hunter2hunter2"},
    ],
)
def test_what_looks_like_a_secret_is_not_told(fields):
    said = message_of({"event": "x.happened", **fields})

    assert "hunter2" not in said
    assert "***" in said


def test_ordinary_words_are_told():
    event = {"event": "store.key_missing", "path": "/data/agent.key", "url": "https://cloud:8443/api/v1"}
    assert message_of(event) == "store.key_missing path=/data/agent.key url=https://cloud:8443/api/v1"


def test_a_long_value_is_cut():
    assert len(message_of({"event": "x", "value": "y" * 9000})) < 600


async def test_what_is_logged_is_handed_on_and_written(logged):
    taken, log = [], structlog.get_logger()
    log.info("before.used")
    own = OwnLog(taken.append, lambda: 5.0)
    with own.listening():
        log.warning("engine.lost", engine="docker")
        log.debug("not.written")
    log.info("after.ended")

    (entry,) = taken
    assert (entry.message, entry.level, entry.timestamp) == ("engine.lost engine=docker", Level.WARN, 5000)
    assert (entry.source.type, entry.source.name, entry.is_system) == (SourceType.MANAGER, "agent", True)
    assert all(event in logged.getvalue() for event in ("before.used", "engine.lost", "after.ended"))


async def test_a_trace_comes_with_its_event(logged):
    taken = []
    with OwnLog(taken.append, lambda: 5.0).listening():
        try:
            int("token=hunter2hunter2")
        except ValueError:
            structlog.get_logger().exception("part.failed")

    (entry,) = taken
    assert entry.level is Level.ERROR
    assert "Traceback" in entry.message
    assert "ValueError" in entry.message
    assert "hunter2" not in entry.message


async def test_what_other_threads_log_is_taken_in_the_loop(logged):
    taken, threads = [], []

    def take(entry):
        taken.append(entry)
        threads.append(asyncio.get_running_loop())

    with OwnLog(take, lambda: 5.0).listening():
        await asyncio.to_thread(structlog.get_logger().info, "disk.full")
        await asyncio.sleep(0)

    assert [one.message for one in taken] == ["disk.full"]
    assert threads == [asyncio.get_running_loop()]


async def test_what_libraries_warn_of_is_taken_too(logged):
    taken = []
    with OwnLog(taken.append, lambda: 5.0).listening():
        logging.getLogger("asyncio").error("Task exception was never retrieved: %s", "x")
        logging.getLogger("aiohttp").info("chatter")

    assert [one.message for one in taken] == ["asyncio: Task exception was never retrieved: x"]


async def test_what_cannot_be_told_hinders_nobody_who_logs(logged):
    class Odd:
        def __str__(self):
            raise RuntimeError

        __repr__ = object.__repr__

    def full(entry):
        raise ValueError

    with OwnLog(full, lambda: 5.0).listening():
        structlog.get_logger().info("first.event")
    with OwnLog(print, lambda: 5.0).listening():
        assert OwnLog(print, lambda: 5.0)(None, "info", {"event": "x", "odd": Odd()})["event"] == "x"

    assert "first.event" in logged.getvalue()
