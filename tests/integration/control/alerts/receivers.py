"""Receivers of messages, as real servers on loopback: HTTP and SMTP (with STARTTLS and a login)."""

import asyncio
import base64
import contextlib
import ssl
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass
class HttpReceiver:
    """Answers every request with the next of `answers`, the last for ever; keeps what came."""

    answers: list = field(default_factory=lambda: [200])
    headers: dict = field(default_factory=dict)
    requests: list = field(default_factory=list)
    hold: asyncio.Event | None = None
    url: str = ""

    async def _serve(self, reader, writer):
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            lines = head.split("\r\n")
            sent = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
            body = await reader.readexactly(int(sent.get("content-length", 0)))
            self.requests.append((lines[0], sent, body))
            status = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            if self.hold is not None:
                await self.hold.wait()
            extra = "".join(f"{name}: {value}\r\n" for name, value in self.headers.items())
            writer.write(
                f"HTTP/1.1 {status} X\r\nContent-Length: 2\r\n{extra}Connection: close\r\n\r\nno".encode()
            )
            await writer.drain()
        writer.close()

    @contextlib.asynccontextmanager
    async def listening(self):
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
        yield self
        server.close()


@dataclass
class SmtpReceiver:
    """Takes mail as RFC 5321 has it; wants STARTTLS and a login when it has a certificate."""

    folder: object = None
    answer: str = "250 taken"
    mails: list = field(default_factory=list)
    logins: list = field(default_factory=list)
    port: int = 0
    ca_file: str = ""

    def _context(self):
        key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        pem = certificate.public_bytes(serialization.Encoding.PEM)
        secret = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        (self.folder / "both.pem").write_bytes(secret + pem)
        (self.folder / "ca.pem").write_bytes(pem)
        self.ca_file = str(self.folder / "ca.pem")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.folder / "both.pem")
        return context

    async def _serve(self, reader, writer, context=None):
        async def say(text):
            writer.write(f"{text}\r\n".encode())
            await writer.drain()

        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await say("220 here")
            secure, envelope = context is None, []
            while line := (await reader.readline()).decode().rstrip("\r\n"):
                verb = line.split(" ")[0].upper()
                if verb == "EHLO":
                    await say("250-localhost" + ("\r\n250-AUTH PLAIN" if secure and context else ""))
                    await say("250 STARTTLS" if not secure else "250 SIZE 1000000")
                elif verb == "STARTTLS":
                    await say("220 go on")
                    await writer.start_tls(context)
                    secure = True
                elif verb == "AUTH":
                    self.logins.append(base64.b64decode(line.split(" ")[2]).decode().split("\0")[1:])
                    await say("235 welcome")
                elif verb == "DATA" and secure:
                    await say("354 go on")
                    data = await reader.readuntil(b"\r\n.\r\n")
                    self.mails.append((envelope, data.decode()))
                    await say(self.answer)
                elif verb in ("MAIL", "RCPT"):
                    envelope.append(line)
                    await say("250 fine" if secure else "530 not in plain")
                elif verb == "QUIT":
                    await say("221 bye")
                    break
                else:
                    await say("250 fine")
        writer.close()

    @contextlib.asynccontextmanager
    async def listening(self, *, tls=True):
        context = self._context() if tls else None
        server = await asyncio.start_server(
            lambda reader, writer: self._serve(reader, writer, context), "127.0.0.1", 0
        )
        self.port = server.sockets[0].getsockname()[1]
        yield self
        server.close()
