"""When a device may have another certificate: pure rules, whose reasons stand in service.py."""

from datetime import datetime, timedelta

from iotistic.kernel.web.auth import Principal
from iotistic.kernel.web.problems import RateLimited
from iotistic.pki.model import Certificate, CertificateExists, ReplacementDenied

OPERATE = "operate"
ENROL = "enrol"

RETRY_WINDOW = timedelta(minutes=15)
RENEWAL_INTERVAL = timedelta(minutes=1)
_RENEWAL = "renewal:"


class RenewedTooSoon(RateLimited):
    """This device renewed its certificate less than a minute ago."""

    code = "pki.renewed_too_soon"


def require_replacement(
    standing: list[Certificate], caller: Principal, *, replace: bool, now: datetime
) -> None:
    """Say whether `caller` may put a new certificate in the place of the valid ones that stand.

    Raises CertificateExists, ReplacementDenied.
    """
    mac = standing[0].mac
    if not replace:
        raise CertificateExists(
            hint='revoke it, or ask with {"replace": true}', serial=standing[0].serial, mac=mac
        )
    own = all(one.issued_by == caller.name and now - one.issued_at <= RETRY_WINDOW for one in standing)
    if not own and OPERATE not in caller.scopes:
        raise ReplacementDenied(hint="ask with the operator token, or have the old one revoked", mac=mac)


def renewal_of(serial: str) -> str:
    """Return what stands as the issuer of a certificate that another one asked for."""
    return _RENEWAL + serial


def require_interval(standing: list[Certificate], now: datetime) -> None:
    """Keep a device that has gone wild from filling the revocation list. Raises RenewedTooSoon.

    Enrolments do not count: a device may put the key that it was given out of use at once.
    """
    renewed = [one.issued_at for one in standing if one.issued_by.startswith(_RENEWAL)]
    if renewed and (wait := max(renewed) + RENEWAL_INTERVAL - now) > timedelta(0):
        raise RenewedTooSoon(
            hint=f"use the certificate of the last renewal, or ask again in {wait.total_seconds():.0f} s",
            retry_after_s=wait.total_seconds(),
        )
