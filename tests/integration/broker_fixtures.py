"""A managed Mosquitto with a throwaway certificate authority, and plain clients that speak to it.

`broker` serves the whole session; `own_broker` is a fresh one for tests that kill or break it.
"""

import datetime as dt
import ipaddress
import socket
import ssl
import tempfile
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from iotistic.kernel.home import Home
from iotistic.kernel.mosquitto.config import BrokerLimits
from iotistic.kernel.mosquitto.control import BrokerControl
from iotistic.kernel.mosquitto.server import BrokerTls, MosquittoServer
from iotistic.kernel.mqtt.packets import (
    Connack,
    Disconnect,
    Packet,
    PacketReader,
    Puback,
    Publish,
    Suback,
    encode_connect,
    encode_disconnect,
    encode_puback,
    encode_publish,
    encode_subscribe,
)
from iotistic.kernel.process import pick_port

DAY = dt.timedelta(days=1)
T = TypeVar("T")


def eventually(seen: Callable[[], object], *, within_s: float = 10) -> object:
    """Return the first true value of `seen`; fail when none comes in time."""
    deadline = time.monotonic() + within_s
    while not (value := seen()):
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.02)
    return value


@dataclass(frozen=True)
class Credential:
    """A certificate with its key, as PEM files."""

    cn: str
    serial: int
    certificate: Path
    key: Path


class ThrowawayAuthority:
    """A P-256 certificate authority that lives as long as a test session."""

    def __init__(self, folder: Path, *, cn: str = "Test CA") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(cn)
        self._revoked: list[int] = []
        self._crls = 0
        certificate = (
            _builder(self._name, self._name, self._key, dt.timedelta(days=30))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.certificate = folder / "ca.crt"
        self.certificate.write_bytes(certificate.public_bytes(Encoding.PEM))
        self.crl = folder / "revoked.crl"
        self.write_crl()

    def issue(self, cn: str, *, lasts: dt.timedelta = 30 * DAY) -> Credential:
        """Make a certificate for `cn`; one that lasts less than a day before now has expired."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        certificate = (
            _builder(_name(cn), self._name, key, lasts)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        stem = self._folder / f"{cn}-{certificate.serial_number:x}"
        stem.with_suffix(".crt").write_bytes(certificate.public_bytes(Encoding.PEM))
        stem.with_suffix(".key").write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )
        return Credential(cn, certificate.serial_number, stem.with_suffix(".crt"), stem.with_suffix(".key"))

    def issue_expired(self, cn: str) -> Credential:
        """Make a certificate that ended an hour ago."""
        return self.issue(cn, lasts=-dt.timedelta(hours=1))

    def revoke(self, credential: Credential) -> bytes:
        """Put a certificate on the revocation list; return the new list (PEM)."""
        self._revoked.append(credential.serial)
        return self.write_crl()

    def write_crl(self) -> bytes:
        """Write the revocation list and return it (PEM)."""
        self._crls += 1
        # Of two lists that one store holds, OpenSSL takes the strictly newer one.
        made_at = dt.datetime.now(dt.UTC) - DAY + dt.timedelta(seconds=self._crls)
        crl = x509.CertificateRevocationListBuilder(issuer_name=self._name)
        crl = crl.last_update(made_at).next_update(made_at + 30 * DAY)
        for serial in self._revoked:
            entry = x509.RevokedCertificateBuilder(serial_number=serial, revocation_date=made_at)
            crl = crl.add_revoked_certificate(entry.build())
        pem = crl.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM)
        self.crl.write_bytes(pem)
        return pem


def _name(cn: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, cn)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, lasts: dt.timedelta
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return x509.CertificateBuilder(
        subject_name=subject,
        issuer_name=issuer,
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=now - DAY,
        not_valid_after=now + lasts,
    )


class WireClient:
    """A blocking MQTT 5 client that shows every packet; each wait ends after `timeout_s`."""

    def __init__(self, stream: socket.socket, *, timeout_s: float = 5) -> None:
        self._stream = stream
        self._stream.settimeout(timeout_s)
        self._packets = PacketReader()
        self._arrived: deque[Packet] = deque()
        self._packet_id = 0

    @property
    def tls_context(self) -> ssl.SSLContext:
        """Context of the TLS connection."""
        return self._stream.context

    @property
    def tls_session(self) -> ssl.SSLSession:
        """Session that a later connection may resume."""
        return self._stream.session

    def connect(
        self,
        client_id: str,
        *,
        username: str | None = None,
        password: str | None = None,
        clean_start: bool = True,
        session_expiry_s: int = 0,
        receive_maximum: int | None = None,
    ) -> Connack:
        """Introduce ourselves; return the broker's answer."""
        self._stream.sendall(
            encode_connect(
                client_id=client_id,
                username=username,
                password=password,
                keepalive_s=60,
                clean_start=clean_start,
                session_expiry_s=session_expiry_s,
                receive_maximum=receive_maximum,
            )
        )
        return self._expect(Connack)

    def publish(self, topic: str, payload: bytes = b"1", *, retain: bool = False) -> int:
        """Publish at QoS 1; return the reason code of the PUBACK."""
        self._packet_id += 1
        packet = encode_publish(
            topic.encode(), payload, packet_id=self._packet_id, qos=1, retain=retain, dup=False
        )
        self._stream.sendall(packet)
        return self._expect(Puback).reason

    def subscribe(self, topic_filter: str) -> tuple[int, ...]:
        """Subscribe at QoS 1; return the reason codes of the SUBACK."""
        self._packet_id += 1
        self._stream.sendall(encode_subscribe(self._packet_id, [(topic_filter, 1)]))
        return self._expect(Suback).reasons

    def receive(self, *, acknowledge: bool = True) -> Publish:
        """Return the next message; TimeoutError when none comes."""
        message = self._expect(Publish)
        if acknowledge and message.packet_id is not None:
            self._stream.sendall(encode_puback(message.packet_id))
        return message

    def disconnect_reason(self) -> int | None:
        """Wait until the broker closes; return the reason of its DISCONNECT, None without one."""
        try:
            return self._expect(Disconnect).reason
        except (ConnectionError, ssl.SSLError):
            return None

    def leave(self) -> None:
        """Say goodbye and close."""
        self._stream.sendall(encode_disconnect())
        self._stream.close()

    def close(self) -> None:
        """Close without a word."""
        self._stream.close()

    def _expect(self, kind: type[T]) -> T:
        """Return the next packet of a kind; packets of other kinds wait for whoever asks for them."""
        while True:
            for packet in self._arrived:
                if isinstance(packet, kind):
                    self._arrived.remove(packet)
                    return packet
            if not (chunk := self._stream.recv(65536)):
                raise ConnectionResetError("the broker closed the connection")
            self._arrived.extend(self._packets.feed(chunk))


@dataclass
class Broker:
    """A running broker with its authority."""

    home: Home
    server: MosquittoServer
    authority: ThrowawayAuthority
    closing: ExitStack

    @property
    def control(self) -> BrokerControl:
        """Control as the certificate authority's process has it."""
        return BrokerControl(self.home, self.server.access)

    def device(
        self,
        credential: Credential | None,
        *,
        tls: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
        resume: WireClient | None = None,
    ) -> WireClient:
        """Open a connection to the device listener at most of version `tls`; None is no certificate.

        `resume` offers the TLS session of an earlier connection.
        """
        context = (
            resume.tls_context if resume else ssl.create_default_context(cafile=self.authority.certificate)
        )
        context.maximum_version = tls
        if credential is not None:
            context.load_cert_chain(credential.certificate, credential.key)
        plain = socket.create_connection(("127.0.0.1", self.server.endpoints.device_port), 5)
        try:
            session = resume.tls_session if resume else None
            client = WireClient(context.wrap_socket(plain, server_hostname="localhost", session=session))
        except BaseException:
            plain.close()
            raise
        self.closing.callback(client.close)
        return client

    def connected_device(self, cn: str) -> WireClient:
        """Return a device with a valid certificate, connected."""
        client = self.device(self.authority.issue(cn))
        assert client.connect(cn).reason == 0
        return client

    def stranger(self) -> WireClient:
        """Open a connection to the service listener without saying anything."""
        stream = socket.create_connection(("127.0.0.1", self.server.endpoints.service_port), 5)
        client = WireClient(stream)
        self.closing.callback(client.close)
        return client

    def service(self, client_id: str, **options: object) -> WireClient:
        """Return a connected service."""
        client = self.stranger()
        access = self.server.access
        answer = client.connect(client_id, username=access.username, password=access.password, **options)
        assert answer.reason == 0
        return client


async def start_broker(
    folder: Path,
    *,
    device_port: int | None = None,
    debug_lines: bool = False,
    patterns: tuple[str, ...] = (),
    **limits: int,
) -> Broker:
    """Start a broker whose home is `folder`, on free ports and with the product's rules unless told otherwise."""
    home = Home(folder)
    home.create()
    authority = ThrowawayAuthority(folder / "authority")
    own = authority.issue("broker")
    tls = BrokerTls(ca=authority.certificate, certificate=own.certificate, key=own.key, crl=authority.crl)
    server = MosquittoServer(
        home,
        tls=tls,
        device_port=device_port or pick_port(0),
        service_port=pick_port(0),
        limits=BrokerLimits(**limits),
        debug_lines=debug_lines,
    )
    if patterns:
        server.config = replace(server.config, devices=replace(server.config.devices, patterns=patterns))
    await server.start()
    return Broker(home, server, authority, ExitStack())


@pytest.fixture(scope="session")
def broker_folder() -> Iterator[Path]:
    """Make a folder that the broker's account can walk to, which pytest's own is not for root."""
    with tempfile.TemporaryDirectory(prefix="iotistic-broker-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o711)
        yield Path(folder)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def session_broker(broker_folder: Path) -> AsyncIterator[Broker]:
    broker = await start_broker(broker_folder, debug_lines=True)
    yield broker
    await broker.server.stop()


@pytest.fixture
def broker(session_broker: Broker) -> Iterator[Broker]:
    """Return the session's broker; connections opened through it are closed after the test."""
    with session_broker.closing:
        yield session_broker


@pytest_asyncio.fixture
async def own_broker(tmp_path: Path) -> AsyncIterator[Broker]:
    """Return a broker of this test's own."""
    broker = await start_broker(tmp_path)
    with broker.closing:
        yield broker
    await broker.server.stop()
