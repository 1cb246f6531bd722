"""Who signs certificates of agents: the installation's authority, where its key is at hand."""

from datetime import datetime

import structlog

from iotistic.contracts.provisioning.keys import PublicKey
from iotistic.control.provisioning.certificates import AuthorityCertifier, Certifier, Signed
from iotistic.kernel.errors import Unavailable
from iotistic.kernel.home import Home
from iotistic.pki.keystore import open_authority
from iotistic.pki.settings import AuthoritySettings

log = structlog.get_logger()


class AuthorityMissing(Unavailable):
    """This server cannot sign certificates: it does not have the authority's key."""

    code = "provisioning.authority_missing"


class NoAuthority:
    """Signs nothing; devices that need no certificate become known all the same."""

    ca_pem = ""

    async def sign(self, uuid: str, key: PublicKey, now: datetime) -> Signed:
        """Raise AuthorityMissing."""
        _ = uuid, key, now
        raise AuthorityMissing(
            hint="share the authority's folder with the API, or set CA_KEY and CA_CERT", retry_after_s=60
        )


def certifier(home: Home, settings: AuthoritySettings) -> Certifier:
    """Return who signs. An authority is never made here: devices would not be let in by its certificates."""
    if not (settings.ca_key or (home.pki / "ca.key").exists()):
        log.warning("provisioning.authority_missing", folder=str(home.pki))
        return NoAuthority()
    return AuthorityCertifier(open_authority(home, settings), days=settings.device_expiry)
