"""Revocation lists where OpenSSL looks for them at every handshake, so that the broker need not read again.

    <folder>/<hash of the issuer's name>.r0, .r1, .r2, …

A lookup goes on from the last number it has seen, and what it has read stays in memory. Of several lists
OpenSSL takes the one with the latest `lastUpdate`, so a later list has to bear a later second. The broker
is told nothing: SIGHUP makes Mosquitto (2.0.11 and 2.0.21) list the sessions of absent TLS devices twice,
free them once, and crash when they are back.

Invariant: numbers have no gap, as a lookup ends at the first one that is missing.
"""

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path

from cryptography import x509

from iotistic.kernel.files import write_atomic

MOST_LISTS = 300
"""Lists after which a start is due that forgets the earlier ones: each costs its size in memory, and a look
at every handshake."""

_SEQUENCE, _SET, _UTF8 = 0x30, 0x31, 0x0C
_TEXTS = {_UTF8: "utf-8", 0x13: "ascii", 0x14: "latin-1", 0x16: "ascii", 0x1A: "ascii", 0x1E: "utf-16-be"}
_LONG = 0x80


class RevocationFolder:
    """The folder that the broker's `capath` names."""

    def __init__(self, folder: Path, *, owner: tuple[int, int] | None) -> None:
        self._folder = folder
        self._owner = owner

    def clear(self) -> None:
        """Make the folder, or empty it. For a broker that does not run; copy its first list afterwards."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for file in self._folder.iterdir():
            with contextlib.suppress(FileNotFoundError):
                file.unlink()

    def add(self, pem: bytes) -> None:
        """Put a list in force for every handshake from now on.

        Without the folder no broker was ever started, and the first start reads the list elsewhere.
        """
        stem = f"{issuer_hash(pem)}.r"
        if self._folder.is_dir():
            write_atomic(self._folder / f"{stem}{self._next(stem)}", pem, owner=self._owner)

    @property
    def full(self) -> bool:
        """Whether more lists have gathered than a broker should hold."""
        return any(self._folder.glob(f"*.r{MOST_LISTS}"))

    def _next(self, stem: str) -> int:
        number = 0
        while (self._folder / f"{stem}{number}").exists():
            number += 1
        return number


def issuer_hash(crl_pem: bytes) -> str:
    """Return the name that OpenSSL gives to the issuer of a list: 8 hex digits, as `openssl crl -hash`."""
    name = x509.load_pem_x509_crl(crl_pem).issuer
    body = next(_items(name.public_bytes()))[1]
    canonical = b"".join(_canonical_set(rdn) for _tag, rdn in _items(body))
    digest = hashlib.sha1(canonical, usedforsecurity=False).digest()
    return f"{int.from_bytes(digest[:4], 'little'):08x}"


def _canonical_set(rdn: bytes) -> bytes:
    """Return one relative name with its texts as UTF-8, in small letters, with single spaces."""
    attributes: list[bytes] = []
    for _tag, attribute in _items(rdn):
        (oid_tag, oid), (tag, value) = _items(attribute)
        if tag in _TEXTS:
            text = b" ".join(value.decode(_TEXTS[tag]).encode().split())
            tag, value = _UTF8, text.lower()
        attributes.append(_item(_SEQUENCE, _item(oid_tag, oid) + _item(tag, value)))
    return _item(_SET, b"".join(sorted(attributes)))


def _items(der: bytes) -> Iterator[tuple[int, bytes]]:
    """Take a sequence of DER items apart: tag and content of each."""
    at = 0
    while at < len(der):
        tag, size, at = der[at], der[at + 1], at + 2
        if size & _LONG:
            width = size & ~_LONG
            size, at = int.from_bytes(der[at : at + width]), at + width
        yield tag, der[at : at + size]
        at += size


def _item(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < _LONG:
        return bytes([tag, size]) + content
    width = size.to_bytes((size.bit_length() + 7) // 8)
    return bytes([tag, _LONG | len(width)]) + width + content
