"""Questions to real servers on loopback, polite and otherwise."""

import asyncio
import contextlib
import datetime as dt
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from iotistic.agent.engines.errors import ContainerNotFound, EngineUnavailable, StepRefused
from iotistic.agent.health.checking import Checker
from iotistic.agent.health.watch import Answer
from iotistic.planning.model import Container, Probe, ProbeKind, ServiceConfig, ServiceKey, Status

ONE = Container("c1", ServiceKey("1", "9"), "web", ServiceConfig("web:1"), Status.RUNNING)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class Loopback:
    """Reaches every container on loopback; commands are what a test says they are."""

    def __init__(self, run=None, host="127.0.0.1"):
        self.run, self.host = run, host

    async def address(self, container):
        return self.host

    async def execute(self, container, command):
        return await self.run(container, command)


@contextlib.asynccontextmanager
async def server(answer, tls=None, host="127.0.0.1"):
    """Serve what `answer` (bytes, or a coroutine of the writer) says; yield the port and the requests."""
    requests, talks = [], set()

    async def talk(reader, writer):
        talks.add(asyncio.current_task())
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            requests.append(await reader.readuntil(b"\r\n\r\n"))
            if isinstance(answer, bytes):
                writer.write(answer)
                await writer.drain()
            else:
                await answer(writer)
        writer.transport.abort()

    serving = await asyncio.start_server(talk, host, 0, ssl=tls)
    try:
        yield serving.sockets[0].getsockname()[1], requests
    finally:
        serving.close()
        for task in talks:
            task.cancel()
        await asyncio.gather(*talks, return_exceptions=True)
        await serving.wait_closed()


async def ask(port, host="127.0.0.1", kind=ProbeKind.HTTP, **values):
    return await Checker(Loopback(host=host)).ask(ONE, Probe(kind, port=port, **{"timeout_s": 5.0, **values}))


@pytest.mark.parametrize(
    ("status", "expected", "answer"),
    [
        (200, (), Answer.GOOD),
        (204, (), Answer.GOOD),
        (302, (), Answer.GOOD),
        (399, (), Answer.GOOD),
        (400, (), Answer.BAD),
        (404, (), Answer.BAD),
        (500, (), Answer.BAD),
        (404, (404,), Answer.GOOD),
        (200, (404, 503), Answer.BAD),
        (503, (404, 503), Answer.GOOD),
    ],
)
async def test_a_status_is_good_from_200_to_399_or_as_the_probe_says(status, expected, answer):
    async with server(b"HTTP/1.1 %d X\r\n\r\n" % status) as (port, _):
        said = await ask(port, expected_status=frozenset(expected))

    assert said.answer is answer
    assert said.reason == ("" if answer is Answer.GOOD else f"HTTP {status}")


async def test_the_request_is_what_the_probe_says():
    async with server(OK) as (port, requests):
        headers = frozenset({("X-Token", "a b"), ("Host", "shop.example")})
        await ask(port, path="health?full=1&name=a b#é", headers=headers)

    lines = requests[0].decode().split("\r\n")
    assert lines[0] == "GET /health?full=1&name=a%20b%23%C3%A9 HTTP/1.1"
    assert {"host: shop.example", "x-token: a b", "connection: close"} <= set(lines)


async def test_redirects_are_not_followed():
    async with server(b"HTTP/1.1 301 Moved\r\nLocation: http://127.0.0.1:1/\r\n\r\n") as (port, requests):
        said = await ask(port)

    assert (said.answer, len(requests)) == (Answer.GOOD, 1)


async def test_interim_answers_are_passed_over():
    async with server(b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 503 No\r\n\r\n") as (port, _):
        said = await ask(port)

    assert said.reason == "HTTP 503"


def endless(writer):
    async def write():
        while True:
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)
            await writer.drain()

    return write()


def silent(writer):
    return asyncio.Event().wait()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "the connection ended before an answer"),
        (b"HTTP/1.1 200", "the connection ended before an answer"),
        (b"SSH-2.0-OpenSSH\r\n", "the answer is not HTTP"),
        (b"HTTP/2 200 OK\r\n", "the answer is not HTTP"),
        (b"HTTP/1.1 999 X\r\n", "the answer is not HTTP"),
        (b"HTTP/1.1 20 OK\r\n", "the answer is not HTTP"),
        (b"HTTP/1.1  200 OK\r\n", "the answer is not HTTP"),
        (b"x" * 200_000, "the answer is not HTTP"),
        (b"\xff\x00\n", "the answer is not HTTP"),
        (endless, "the answer has no end"),
    ],
)
async def test_what_is_no_answer_is_a_bad_one(answer, reason):
    async with server(answer) as (port, _):
        said = await ask(port)

    assert said == (Answer.BAD, reason)


async def test_who_does_not_answer_in_time_is_given_up():
    async with server(silent) as (port, _):
        said = await ask(port, timeout_s=0.05)

    assert said == (Answer.BAD, "no answer within 0.05 s")


async def test_a_closed_port_is_a_bad_answer_for_both_kinds():
    async with server(OK) as (port, _):
        pass
    http, tcp = await ask(port), await ask(port, kind=ProbeKind.TCP)

    assert (http, tcp) == ((Answer.BAD, "connection refused"),) * 2


async def test_an_open_port_is_a_good_answer_whatever_it_says():
    async with server(silent) as (port, requests):
        said = await ask(port, kind=ProbeKind.TCP)

    assert (said.answer, requests) == (Answer.GOOD, [])


async def test_containers_are_reached_over_ipv6():
    async with server(OK, host="::1") as (port, requests):
        said = await ask(port, host="::1")

    assert said.answer is Answer.GOOD
    assert f"host: [::1]:{port}".encode() in requests[0]


@pytest.mark.parametrize(
    "header", [("X-A", "b\r\nX-C: d"), ("X A", "b"), ("", "b"), ("X-A\n", "b"), ("X-A:", "b")]
)
async def test_headers_that_would_become_several_are_not_sent(header):
    async with server(OK) as (port, requests):
        said = await ask(port, headers=frozenset({header}))

    assert (said.answer, requests) == (Answer.BAD, [])
    assert "cannot be sent" in said.reason


async def test_a_path_cannot_become_a_header():
    async with server(OK) as (port, requests):
        await ask(port, path="/a HTTP/1.1\r\nX-Evil: 1\r\n\r\n")

    assert requests[0].count(b"\r\n") == 6
    assert b"x-evil" not in requests[0].lower().split(b"\r\n", 1)[1]


@pytest.fixture(scope="module")
def nobody(tmp_path_factory):
    """A server's TLS with a certificate that no one has a reason to trust, expired besides."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "nobody")])
    day = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(day)
        .not_valid_after(day + dt.timedelta(1))
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "nobody.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


async def test_certificates_are_not_verified(nobody):
    async with server(OK, tls=nobody) as (port, _):
        said = await ask(port, scheme="https")

    assert said.answer is Answer.GOOD


async def test_tls_with_a_server_that_speaks_none_is_a_bad_answer():
    async with server(OK) as (port, _):
        said = await ask(port, scheme="https", timeout_s=0.3)

    assert said.answer is Answer.BAD


@pytest.mark.parametrize(("code", "answer"), [(0, Answer.GOOD), (1, Answer.BAD), (137, Answer.BAD)])
async def test_a_command_answers_with_its_exit_code(code, answer):
    seen = []

    async def run(container, command):
        seen.append((container, command))
        return code

    said = await Checker(Loopback(run)).ask(ONE, Probe(ProbeKind.EXEC, command=("test", "-e", "/ok")))

    assert said.answer is answer
    assert seen == [(ONE, ("test", "-e", "/ok"))]


async def test_a_command_that_takes_too_long_is_cancelled():
    ended = asyncio.Event()

    async def run(container, command):
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    said = await Checker(Loopback(run)).ask(ONE, Probe(ProbeKind.EXEC, command=("sleep",), timeout_s=0.02))

    assert (said.answer, ended.is_set()) == (Answer.BAD, True)


@pytest.mark.parametrize(
    ("fault", "answer"),
    [
        (EngineUnavailable(), Answer.UNKNOWN),
        (ContainerNotFound(), Answer.UNKNOWN),
        (StepRefused("no such command"), Answer.BAD),
        (OSError("broken"), Answer.BAD),
    ],
)
async def test_an_engine_that_is_away_says_nothing_about_the_container(fault, answer):
    async def run(container, command):
        raise fault

    said = await Checker(Loopback(run)).ask(ONE, Probe(ProbeKind.EXEC, command=("x",)))

    assert said.answer is answer


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=60) | st.binary(max_size=40).map(lambda rest: b"HTTP/1.1 " + rest))
def test_no_answer_makes_the_question_fail(answer):
    async def run():
        async with server(answer) as (port, _):
            return await ask(port, timeout_s=1.0)

    assert asyncio.run(run()).answer in (Answer.GOOD, Answer.BAD)
