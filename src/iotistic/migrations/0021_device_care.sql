-- Looking after devices: found among many, tagged, here or away, measured, and what they log.

-- The list. --------------------------------------------------------------------------------------------------

ALTER TABLE fleet_devices
    -- The address that the device says it has; not where its requests come from.
    ADD COLUMN ip_address text NOT NULL DEFAULT '' CHECK (length(ip_address) <= 255),
    -- What a search looks in. The MAC stands there twice: as it was told, and without separators.
    ADD COLUMN search_text text NOT NULL GENERATED ALWAYS AS (
        lower(name || ' ' || uuid::text || ' ' || mac_address || ' ' || translate(mac_address, ':-. ', '')
              || ' ' || type || ' ' || ip_address)) STORED;

-- Each filter with the order by name, so that a page is read where it stands; the order is also the keyset.
CREATE INDEX fleet_devices_name ON fleet_devices (lower(name), uuid);
-- One or two characters are too few for a trigram: they are the beginning of a name.
CREATE INDEX fleet_devices_name_start ON fleet_devices (lower(name) text_pattern_ops);
CREATE INDEX fleet_devices_fleet_name ON fleet_devices (fleet_id, lower(name), uuid);
CREATE INDEX fleet_devices_type_name ON fleet_devices (type, lower(name), uuid);
CREATE INDEX fleet_devices_version_name ON fleet_devices (agent_version, lower(name), uuid);
CREATE INDEX fleet_devices_created ON fleet_devices (created_at, uuid);
CREATE INDEX fleet_devices_inactive ON fleet_devices (lower(name), uuid) WHERE NOT is_active;

-- Parts of words are found by trigrams where the extension exists (it is part of PostgreSQL's contrib, and
-- trusted); without it a search reads the whole list.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_available_extensions WHERE name = 'pg_trgm') THEN
        CREATE EXTENSION IF NOT EXISTS pg_trgm;
        CREATE INDEX fleet_devices_search ON fleet_devices USING gin (search_text gin_trgm_ops);
    END IF;
END $$;

-- A number that a device reported, or NULL for whatever else stands there: reports are not to be trusted.
CREATE FUNCTION reported_number(value jsonb) RETURNS double precision LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN jsonb_typeof(value) = 'number' AND abs(value::numeric) < 1e18
                THEN value::numeric::double precision END
$$;

-- What other domains may read of reports in a statement of their own.
CREATE VIEW device_reports AS
    SELECT device_uuid, reported_at,
           reported_number(fields->'cpu_usage') AS cpu_usage,
           reported_number(fields->'temperature') AS temperature,
           reported_number(fields->'memory_usage') AS memory_usage,
           reported_number(fields->'memory_total') AS memory_total,
           reported_number(fields->'storage_usage') AS storage_usage,
           reported_number(fields->'storage_total') AS storage_total,
           reported_number(fields->'uptime') AS uptime,
           reported_number(fields->'version') AS version,
           (SELECT count(*)::integer FROM jsonb_object_keys(
               CASE jsonb_typeof(fields->'apps') WHEN 'object' THEN fields->'apps' ELSE '{}' END)) AS apps,
           fields->'network_interfaces' AS network_interfaces,
           fields->'top_processes' AS top_processes
    FROM device_states;

-- Tags. ------------------------------------------------------------------------------------------------------

CREATE TABLE tag_definitions (
    key            text PRIMARY KEY CHECK (key ~ '^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$'),
    description    text NOT NULL DEFAULT '' CHECK (length(description) <= 1000),
    -- NULL: any value.
    allowed_values text[] CHECK (cardinality(allowed_values) > 0),
    -- A tag that is required cannot be taken off a device that has it.
    is_required    boolean NOT NULL DEFAULT false,
    created_at     timestamptz NOT NULL DEFAULT now(),
    updated_at     timestamptz NOT NULL DEFAULT now()
);

-- A key needs no definition; one that has a definition keeps to it.
CREATE TABLE device_tags (
    device_uuid uuid NOT NULL REFERENCES fleet_devices ON DELETE CASCADE,
    key         text NOT NULL CHECK (key ~ '^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$'),
    value       text NOT NULL CHECK (length(value) <= 255),
    set_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (device_uuid, key)
);
CREATE INDEX device_tags_value ON device_tags (key, value, device_uuid);

-- Presence. --------------------------------------------------------------------------------------------------

-- One row for each device. It is here as long as its lease runs; who ends the lease is the keeper, once.
CREATE TABLE device_presence (
    device_uuid uuid PRIMARY KEY REFERENCES fleet_devices ON DELETE CASCADE,
    is_online   boolean NOT NULL DEFAULT false,
    lease_until timestamptz NOT NULL DEFAULT 'epoch',
    -- 'epoch' is never.
    seen_at     timestamptz NOT NULL DEFAULT 'epoch',
    -- What renewed it last.
    source      text NOT NULL DEFAULT '',
    changed_at  timestamptz NOT NULL DEFAULT 'epoch',
    -- Grows with every session: the end of an older session is the end of nothing.
    epoch       bigint NOT NULL DEFAULT 0,
    -- When its session ended; what was noticed before that renews nothing.
    closed_at   timestamptz
) WITH (fillfactor = 70);
CREATE INDEX device_presence_seen ON device_presence (seen_at, device_uuid);
CREATE INDEX device_presence_lease ON device_presence (lease_until) WHERE is_online;
CREATE INDEX device_presence_away ON device_presence (device_uuid) WHERE NOT is_online;

CREATE FUNCTION begin_device_presence() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO device_presence (device_uuid) SELECT uuid FROM changed ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
CREATE TRIGGER fleet_devices_presence AFTER INSERT ON fleet_devices
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION begin_device_presence();
INSERT INTO device_presence (device_uuid) SELECT uuid FROM fleet_devices;

-- Until when somebody was there to notice signs of life. A lease does not run while nobody listens.
CREATE TABLE presence_watch (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    alive_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
INSERT INTO presence_watch DEFAULT VALUES;

CREATE TABLE device_presence_history (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- No foreign key: checking it would lock the device while its presence is locked, and removing a device
    -- locks them the other way round.
    device_uuid uuid NOT NULL,
    at          timestamptz NOT NULL,
    is_online   boolean NOT NULL,
    -- Online: what was noticed. Offline: 'silent', 'disconnected', 'said-goodbye', 'deactivated'.
    reason      text NOT NULL,
    epoch       bigint NOT NULL
);
CREATE INDEX device_presence_history_device ON device_presence_history (device_uuid, id);
CREATE INDEX device_presence_history_at ON device_presence_history USING brin (at);

-- History: figures, processes, logs. -----------------------------------------------------------------------
-- Kept by the number of a device, which is given once: a device that is registered again under its uuid
-- never meets what another one left, however long that takes to be cleared away. Daily partitions, in UTC.

CREATE TABLE device_metrics (
    device_number bigint NOT NULL,
    at            timestamptz NOT NULL,
    -- Percents, bytes, degrees Celsius, seconds.
    cpu_usage     real,
    temperature   real,
    memory_usage  bigint,
    memory_total  bigint,
    storage_usage bigint,
    storage_total bigint,
    uptime        bigint,
    PRIMARY KEY (device_number, at)
) PARTITION BY RANGE (at);

CREATE TABLE device_processes (
    device_number bigint NOT NULL,
    at            timestamptz NOT NULL,
    processes     jsonb NOT NULL CHECK (jsonb_typeof(processes) = 'array'),
    PRIMARY KEY (device_number, at)
) PARTITION BY RANGE (at);

-- In the order of being stored, which for each device is the order of being committed: followers read on by it.
CREATE SEQUENCE device_log_order AS bigint;

CREATE TABLE device_logs (
    device_number bigint NOT NULL,
    -- When the line was said, by the device's clock.
    at            timestamptz NOT NULL,
    -- What tells it from every other line of its instant: a digest of its id, or of its content.
    key           bytea NOT NULL CHECK (length(key) = 12),
    seq           bigint NOT NULL,
    -- The device's clock could not be believed: `at` is when the line came.
    is_restamped  boolean NOT NULL,
    -- 0 debug, 1 info, 2 warn, 3 error.
    level         smallint NOT NULL CHECK (level BETWEEN 0 AND 3),
    is_stderr     boolean NOT NULL,
    is_system     boolean NOT NULL,
    service       text NOT NULL,
    source        text NOT NULL,
    container     text NOT NULL,
    message       text NOT NULL,
    PRIMARY KEY (device_number, at, key)
) PARTITION BY RANGE (at);
CREATE INDEX device_logs_order ON device_logs (device_number, seq);
CREATE INDEX device_logs_restamped ON device_logs (device_number, key) WHERE is_restamped;

-- The services that a device has lines of; a distinct over the lines themselves would read all of them.
CREATE TABLE device_log_services (
    device_number bigint NOT NULL,
    service       text NOT NULL,
    last_at       timestamptz NOT NULL,
    PRIMARY KEY (device_number, service)
);

-- Make daily partitions; safe to call from several processes at once.
CREATE FUNCTION ensure_device_partitions(parent text, days date[]) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    day   date;
    child text;
    made  integer := 0;
BEGIN
    IF parent NOT IN ('device_metrics', 'device_processes', 'device_logs') THEN
        RAISE EXCEPTION 'no such history: %', parent;
    END IF;
    FOREACH day IN ARRAY days LOOP
        child := parent || '_' || to_char(day, 'YYYYMMDD');
        CONTINUE WHEN to_regclass(child) IS NOT NULL;
        PERFORM pg_advisory_xact_lock(hashtext('ensure_device_partitions'));
        -- An advisory lock brings no news of the catalogue: a table that somebody made while we waited for it
        -- may still be unknown to to_regclass, and is only met here.
        EXECUTE format(
            'CREATE TABLE IF NOT EXISTS %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)',
            child, parent, day::timestamp AT TIME ZONE 'UTC', (day + 1)::timestamp AT TIME ZONE 'UTC');
        made := made + 1;
    END LOOP;
    RETURN made;
END $$;

-- The partitions whose last day lies before a day, oldest first.
CREATE FUNCTION device_partitions_before(parent text, day date) RETURNS SETOF text LANGUAGE sql STABLE AS $$
    SELECT c.relname::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = to_regclass(parent) AND c.relname ~ ('^' || parent || '_\d{8}$')
      AND right(c.relname, 8) < to_char(day, 'YYYYMMDD') ORDER BY 1
$$;

-- Numbers of devices that are gone and whose history is still there.
CREATE TABLE device_leftovers (
    device_number bigint PRIMARY KEY,
    left_at       timestamptz NOT NULL DEFAULT now()
);

CREATE FUNCTION note_device_leftovers() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO device_leftovers (device_number) SELECT number FROM changed ON CONFLICT DO NOTHING;
    DELETE FROM device_presence_history WHERE device_uuid IN (SELECT uuid FROM changed);
    RETURN NULL;
END $$;
CREATE TRIGGER fleet_devices_leftovers AFTER DELETE ON fleet_devices
    REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION note_device_leftovers();
