"""Certificates of devices and their successors.

POST /device/<uuid>/certificate   {csr} -> {certificate, caCert?}

`caCert` holds certificates (PEM) that the broker's is checked against, beside those that a device has.
"""

from dataclasses import dataclass

from iotistic.contracts.provisioning.fields import Fields, ProvisioningInvalid

_MOST_PEM = 64 * 1024


class CertificateUnfit(ProvisioningInvalid):
    """The certificate is of no use to this device."""

    code = "certificate.unfit"


def certificate_path(uuid: str) -> str:
    """Return where a device asks for its next certificate."""
    return f"/device/{uuid}/certificate"


@dataclass(frozen=True, slots=True)
class Term:
    """From when and until when a certificate is good, in seconds since 1970."""

    begins_at: float
    ends_at: float

    @property
    def life_s(self) -> float:
        """How long it is good altogether."""
        return self.ends_at - self.begins_at


@dataclass(frozen=True, slots=True)
class NextCertificate:
    """A certificate that takes the place of another; PEM, its own first where there is a chain."""

    certificate: str
    ca_cert: str = ""

    def write(self) -> dict[str, str]:
        """Return the JSON shape."""
        shape = {"certificate": self.certificate, "caCert": self.ca_cert}
        return {name: value for name, value in shape.items() if value}


def read_next_certificate(document: object) -> NextCertificate:
    """Read the cloud's answer. Raises ProvisioningInvalid."""
    fields = Fields(document)
    found = NextCertificate(
        fields.text("certificate", most=_MOST_PEM, lines=True),
        fields.maybe("caCert", most=_MOST_PEM, lines=True),
    )
    fields.done("the next certificate")
    return found


def read_certificate_request(document: object) -> str:
    """Read what a device asks with: the signing request. Raises ProvisioningInvalid."""
    fields = Fields(document)
    csr = fields.text("csr", lines=True)
    fields.done("the request for a certificate")
    return csr
