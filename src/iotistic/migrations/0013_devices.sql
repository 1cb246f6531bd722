-- Devices of fleets, as the control plane owns them, and the API keys that they speak with.
-- (`devices` of 0001 are controllers and sensors of F2; the two meet where a fleet device is such a controller.)

CREATE TABLE fleet_devices (
    uuid             uuid PRIMARY KEY,
    -- A number that is short enough to be read out: `deviceId` on the wire.
    number           bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    name             text NOT NULL CHECK (length(name) BETWEEN 1 AND 255),
    type             text NOT NULL CHECK (length(type) BETWEEN 1 AND 255),
    fleet_id         text NOT NULL CHECK (length(fleet_id) BETWEEN 1 AND 255),
    application_id   text NOT NULL DEFAULT '',
    mac_address      text NOT NULL DEFAULT '',
    os_version       text NOT NULL DEFAULT '',
    agent_version    text NOT NULL DEFAULT '',
    is_active        boolean NOT NULL DEFAULT true,
    created_at       timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX fleet_devices_fleet ON fleet_devices (fleet_id, uuid);

-- How many there are, in one row: a limit is checked under its lock, and costs the same with 100,000 devices.
CREATE TABLE fleet_device_tally (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    devices  bigint NOT NULL DEFAULT 0 CHECK (devices >= 0)
);
INSERT INTO fleet_device_tally DEFAULT VALUES;

CREATE FUNCTION tally_fleet_devices() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE fleet_device_tally SET devices = devices
        + CASE TG_OP WHEN 'INSERT' THEN (SELECT count(*) FROM changed) ELSE -(SELECT count(*) FROM changed) END;
    RETURN NULL;
END $$;
CREATE TRIGGER fleet_devices_came AFTER INSERT ON fleet_devices
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION tally_fleet_devices();
CREATE TRIGGER fleet_devices_went AFTER DELETE ON fleet_devices
    REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION tally_fleet_devices();

CREATE TABLE device_api_keys (
    device_uuid uuid NOT NULL REFERENCES fleet_devices ON DELETE CASCADE,
    -- Finds the key: the first 8 bytes of its digest, which tell nothing of the key itself.
    prefix      bytea NOT NULL CHECK (length(prefix) = 8),
    -- SHA-256 of the whole key: it is random, so nothing slower is needed. The key itself is kept nowhere.
    digest      bytea NOT NULL CHECK (length(digest) = 32),
    -- 'device': made by the device and registered; 'rotation': made here, on request of the device.
    origin      text NOT NULL CHECK (origin IN ('device', 'rotation')),
    created_at  timestamptz NOT NULL,
    -- When the device should have another one. The newest key is taken after that as well: a device that lay in
    -- a store for a year could never come back otherwise.
    due_at      timestamptz,
    -- When it is refused: set as soon as it was replaced, at the end of the grace period.
    ends_at     timestamptz,
    PRIMARY KEY (device_uuid, prefix)
);
-- For requests that name no device: whose key this is.
CREATE INDEX device_api_keys_prefix ON device_api_keys (prefix);

-- What other domains may read of a credential in a statement of their own, so that a request costs one read.
CREATE VIEW device_credentials AS
    SELECT k.device_uuid, k.prefix, k.digest, k.ends_at, d.is_active
    FROM device_api_keys k JOIN fleet_devices d ON d.uuid = k.device_uuid;
