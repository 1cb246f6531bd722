"""Signed statements of what was stored: one for each sender and hour in which it sent.

A receipt names the hash of the one before, so that none can be left out or put in between unnoticed.
Who holds the public key can check it without us: see `verify`.
"""

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from iotistic.contracts.delivery import SignatureInvalid, signature_of, unsigned
from iotistic.kernel.errors import Invalid
from iotistic.kernel.files import PUBLIC, write_atomic
from iotistic.telemetry.ledger.metrics import RECEIPTS
from iotistic.telemetry.ledger.repository import MOST_GAPS, Chosen, LedgerRepository
from iotistic.telemetry.query.times import iso
from iotistic.telemetry.statements import Record

HOUR = timedelta(hours=1)
_VERSION = 1
_A_ROUND = 200
_RAW = serialization.Encoding.Raw, serialization.PublicFormat.Raw


class KeyUnusable(Invalid):
    """The key cannot be read, or is no Ed25519 key."""

    code = "ledger.key_unusable"


class SigningKey:
    """The installation's key for receipts."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.id = key_id(private.public_key())

    @classmethod
    def kept_in(cls, path: Path) -> "SigningKey":
        """Return the key of a PEM file, making it (mode 600) the first time, and the public one beside it.

        Raises KeyUnusable.
        """
        public = path.with_suffix(".pub")
        try:
            if not path.exists():
                write_atomic(path, _private_pem(Ed25519PrivateKey.generate()))
            private = _read_private(path)
            if not public.exists():
                write_atomic(public, _public_pem(private.public_key()), mode=PUBLIC)
        except OSError as exc:
            raise KeyUnusable(f"the key in {path} cannot be kept: {exc.strerror}") from exc
        return cls(private)

    def sign(self, receipt: dict[str, Any]) -> bytes:
        """Return the receipt as JSON, with the key's id and the signature in it."""
        content = {**receipt, "key": self.id}
        signature = base64.b64encode(self._private.sign(unsigned(content))).decode()
        return msgspec.json.encode({**content, "signature": signature}, order="deterministic")


def key_id(public: Ed25519PublicKey) -> str:
    """Return the first 16 hex digits of a public key's SHA-256."""
    return hashlib.sha256(public.public_bytes(*_RAW)).hexdigest()[:16]


def read_public_key(path: Path) -> Ed25519PublicKey:
    """Read a public key (PEM). Raises KeyUnusable."""
    try:
        key = serialization.load_pem_public_key(path.read_bytes())
    except FileNotFoundError as exc:
        hint = "it is made with the first receipt; --key names another file"
        raise KeyUnusable(f"there is no {path}", hint=hint) from exc
    except (OSError, ValueError) as exc:
        raise KeyUnusable(f"{path} holds no public key that can be read") from exc
    if not isinstance(key, Ed25519PublicKey):
        raise KeyUnusable(f"{path} holds no Ed25519 key")
    return key


def verify(receipt: Mapping[str, Any], public: Ed25519PublicKey) -> None:
    """Raise SignatureInvalid unless the receipt was signed with this key and not changed since."""
    if receipt.get("key") != key_id(public):
        raise SignatureInvalid(
            f"the receipt names key {receipt.get('key')!r}, this key is {key_id(public)}",
            hint="give the public key of the installation that signed it: --key FILE",
        )
    try:
        public.verify(signature_of(dict(receipt)), unsigned(dict(receipt)))
    except (InvalidSignature, msgspec.MsgspecError) as exc:
        raise SignatureInvalid(source=receipt.get("source"), until=receipt.get("until")) from exc


def chain_faults(receipts: Sequence[Mapping[str, Any]]) -> list[tuple[int, str, str]]:
    """Return what is wrong between the receipts of each sender: (number from 1, sender, why).

    The first receipt of a sender may follow others that are not given; every other one follows the one before.
    """
    before: dict[str, str] = {}
    faults: list[tuple[int, str, str]] = []
    for number, receipt in enumerate(receipts, 1):
        source = str(receipt.get("source"))
        if source in before and receipt.get("previous") != before[source]:
            faults.append(
                (number, source, "it does not follow the receipt before: one is missing or changed")
            )
        before[source] = digest_of(msgspec.json.encode(dict(receipt), order="deterministic").decode())
    return faults


def digest_of(body: str) -> str:
    """Return the hash by which the next receipt names this one."""
    return hashlib.sha256(body.encode()).hexdigest()


class Notary:
    """Signs the receipts that are due."""

    def __init__(self, repository: LedgerRepository, key: Callable[[], SigningKey]) -> None:
        """`key` is called when the first receipt is due, so that who needs no key has none."""
        self._repository = repository
        self._open_key = key
        self._key: SigningKey | None = None

    async def sign_due(self, now: datetime) -> dict[str, str]:
        """Sign for the hour that ended last, and return up to 200 new receipts by sender."""
        until = now.replace(minute=0, second=0, microsecond=0)
        start = until - HOUR
        sources = await self._repository.receipts_due(start, until, limit=_A_ROUND)
        if not sources:
            return {}
        key = self._key = self._key or self._open_key()
        before = await self._repository.last_receipts(sources)
        entries = await self._repository.page(
            Chosen(sources, start, until), after=("", -1), limit=_A_ROUND * 32
        )
        gaps = await self._repository.gaps(entries)
        by_source: dict[str, list[dict[str, Any]]] = {source: [] for source in sources}
        for entry in entries:
            by_source[entry["source"]].append(_epoch(entry, gaps.get((entry["source"], entry["epoch"]), [])))
        bodies: dict[str, str] = {}
        for source, found in by_source.items():
            previous = digest_of(before[source]) if source in before else None
            statement = _statement(source, found, start=start, until=until, previous=previous)
            bodies[source] = key.sign({**statement, "issued_at": iso(now)}).decode()
        await self._repository.store_receipts(bodies, until)
        RECEIPTS.inc(len(bodies))
        return bodies


def _statement(
    source: str,
    epochs: Sequence[dict[str, Any]],
    *,
    start: datetime,
    until: datetime,
    previous: str | None,
) -> dict[str, Any]:
    return {
        "version": _VERSION,
        "source": source,
        "from": iso(start),
        "until": iso(until),
        "previous": previous,
        "epochs": epochs,
    }


def _epoch(entry: Record, gaps: Sequence[Record]) -> dict[str, Any]:
    return {
        "epoch": entry["epoch"],
        "sent": entry["sent"],
        "stored": entry["stored"],
        "missing": entry["missing"],
        "missing_ranges": sorted([gap["first"], gap["last"]] for gap in gaps)[:MOST_GAPS],
        "duplicates": entry["duplicates"],
        "healed": int(entry["healed"]),
        "first_at": iso(entry["first_at"]),
        "last_at": iso(entry["last_at"]),
    }


def _read_private(path: Path) -> Ed25519PrivateKey:
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError) as exc:
        raise KeyUnusable(f"{path} holds no private key that can be read") from exc
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyUnusable(f"{path} holds no Ed25519 key")
    return key


def _private_pem(private: Ed25519PrivateKey) -> bytes:
    return private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _public_pem(public: Ed25519PublicKey) -> bytes:
    return public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
