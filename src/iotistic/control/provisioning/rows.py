"""Rows of registrations, challenges and MQTT accounts."""

from dataclasses import dataclass
from datetime import datetime

from iotistic.contracts.provisioning.keys import PublicKey, read_public
from iotistic.control.devices.repository import Database


@dataclass(frozen=True, kw_only=True, slots=True)
class Registration:
    """How a device came to be known; keys in PEM, empty when there is none."""

    name: str
    provisioning_key_id: str | None
    public_key: str
    former_public_key: str
    registered_at: datetime
    proven_at: datetime | None

    def public_keys(self) -> list[PublicKey]:
        """Return the keys that a proof may be made with."""
        return [read_public(pem) for pem in (self.public_key, self.former_public_key) if pem]


async def find(db: Database, uuid: str, *, for_update: bool = False) -> Registration | None:
    """Return the registration of a device."""
    row = await db.fetchrow(
        "SELECT name, provisioning_key_id::text, public_key, former_public_key, registered_at, proven_at "
        "FROM device_registrations WHERE device_uuid = $1::text::uuid"
        + (" FOR UPDATE" if for_update else ""),
        uuid,
    )
    return Registration(**dict(row)) if row else None


async def save(db: Database, uuid: str, registration: Registration) -> None:
    """Keep a registration in the place of the one before."""
    await db.execute(
        "INSERT INTO device_registrations (device_uuid, name, provisioning_key_id, public_key, "
        "former_public_key, registered_at, proven_at) VALUES ($1::text::uuid, $2, $3::text::uuid, $4, $5, $6, $7) "
        "ON CONFLICT (device_uuid) DO UPDATE SET name = EXCLUDED.name, "
        "provisioning_key_id = EXCLUDED.provisioning_key_id, public_key = EXCLUDED.public_key, "
        "former_public_key = EXCLUDED.former_public_key, registered_at = EXCLUDED.registered_at, "
        "proven_at = EXCLUDED.proven_at",
        uuid,
        registration.name,
        registration.provisioning_key_id,
        registration.public_key,
        registration.former_public_key,
        registration.registered_at,
        registration.proven_at,
    )


async def note_proof(db: Database, uuid: str, proven_by: str, now: datetime) -> None:
    """Note that a device has shown its keys; a proof by the newest key ends the one before."""
    await db.execute(
        "UPDATE device_registrations SET proven_at = coalesce(proven_at, $3), "
        "former_public_key = CASE WHEN public_key = $2 THEN '' ELSE former_public_key END "
        "WHERE device_uuid = $1::text::uuid",
        uuid,
        proven_by,
        now,
    )


async def change_key(db: Database, uuid: str, public_key: str) -> None:
    """Note the key of the newest certificate; the one before stays good for proofs."""
    await db.execute(
        "UPDATE device_registrations SET former_public_key = public_key, public_key = $2 "
        "WHERE device_uuid = $1::text::uuid AND public_key <> $2",
        uuid,
        public_key,
    )


@dataclass(frozen=True, slots=True)
class LiveChallenge:
    """Something that waits to be signed."""

    text: str
    asked_by: str
    expires_at: datetime


async def challenge_of(db: Database, uuid: str, now: datetime) -> LiveChallenge | None:
    """Return what a device has to sign; nothing that is over."""
    row = await db.fetchrow(
        "SELECT challenge, asked_by, expires_at FROM device_challenges "
        "WHERE device_uuid = $1::text::uuid AND expires_at > $2",
        uuid,
        now,
    )
    return LiveChallenge(*row) if row else None


async def put_challenge(db: Database, uuid: str, challenge: LiveChallenge) -> None:
    """Let a device sign this, and nothing else."""
    await db.execute(
        "INSERT INTO device_challenges (device_uuid, challenge, asked_by, expires_at) "
        "VALUES ($1::text::uuid, $2, $3, $4) ON CONFLICT (device_uuid) DO UPDATE SET "
        "challenge = EXCLUDED.challenge, asked_by = EXCLUDED.asked_by, expires_at = EXCLUDED.expires_at",
        uuid,
        challenge.text,
        challenge.asked_by,
        challenge.expires_at,
    )


async def take_challenge(db: Database, uuid: str, now: datetime, text: str | None = None) -> str:
    """Use a challenge up and return it; empty when there is none that is live, or another than `text`."""
    row = await db.fetchrow(
        "DELETE FROM device_challenges WHERE device_uuid = $1::text::uuid "
        "AND ($2::text IS NULL OR challenge = $2) RETURNING challenge, expires_at",
        uuid,
        text,
    )
    return row["challenge"] if row and row["expires_at"] > now else ""


async def put_mqtt_account(db: Database, uuid: str, username: str, digest: bytes, now: datetime) -> None:
    """Keep the broker account of a device; a password from before is good no more."""
    await db.execute(
        "INSERT INTO device_mqtt_accounts (username, device_uuid, password_digest, changed_at) "
        "VALUES ($1, $2::text::uuid, $3, $4) ON CONFLICT (username) DO UPDATE SET "
        "password_digest = EXCLUDED.password_digest, changed_at = EXCLUDED.changed_at "
        "WHERE device_mqtt_accounts.password_digest <> EXCLUDED.password_digest",
        username,
        uuid,
        digest,
        now,
    )
