import asyncio
import datetime as dt
import signal
import ssl

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from fastapi import Depends, FastAPI, Request
from fastapi.responses import StreamingResponse

from iotistic.kernel.web.app import create_app, until_stopping
from iotistic.kernel.web.auth import Public
from iotistic.kernel.web.client_cert import client_certificate
from iotistic.kernel.web.server import AddressTaken, serve

pytestmark = pytest.mark.enable_socket


async def ticks():
    while True:
        yield b"data: tick\n\n"
        await asyncio.sleep(0.01)


def streaming_app() -> FastAPI:
    app = create_app(title="t", version="1", description="d")
    access = [Depends(Public("test"))]

    @app.get("/stream", dependencies=access)
    async def stream(request: Request) -> StreamingResponse:
        return StreamingResponse(until_stopping(request, ticks()), media_type="text/event-stream")

    @app.get("/stuck", dependencies=access)
    async def stuck() -> None:
        await asyncio.Event().wait()

    @app.get("/who", dependencies=access)
    async def who(request: Request) -> str | None:
        der = client_certificate(request)
        return x509.load_der_x509_certificate(der).subject.rfc4514_string() if der else None

    return app


def identity(name: str, folder) -> tuple[str, str]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    paths = folder / f"{name}.crt", folder / f"{name}.key"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return str(paths[0]), str(paths[1])


async def test_it_listens_on_a_free_port_and_leaves_signals_alone():
    handlers = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    async with await serve(streaming_app(), host="127.0.0.1", port=0) as server:
        during = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
        async with httpx2.AsyncClient() as client:
            answer = await client.get(f"http://127.0.0.1:{server.port}/health/live")

    assert answer.json() == {"live": True}
    assert during == handlers


async def test_a_taken_port_is_a_clear_error():
    async with await serve(streaming_app(), host="127.0.0.1", port=0) as server:
        with pytest.raises(AddressTaken, match=str(server.port)):
            await serve(streaming_app(), host="127.0.0.1", port=server.port)


async def test_stopping_ends_open_event_streams_at_once():
    server = await serve(streaming_app(), host="127.0.0.1", port=0, grace_s=30)
    async with (
        httpx2.AsyncClient() as client,
        client.stream("GET", f"http://127.0.0.1:{server.port}/stream") as answer,
    ):
        received = answer.aiter_bytes()
        first = await anext(received)
        stopping = asyncio.create_task(server.stop())
        rest = [chunk async for chunk in received]
        await asyncio.wait_for(stopping, 5)

    assert first.startswith(b"data: tick")
    assert all(chunk.startswith(b"data: tick") for chunk in rest)


async def test_a_stuck_request_is_cancelled_after_the_grace_period():
    server = await serve(streaming_app(), host="127.0.0.1", port=0, grace_s=1)
    async with httpx2.AsyncClient() as client:
        request = asyncio.create_task(client.get(f"http://127.0.0.1:{server.port}/stuck"))
        live = await client.get(f"http://127.0.0.1:{server.port}/health/live")
        await asyncio.wait_for(server.stop(), 5)
        outcome = (await asyncio.gather(request, return_exceptions=True))[0]

    assert live.status_code == 200
    assert isinstance(outcome, httpx2.TransportError) or outcome.status_code == 500


async def test_the_peers_certificate_reaches_the_route(tmp_path):
    server_cert, server_key = identity("server", tmp_path)
    device_cert, device_key = identity("device", tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=device_cert)
    context.load_cert_chain(server_cert, server_key)
    context.verify_mode = ssl.CERT_OPTIONAL
    plain = ssl.create_default_context(cafile=server_cert)
    mutual = ssl.create_default_context(cafile=server_cert)
    mutual.load_cert_chain(device_cert, device_key)

    async with (
        await serve(streaming_app(), host="127.0.0.1", port=0, ssl_context=context) as server,
        httpx2.AsyncClient(verify=plain) as stranger,
        httpx2.AsyncClient(verify=mutual) as device,
    ):
        url = f"https://localhost:{server.port}/who"
        answers = (await stranger.get(url)).json(), (await device.get(url)).json()

    assert answers == (None, "CN=device")
