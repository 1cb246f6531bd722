"""TLS for thousands of connections in one process, each with its own certificate.

asyncio's own TLS keeps a buffer of 256 KiB for every connection, and an `SSLContext` costs tens of KiB.
Here a connection holds one SSL object and two memory BIOs, and all share one context: OpenSSL copies the
context's certificate into a connection when it is made, so the context can take the next one right
afterwards. That is only safe because loading and making happen without a pause in between.
"""

import os
import ssl
from pathlib import Path

_READ_BYTES = 65536


class TlsIdentities:
    """Opens client connections that trust one CA, each under its own certificate.

    `trusted` is the CA's certificate, or a context that is to be used as it is.
    """

    def __init__(self, trusted: Path | ssl.SSLContext) -> None:
        if isinstance(trusted, ssl.SSLContext):
            self._context = trusted
            return
        self._context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=str(trusted))
        self._context.minimum_version = ssl.TLSVersion.TLSv1_2

    def open(self, identity: bytes | None, *, server_name: str) -> "TlsChannel":
        """Begin a connection to `server_name`; `identity` is a private key and a certificate chain (PEM)."""
        if identity is not None:
            self._load(identity)
        return TlsChannel(self._context, server_name)

    def _load(self, identity: bytes) -> None:
        # The ssl module loads certificates from a path only; this one is in memory and nowhere else.
        descriptor = os.memfd_create("identity", os.MFD_CLOEXEC)
        try:
            os.write(descriptor, identity)
            self._context.load_cert_chain(f"/proc/self/fd/{descriptor}")
        finally:
            os.close(descriptor)


class TlsChannel:
    """One client's TLS without I/O: bytes from the network in, plain bytes out, and the other way."""

    def __init__(self, context: ssl.SSLContext, server_name: str) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._ssl = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_name)
        self.ready = False

    def receive(self, data: bytes) -> bytes:
        """Take what the network brought; return what is plain by now. Raises ssl.SSLError.

        Afterwards `to_send` may hold bytes for the network, and `ready` may have become true.
        """
        self._incoming.write(data)
        if not self.ready and not self._shake_hands():
            return b""
        pieces: list[bytes] = []
        try:
            while piece := self._ssl.read(_READ_BYTES):
                pieces.append(piece)
        except ssl.SSLWantReadError:
            pass
        return b"".join(pieces)

    def start(self) -> None:
        """Begin the handshake: `to_send` then holds the client's hello."""
        self._shake_hands()

    def write(self, plain: bytes) -> None:
        """Encrypt; `to_send` then holds the bytes. Only when `ready`."""
        self._ssl.write(plain)

    def close(self) -> None:
        """Say goodbye; `to_send` then holds it."""
        try:
            self._ssl.unwrap()
        except (ssl.SSLError, ValueError, OSError):
            return  # the peer's goodbye is not waited for

    def to_send(self) -> bytes:
        """Return what is to go to the network now, once."""
        return self._outgoing.read()

    def _shake_hands(self) -> bool:
        try:
            self._ssl.do_handshake()
        except ssl.SSLWantReadError:
            return False
        self.ready = True
        return True
