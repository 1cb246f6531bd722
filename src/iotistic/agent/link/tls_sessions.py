"""TLS that goes on where the last connection to the same server ended.

A device polls seldom, and servers close quiet connections: each poll is a handshake. With the session of the
last one no certificates are sent, which is most of a handshake's bytes. Whoever issued the ticket was checked
when it was issued; a server that does not know it (any more) falls back to a whole handshake by itself.
"""

import ssl


class ResumingContext(ssl.SSLContext):
    """For connections to one server; asyncio itself has no way to hand over a session."""

    _last: ssl.SSLObject | None = None
    _session: ssl.SSLSession | None = None

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """Begin a connection. The ticket of the one before came after its handshake, and is looked for now."""
        if self._last is not None:
            self._session = self._last.session or self._session
        self._last = super().wrap_bio(
            incoming, outgoing, server_side, server_hostname, session or self._session
        )
        return self._last


def resuming_context(ca_pem: str = "") -> ResumingContext:
    """Return a context that checks servers against certificates (PEM), the system's when there are none."""
    context = ResumingContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_pem:
        context.load_verify_locations(cadata=ca_pem)
    else:
        context.load_default_certs()
    return context
