"""Builders for tests of the certificate authority."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID


def csr_of(key, name: str = "whoever") -> str:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    request = x509.CertificateSigningRequestBuilder(subject).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM).decode()


def identity_files(issued: dict[str, str], folder: Path) -> tuple[Path, Path]:
    """Write an answer of /issue to files for a TLS client."""
    paths = folder / "device.crt", folder / "device.key"
    paths[0].write_text(issued["client_cert"])
    paths[1].write_text(issued["private_key"])
    return paths


def serial_in(issued: dict[str, str]) -> int:
    return x509.load_pem_x509_certificate(issued["client_cert"].encode()).serial_number


async def poll(met: Callable[[], bool], *, within_s: float = 10) -> None:
    """Return once `met` says yes; TimeoutError when it does not in time."""
    async with asyncio.timeout(within_s):
        while not met():  # noqa: ASYNC110  what is waited for knows no event
            await asyncio.sleep(0.02)
