"""A broker without the rest of an installation."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.certificates import BenchAuthority
from iotistic.kernel.home import Home
from iotistic.kernel.mosquitto.server import BrokerTls, MosquittoServer
from iotistic.kernel.process import pick_port


@contextmanager
def broker_alone(home: Home, authority: BenchAuthority) -> Iterator[MosquittoServer]:
    """Start the product's broker in `home`, trusting `authority`; stop it at the end."""
    own = authority.issue("localhost")
    tls = BrokerTls(ca=authority.certificate, certificate=own, key=own, crl=authority.crl)
    broker = MosquittoServer(home, tls=tls, device_port=pick_port(0), service_port=pick_port(0))
    with asyncio.Runner() as loop:
        loop.run(broker.start())
        try:
            yield broker
        finally:
            loop.run(broker.stop())
