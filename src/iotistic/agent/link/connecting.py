"""Makes the client for a broker's address: who is trusted, who we are, how patient we are."""

import random
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from iotistic.agent.link.broker import BrokerAddress
from iotistic.agent.link.doors import Door
from iotistic.agent.link.errors import BrokerUnusable
from iotistic.kernel.mqtt.lean import LeanClient
from iotistic.kernel.mqtt.lean_link import LinkOptions
from iotistic.kernel.mqtt.lean_model import Backoff, Listener
from iotistic.kernel.mqtt.tls import TlsIdentities

log = structlog.get_logger()

_WINDOW = 50
_PINGED_AFTER = 0.9
"""Part of the keep-alive: the broker gives up after one and a half of it."""
_NETWORK_PATIENCE_S = 60.0


@dataclass
class Surroundings:
    """What a link needs from the process. `clock` is monotonic, `chance` between 0 and 1."""

    clock: Callable[[], float] = time.monotonic
    chance: Callable[[], float] = random.random
    spread_s: float = 30.0
    """Seconds over which a fleet spreads its return after an outage."""
    backoff: Backoff = field(default_factory=lambda: Backoff(base_s=1.0, longest_s=60.0))
    most_waiting: int = 1000


def make_client(
    address: BrokerAddress,
    subscriptions: tuple[tuple[str, int], ...],
    listener: Listener,
    around: Surroundings,
) -> tuple[LeanClient, Door]:
    """Return a client, not started, and its door. Raises BrokerUnusable."""
    try:
        tls = TlsIdentities(_context(address)) if address.tls else None
    except (ssl.SSLError, ValueError) as exc:
        raise BrokerUnusable(f"the broker's CA certificate cannot be read: {exc}") from exc
    if address.tls and not address.verify:
        log.warning("mqtt.certificate_unchecked", host=address.host)
    door = Door(address.client_id, around.clock, around.chance, spread_s=around.spread_s)
    options = LinkOptions(
        address.host,
        address.port,
        address.client_id,
        address.username or None,
        address.password or None,
        keepalive_s=address.keep_alive_s,
        session_expiry_s=address.session_s,
        window=_WINDOW,
        subscriptions=subscriptions,
        needs_all_subscriptions=False,
        quiet_share=_PINGED_AFTER,
        network_patience_s=_NETWORK_PATIENCE_S,
    )
    client = LeanClient(
        options,
        listener,
        tls=tls,
        identity=address.identity_pem.encode() or None,
        gate=door,
        outbox_limit=2 * around.most_waiting,  # what was given up while under way is in it too
        backoff=around.backoff,
    )
    return client, door


def _context(address: BrokerAddress) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=address.ca_pem or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not address.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
