"""Looks at the broker as devices see it, without leaving an alarm in its log.

A client that completes TLS without a certificate is logged as a refused device. The probe stops one step
earlier: it has the broker's certificate and proof of its key, sends nothing more and goes away, which the
broker takes for a lost radio link.
"""

import socket
import ssl
from urllib.parse import urlsplit

from iotistic.entrypoints.doctor.check import Finding, failed, ok
from iotistic.entrypoints.installation import Endpoints
from iotistic.kernel.mqtt.settings import MqttSettings

_TIMEOUT_S = 3.0
_READ_BYTES = 1 << 16
_PORTS = {"mqtt": 1883, "mqtts": 8883}


def broker_finding(endpoints: Endpoints, settings: MqttSettings) -> Finding:
    """Reach the broker, and check its certificate: ours against our authority, a foreign one as settings say."""
    address = urlsplit(endpoints.mqtt)
    host, port = address.hostname or "", address.port or _PORTS.get(address.scheme, 8883)
    foreign = settings.mqtt_broker_url is not None
    try:
        if address.scheme == "mqtt":
            socket.create_connection((host, port), timeout=_TIMEOUT_S).close()
            return ok("broker", f"{endpoints.mqtt} takes connections (no TLS)")
        trust = (settings.mqtt_tls() if foreign else None) or ssl.create_default_context(cafile=endpoints.ca)
        return ok("broker", f"{endpoints.mqtt}, {served_tls(host, port, trust)}, certificate valid")
    except ssl.SSLCertVerificationError as exc:
        fix = "MQTT_CA_FILE names its authority" if foreign else "delete pki/broker.crt and start again"
        return failed("broker", exc.verify_message, fix)
    except OSError as exc:
        return failed("broker", f"{endpoints.mqtt}: {exc}", f"see {endpoints.home}/logs/up.log")


def served_tls(host: str, port: int, trust: ssl.SSLContext) -> str:
    """Return the TLS version that `host`:`port` speaks with a certificate that `trust` accepts.

    Raises SSLCertVerificationError, or OSError when there is no TLS to be had.
    """
    received, unsent = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = trust.wrap_bio(received, unsent, server_hostname=host)
    with socket.create_connection((host, port), timeout=_TIMEOUT_S) as plain:
        while True:
            try:
                session.do_handshake()
                return session.version() or ""
            except ssl.SSLWantReadError:
                plain.sendall(unsent.read())
                chunk = plain.recv(_READ_BYTES)
                if chunk:
                    received.write(chunk)
                else:
                    received.write_eof()
