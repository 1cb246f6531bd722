-- Who may use the broker by name and password, what brokers there are, and what was seen on them.

CREATE TABLE mqtt_users (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- Wildcards and slashes would widen the rules that a name is put into.
    username      text NOT NULL UNIQUE CHECK (username ~ '^[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}$'),
    -- PBKDF2-HMAC-SHA512 as Mosquitto writes it; the password itself is kept nowhere.
    password_hash text NOT NULL CHECK (password_hash ~ '^\$7\$[0-9]+\$[A-Za-z0-9+/=]+\$[A-Za-z0-9+/=]+$'),
    is_superuser  boolean NOT NULL DEFAULT false,
    is_active     boolean NOT NULL DEFAULT true,
    created_at    timestamptz NOT NULL,
    updated_at    timestamptz NOT NULL
);

CREATE TABLE mqtt_acls (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id    bigint NOT NULL REFERENCES mqtt_users ON DELETE CASCADE,
    topic      text NOT NULL CHECK (length(topic) BETWEEN 1 AND 1024 AND topic !~ '[[:cntrl:]]'),
    -- 1 read, 2 write, 4 subscribe, added up.
    access     smallint NOT NULL CHECK (access BETWEEN 1 AND 7),
    -- The order in which rules are shown; they only ever allow, so it decides nothing.
    priority   integer NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL,
    UNIQUE (user_id, topic)
);

-- What the broker's side may read of devices in statements of its own.
CREATE VIEW broker_device_accounts AS
    SELECT a.username, a.device_uuid, a.password_digest, r.name AS registration,
           r.public_key <> '' AS has_certificate, d.is_active
    FROM device_mqtt_accounts a
    JOIN fleet_devices d ON d.uuid = a.device_uuid
    JOIN device_registrations r ON r.device_uuid = a.device_uuid;

-- Certificates that no broker may accept: revoked, or of a device that is switched off or gone.
-- In two halves, each with an index (0021 has that of inactive devices), as it is asked every two seconds. Removing a
-- device revokes its certificates, so there is no third.
CREATE VIEW refused_device_certificates AS
    SELECT c.serial, c.device_uuid, c.issued_at, c.not_after, c.revoked_at,
           EXISTS (SELECT FROM device_certificates v JOIN fleet_devices d ON d.uuid = v.device_uuid
                   WHERE v.device_uuid = c.device_uuid AND v.revoked_at IS NULL AND v.not_after > now()
                   AND d.is_active) AS is_replaced
    FROM device_certificates c WHERE c.revoked_at IS NOT NULL
    UNION ALL
    SELECT c.serial, c.device_uuid, c.issued_at, c.not_after, c.revoked_at, false
    FROM fleet_devices d JOIN device_certificates c ON c.device_uuid = d.uuid
    WHERE NOT d.is_active AND c.revoked_at IS NULL;
CREATE INDEX device_certificates_refused ON device_certificates (not_after) WHERE revoked_at IS NOT NULL;

-- Tells those who keep files or decisions that an account changed; they look for themselves at what.
CREATE FUNCTION tell_mqtt_access() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NOTIFY mqtt_access;
    RETURN NULL;
END $$;
CREATE TRIGGER mqtt_users_told AFTER INSERT OR UPDATE OR DELETE ON mqtt_users
    FOR EACH STATEMENT EXECUTE FUNCTION tell_mqtt_access();
CREATE TRIGGER mqtt_acls_told AFTER INSERT OR UPDATE OR DELETE ON mqtt_acls
    FOR EACH STATEMENT EXECUTE FUNCTION tell_mqtt_access();
CREATE TRIGGER device_mqtt_accounts_told AFTER INSERT OR UPDATE OR DELETE ON device_mqtt_accounts
    FOR EACH STATEMENT EXECUTE FUNCTION tell_mqtt_access();
CREATE TRIGGER fleet_devices_mqtt_told AFTER UPDATE OF is_active ON fleet_devices
    FOR EACH STATEMENT EXECUTE FUNCTION tell_mqtt_access();

CREATE TABLE mqtt_brokers (
    id                 bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name               text NOT NULL UNIQUE CHECK (length(name) BETWEEN 1 AND 100),
    protocol           text NOT NULL CHECK (protocol IN ('mqtt', 'mqtts')),
    host               text NOT NULL CHECK (length(host) BETWEEN 1 AND 253),
    port               integer NOT NULL CHECK (port BETWEEN 1 AND 65535),
    username           text NOT NULL DEFAULT '' CHECK (length(username) <= 255),
    -- Encrypted (AES-256-GCM, bound to the broker's name): it has to be shown to the broker, so a digest cannot do.
    password_sealed    bytea,
    ca_pem             text NOT NULL DEFAULT '' CHECK (length(ca_pem) <= 65536),
    verify_certificate boolean NOT NULL DEFAULT true,
    keep_alive_s       integer NOT NULL DEFAULT 60 CHECK (keep_alive_s BETWEEN 5 AND 3600),
    clean_session      boolean NOT NULL DEFAULT true,
    is_default         boolean NOT NULL DEFAULT false,
    created_at         timestamptz NOT NULL,
    updated_at         timestamptz NOT NULL
);
-- Devices are sent to one broker at most when nothing else is said.
CREATE UNIQUE INDEX mqtt_brokers_default ON mqtt_brokers (is_default) WHERE is_default;

-- What samples saw of each topic. Bounded by whoever writes: topics that are new when it is full are only counted.
CREATE TABLE mqtt_topics (
    topic               text PRIMARY KEY,
    -- Estimates: what a sample saw, times how much of the time was sampled.
    messages            double precision NOT NULL,
    bytes               double precision NOT NULL,
    samples             bigint NOT NULL,
    last_payload_bytes  integer NOT NULL,
    first_seen_at       timestamptz NOT NULL,
    last_seen_at        timestamptz NOT NULL,
    -- JSON Schema of the payloads seen; NULL while none was JSON.
    schema              jsonb,
    schema_changed_at   timestamptz
);
CREATE INDEX mqtt_topics_seen ON mqtt_topics (last_seen_at);

-- The broker's own figures below $SYS, one row for each sample.
CREATE TABLE mqtt_broker_stats (
    at      timestamptz PRIMARY KEY,
    figures jsonb NOT NULL
);
