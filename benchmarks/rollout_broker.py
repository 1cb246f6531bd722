"""The broker of the rollout benchmark, as an installation has it; it can be killed, and comes back.

The authority that signs its certificate and the devices' outlives the API: its key is in a file of the benchmark's.
"""

from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from iotistic.kernel.files import PRIVATE, write_atomic
from iotistic.kernel.home import Home
from iotistic.kernel.mosquitto.server import BrokerTls, MosquittoServer
from iotistic.kernel.process import pick_port
from iotistic.pki.ca import CertificateAuthority, server_profile

_KEY, _CERTIFICATE = "authority.key", "authority.crt"


class SiteBroker:
    """A managed Mosquitto with a certificate authority of its own."""

    def __init__(self, folder: Path) -> None:
        home = Home(folder)
        home.create()
        self.folder = folder
        self.server = MosquittoServer(
            home, tls=_make_authority(folder), device_port=pick_port(0), service_port=pick_port(0)
        )
        self.starts = 0

    @property
    def environment(self) -> dict[str, str]:
        """What the API needs to know of it."""
        access = self.server.access
        return {
            "MQTT_SERVICE_HOST": access.host,
            "MQTT_SERVICE_PORT": str(access.port),
            "MQTT_SERVICE_USERNAME": access.username,
            "MQTT_SERVICE_PASSWORD": access.password,
            "DEVICE_MQTT_URL": f"mqtts://localhost:{self.server.endpoints.device_port}",
            "AUTHORITY_FOLDER": str(self.folder),
        }

    async def start(self) -> None:
        """Start it, at the same ports each time."""
        await self.server.start()
        self.starts += 1

    async def kill(self) -> None:
        """End it by SIGKILL, and start it again: what it had not saved is lost."""
        self.server.process.kill()
        await self.server.process.wait()
        await self.start()


def read_authority(folder: Path) -> CertificateAuthority:
    """Return the authority that `SiteBroker` made there."""
    key = serialization.load_pem_private_key((folder / _KEY).read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return CertificateAuthority(key, x509.load_pem_x509_certificate((folder / _CERTIFICATE).read_bytes()))


def _make_authority(folder: Path) -> BrokerTls:
    now, key = datetime.now(UTC), ec.generate_private_key(ec.SECP256R1())
    authority = CertificateAuthority.create(key, common_name="bench", days=30, now=now)
    own = ec.generate_private_key(ec.SECP256R1())
    certificate = authority.issue(
        server_profile("broker", ["localhost", "127.0.0.1"]), own.public_key(), days=10, now=now
    )
    tls = BrokerTls(
        ca=folder / _CERTIFICATE,
        certificate=folder / "broker.crt",
        key=folder / "broker.key",
        crl=folder / "revoked.crl",
    )
    tls.ca.write_text(authority.pem)
    tls.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    tls.crl.write_bytes(authority.sign_crl([], number=1, now=now))
    write_atomic(tls.key, _private(own), mode=PRIVATE)
    write_atomic(folder / _KEY, _private(key), mode=PRIVATE)
    return tls


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
