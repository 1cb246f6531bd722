"""A stream that Docker ends too early is completed from what it wrote down."""

import contextlib
import struct
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotistic.agent.engines.docker.client import Refused
from iotistic.agent.engines.docker.printing import read_logs
from iotistic.agent.engines.docker.reading import Inspected
from iotistic.agent.engines.errors import ContainerNotFound, EngineUnavailable, StepRefused
from iotistic.agent.engines.port import LogLine
from iotistic.planning.model import Container, ServiceConfig, ServiceKey, Status

ONE = Inspected(
    Container("c1", ServiceKey("7", "3"), "web", ServiceConfig("web:1"), Status.RUNNING),
    {"Name": "/shop_web_3", "Config": {"Tty": False, "Labels": {"iotistic.service-name": "web"}}},
)
FIRST_S = 1_795_000_000


def frame(source, payload):
    return struct.pack(">BxxxL", source, len(payload)) + payload


def framed(line):
    whole = datetime.fromtimestamp(line.at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")
    return frame(2 if line.is_stderr else 1, f"{whole}000Z {line.text}\n".encode())


class Client:
    """Ends the stream that is followed after some lines, and has them all when asked again."""

    def __init__(self, lines, ends_after=None, refusal=None):
        self.lines, self.ends_after, self.refusal, self.queries = lines, ends_after, refusal, []

    @contextlib.asynccontextmanager
    async def open(self, method, path, *, query):
        self.queries.append(query)
        if self.refusal is not None:
            raise self.refusal
        since = float(query.get("since", 0))
        found = [line for line in self.lines if line.at >= since]
        self.found = found[: self.ends_after] if query["follow"] == "1" else found
        yield self

    @property
    def content(self):
        return self

    async def iter_any(self):
        for line in self.found:
            yield framed(line) if isinstance(line, LogLine) else line


async def read(client, **options):
    return [line async for line in read_logs(client, ONE, **{"since": 0.0, "follow": True, **options})]


@given(st.lists(st.sampled_from([0, 0, 1, 7]), max_size=150), st.integers(0, 150), st.integers(0, 300))
async def test_no_line_is_missing_and_none_comes_twice(steps, ends_after, begins):
    at, lines = FIRST_S * 1_000_000, []
    for number, step in enumerate(steps):
        at += step
        lines.append(LogLine(at / 1e6, f"line {number}", number % 3 == 0))
    since = FIRST_S + begins / 1e6
    wanted = [line for line in lines if line.at >= since]
    found = await read(Client(lines, ends_after), since=since)

    # Where a moment has more than 64 lines the end of that moment may be missing: no container prints so fast.
    assert found == wanted[: len(found)] if len(found) < len(wanted) else found == wanted
    assert len(found) == len(wanted) or sum(line.at == found[-1].at for line in lines) > 64


async def test_what_is_not_followed_is_read_once():
    client = Client([LogLine(FIRST_S + 0.5, "x")])

    assert await read(client, follow=False, since=FIRST_S + 0.25) == client.lines
    assert client.queries == [
        {"stdout": "1", "stderr": "1", "timestamps": "1", "follow": "0", "since": f"{FIRST_S}.250000"}
    ]


@pytest.mark.parametrize(
    ("refusal", "expected"),
    [
        (Refused(404, "no such container"), ContainerNotFound),
        (Refused(409, "marked for removal"), ContainerNotFound),
        (Refused(501, "configured logging driver does not support reading"), StepRefused),
        (EngineUnavailable("gone"), EngineUnavailable),
    ],
)
async def test_refusals_are_errors_of_engines(refusal, expected):
    with pytest.raises(expected):
        await read(Client([], refusal=refusal))


async def test_dockers_own_word_in_the_stream_is_no_line():
    with pytest.raises(EngineUnavailable, match="Error grabbing logs"):
        await read(Said())


class Said(Client):
    def __init__(self):
        super().__init__([])

    async def iter_any(self):
        yield frame(3, b"Error grabbing logs: unexpected EOF\n")
