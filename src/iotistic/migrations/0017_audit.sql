-- Who did what (audit_logs, sealed into a chain), what happened to devices (events), and why things are as they
-- are (why_records). All three are partitioned by time: what is too old leaves as whole partitions.

-- Makes the partition of `parent` for [first, until), unless it stands, and returns its name.
CREATE FUNCTION make_time_partition(parent regclass, first timestamptz, until timestamptz) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    child text := parent::text || '_p' || to_char(first AT TIME ZONE 'UTC', 'YYYYMMDD');
BEGIN
    IF to_regclass(child) IS NULL THEN
        EXECUTE format('CREATE TABLE %I PARTITION OF %s FOR VALUES FROM (%L) TO (%L)', child, parent, first, until);
        -- Row triggers come with the parent, those of TRUNCATE do not.
        IF EXISTS (SELECT FROM pg_trigger WHERE tgrelid = parent AND tgname = 'append_only_truncate') THEN
            EXECUTE format('CREATE TRIGGER append_only_truncate BEFORE TRUNCATE ON %I '
                'FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()', child);
        END IF;
    END IF;
    RETURN child;
END $$;

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% of % is refused: the audit trail is only added to', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege', HINT = 'what is too old leaves by whole months: AUDIT_KEEP_MONTHS';
END $$;

-- One sequence for audit entries and events, so that one number is a place in both.
CREATE SEQUENCE event_ids;

CREATE TABLE audit_logs (
    id             bigint NOT NULL DEFAULT nextval('event_ids'),
    event_id       uuid NOT NULL DEFAULT gen_random_uuid(),
    at             timestamptz NOT NULL,
    event_type     text NOT NULL CHECK (length(event_type) BETWEEN 1 AND 100),
    severity       text NOT NULL CHECK (severity IN ('info', 'warning', 'critical')),
    -- 'user', 'api-key', 'device', 'service', 'nobody'; the id stays what it was when the person is renamed or removed.
    actor_type     text NOT NULL,
    actor_id       text NOT NULL,
    user_id        uuid,
    aggregate_type text NOT NULL,
    aggregate_id   text NOT NULL,
    device_uuid    uuid,
    ip_address     text NOT NULL DEFAULT '',
    user_agent     text NOT NULL DEFAULT '',
    -- The request that this was part of.
    correlation_id text NOT NULL DEFAULT '',
    -- What it was and what it became, without secrets and personal data.
    before         jsonb,
    after          jsonb,
    details        jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (at, id)
) PARTITION BY RANGE (at);
CREATE INDEX audit_logs_id ON audit_logs (id);
CREATE INDEX audit_logs_device ON audit_logs (device_uuid, id) WHERE device_uuid IS NOT NULL;
CREATE INDEX audit_logs_correlation ON audit_logs (correlation_id) WHERE correlation_id <> '';

-- What waits to be sealed. Written with the entry itself; the sealer empties it.
CREATE TABLE audit_unsealed (
    log_id bigint PRIMARY KEY,
    log_at timestamptz NOT NULL
);
CREATE FUNCTION queue_audit_log() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO audit_unsealed (log_id, log_at) VALUES (NEW.id, NEW.at);
    RETURN NULL;
END $$;
CREATE TRIGGER audit_logs_queue AFTER INSERT ON audit_logs FOR EACH ROW EXECUTE FUNCTION queue_audit_log();

-- The chain: the n-th entry's hash is made of the hash before and the entry.
-- Partitioned by the entry's time, so that a month of entries leaves with its links.
CREATE TABLE audit_links (
    position  bigint NOT NULL CHECK (position > 0),
    log_id    bigint NOT NULL,
    log_at    timestamptz NOT NULL,
    hash      bytea NOT NULL CHECK (length(hash) = 32),
    sealed_at timestamptz NOT NULL,
    PRIMARY KEY (log_at, position)
) PARTITION BY RANGE (log_at);
CREATE INDEX audit_links_position ON audit_links (position);
CREATE INDEX audit_links_log ON audit_links (log_id);

-- The end of the chain. Whoever seals holds its lock: requests never do.
CREATE TABLE audit_head (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    position bigint NOT NULL DEFAULT 0,
    hash     bytea NOT NULL DEFAULT '\x0000000000000000000000000000000000000000000000000000000000000000'
        CHECK (length(hash) = 32)
);
INSERT INTO audit_head DEFAULT VALUES;

-- Months that have left. The months on both sides of midnight are sealed mixed, so a month may end at several places
-- of the chain: `ends` and `end_hashes` keep the hash before each link that stays and lost the one before it.
CREATE TABLE audit_drops (
    month         timestamptz PRIMARY KEY,
    entries       bigint NOT NULL,
    last_position bigint NOT NULL,
    last_hash     bytea NOT NULL,
    ends          bigint[] NOT NULL,
    end_hashes    bytea[] NOT NULL,
    dropped_at    timestamptz NOT NULL,
    CHECK (cardinality(ends) = cardinality(end_hashes))
);

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON audit_logs FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON audit_links FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON audit_drops FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER append_only_truncate BEFORE TRUNCATE ON audit_logs
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER append_only_truncate BEFORE TRUNCATE ON audit_links
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER append_only_truncate BEFORE TRUNCATE ON audit_drops
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- What happened to devices, many times a second; not sealed.
CREATE TABLE events (
    id             bigint NOT NULL DEFAULT nextval('event_ids'),
    event_id       uuid NOT NULL DEFAULT gen_random_uuid(),
    at             timestamptz NOT NULL,
    event_type     text NOT NULL CHECK (length(event_type) BETWEEN 1 AND 100),
    event_version  integer NOT NULL DEFAULT 1,
    aggregate_type text NOT NULL,
    aggregate_id   text NOT NULL,
    device_uuid    uuid,
    data           jsonb NOT NULL,
    metadata       jsonb NOT NULL DEFAULT '{}',
    correlation_id text NOT NULL DEFAULT '',
    causation_id   uuid,
    source         text NOT NULL DEFAULT 'cloud',
    actor_type     text NOT NULL,
    actor_id       text NOT NULL,
    severity       text NOT NULL CHECK (severity IN ('info', 'warning', 'critical')),
    -- SHA-256 of `data` as it was written, in hex: a replay names what it does not fit any more.
    checksum       text NOT NULL,
    PRIMARY KEY (at, id)
) PARTITION BY RANGE (at);
CREATE INDEX events_id ON events (id);
CREATE INDEX events_device ON events (device_uuid, id) WHERE device_uuid IS NOT NULL;
-- The last state of a kind before a time.
CREATE INDEX events_device_kind ON events (device_uuid, event_type, at DESC) WHERE device_uuid IS NOT NULL;
CREATE INDEX events_correlation ON events (correlation_id) WHERE correlation_id <> '';

-- Both as one list, in one shape.
CREATE VIEW event_stream AS
    SELECT id, event_id, at, event_type, event_version, aggregate_type, aggregate_id, device_uuid, data, metadata,
           correlation_id, causation_id, source, actor_type, actor_id, severity, checksum
    FROM events
    UNION ALL
    SELECT id, event_id, at, event_type, 1, aggregate_type, aggregate_id, device_uuid,
           jsonb_build_object('before', before, 'after', after, 'details', details),
           jsonb_build_object('ip_address', ip_address, 'user_agent', user_agent),
           correlation_id, NULL::uuid, 'audit', actor_type, actor_id, severity, NULL
    FROM audit_logs;

-- Why something was refused, limited, stopped, rolled back, or changed its presence.
CREATE SEQUENCE why_record_ids;
CREATE TABLE why_records (
    id          bigint NOT NULL DEFAULT nextval('why_record_ids'),
    at          timestamptz NOT NULL,
    -- None: it is about all devices (a broker that restarted), or about what other records refer to (a rollout).
    device_uuid uuid,
    about       text NOT NULL CHECK (about IN ('offline', 'not-updated', 'limited', 'rolled-back')),
    code        text NOT NULL CHECK (length(code) BETWEEN 1 AND 100),
    source      text NOT NULL DEFAULT '',
    facts       jsonb NOT NULL DEFAULT '{}' CHECK (pg_column_size(facts) <= 4096),
    -- The record that this one follows from.
    cause_id    bigint,
    PRIMARY KEY (at, id)
) PARTITION BY RANGE (at);
CREATE INDEX why_records_device ON why_records (device_uuid, at DESC) WHERE device_uuid IS NOT NULL;
CREATE INDEX why_records_of_all ON why_records (at DESC) WHERE device_uuid IS NULL;
CREATE INDEX why_records_id ON why_records (id);

-- What a device tried at the doors, for `why`.
CREATE INDEX provisioning_attempts_device ON provisioning_attempts (device_uuid, at DESC) WHERE device_uuid IS NOT NULL;

-- What comes at a time that nobody made a partition for is taken all the same.
CREATE TABLE audit_logs_other PARTITION OF audit_logs DEFAULT;
CREATE TABLE audit_links_other PARTITION OF audit_links DEFAULT;
CREATE TABLE events_other PARTITION OF events DEFAULT;
CREATE TABLE why_records_other PARTITION OF why_records DEFAULT;
CREATE TRIGGER append_only_truncate BEFORE TRUNCATE ON audit_logs_other
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER append_only_truncate BEFORE TRUNCATE ON audit_links_other
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
SELECT make_time_partition(parent, first AT TIME ZONE 'UTC', (first + interval '1 month') AT TIME ZONE 'UTC')
FROM unnest(ARRAY['audit_logs', 'audit_links', 'why_records']::regclass[]) AS parent,
    generate_series(date_trunc('month', now() AT TIME ZONE 'UTC'),
        date_trunc('month', now() AT TIME ZONE 'UTC') + interval '2 months', interval '1 month') AS first;
SELECT make_time_partition('events', first AT TIME ZONE 'UTC', (first + interval '1 day') AT TIME ZONE 'UTC')
FROM generate_series(date_trunc('day', now() AT TIME ZONE 'UTC'),
    date_trunc('day', now() AT TIME ZONE 'UTC') + interval '7 days', interval '1 day') AS first;
