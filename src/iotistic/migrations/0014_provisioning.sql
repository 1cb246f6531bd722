-- How devices become known: the keys that allow it, who tried, and what a device was given.

CREATE TABLE provisioning_keys (
    id             uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    -- The first 12 characters of the key: finds the row without trying every digest.
    prefix         text NOT NULL UNIQUE CHECK (length(prefix) = 12),
    -- SHA-256 of the whole key, which is shown once and kept nowhere.
    digest         bytea NOT NULL CHECK (length(digest) = 32),
    fleet_id       text NOT NULL CHECK (length(fleet_id) BETWEEN 1 AND 255),
    description    text NOT NULL DEFAULT '' CHECK (length(description) <= 1000),
    max_uses       integer NOT NULL CHECK (max_uses > 0),
    current_uses   integer NOT NULL DEFAULT 0,
    created_at     timestamptz NOT NULL,
    created_by     text NOT NULL,
    expires_at     timestamptz NOT NULL,
    revoked_at     timestamptz,
    revoked_reason text,
    -- The last line of defence: no race passes it.
    CHECK (current_uses BETWEEN 0 AND max_uses),
    CHECK (revoked_at IS NOT NULL OR revoked_reason IS NULL)
);
CREATE INDEX provisioning_keys_fleet ON provisioning_keys (fleet_id, created_at DESC);

-- How a device came to be known, apart from what it is.
CREATE TABLE device_registrations (
    device_uuid         uuid PRIMARY KEY REFERENCES fleet_devices ON DELETE CASCADE,
    -- The name that the device gave this registration (X-Idempotency-Key): the same asks for the same answer.
    name                text NOT NULL CHECK (length(name) BETWEEN 1 AND 255),
    provisioning_key_id uuid REFERENCES provisioning_keys ON DELETE SET NULL,
    -- PEM; empty for devices that have an API key only.
    public_key          text NOT NULL DEFAULT '',
    -- The key before the last certificate: good for proofs until the device was seen with the new one.
    former_public_key   text NOT NULL DEFAULT '',
    registered_at       timestamptz NOT NULL,
    proven_at           timestamptz
);

-- What is waiting to be signed; one for a device, good for one use.
CREATE TABLE device_challenges (
    device_uuid uuid PRIMARY KEY REFERENCES fleet_devices ON DELETE CASCADE,
    challenge   text NOT NULL,
    asked_by    text NOT NULL,
    expires_at  timestamptz NOT NULL
);

-- The password is derived from a secret of the cloud and the registration, so a lost answer can be given again.
CREATE TABLE device_mqtt_accounts (
    username        text PRIMARY KEY,
    device_uuid     uuid NOT NULL UNIQUE REFERENCES fleet_devices ON DELETE CASCADE,
    password_digest bytea NOT NULL CHECK (length(password_digest) = 32),
    changed_at      timestamptz NOT NULL
);

CREATE TABLE device_certificates (
    serial      text PRIMARY KEY CHECK (serial ~ '^[0-9a-f]{1,40}$'),
    -- No foreign key: a certificate outlives the device that left, and has to be revoked.
    device_uuid uuid NOT NULL,
    public_key  text NOT NULL,
    pem         text NOT NULL,
    issued_at   timestamptz NOT NULL,
    not_after   timestamptz NOT NULL,
    revoked_at  timestamptz
);
CREATE INDEX device_certificates_device ON device_certificates (device_uuid, issued_at DESC);

CREATE FUNCTION revoke_device_certificates() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE device_certificates SET revoked_at = now()
        WHERE device_uuid IN (SELECT uuid FROM changed) AND revoked_at IS NULL;
    RETURN NULL;
END $$;
CREATE TRIGGER fleet_devices_certificates AFTER DELETE ON fleet_devices
    REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION revoke_device_certificates();

-- Who tried what. An attempt is written before it is judged, so that a race is braked as well.
CREATE TABLE provisioning_attempts (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at          timestamptz NOT NULL,
    route       text NOT NULL,
    -- An IPv6 address stands for its /64, which is what one customer has.
    address     text NOT NULL,
    device_uuid uuid,
    -- 'pending', 'registered', 'retold', 'ok', or the code of the refusal.
    outcome     text NOT NULL DEFAULT 'pending'
);
CREATE INDEX provisioning_attempts_address ON provisioning_attempts (address, at);
CREATE INDEX provisioning_attempts_at ON provisioning_attempts (at);
