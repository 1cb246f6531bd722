-- Readings, text events and dead letters.

-- The key's order serves the queries (one series over a time range) and makes a second index needless.
-- Daily partitions in UTC, made ahead by `ensure_partitions`.
CREATE TABLE decoded_data (
    "timestamp"  timestamptz NOT NULL,
    device_id    integer NOT NULL,
    datapoint_id integer NOT NULL,
    value        double precision NOT NULL,
    received_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (device_id, datapoint_id, "timestamp")
) PARTITION BY RANGE ("timestamp");
-- Rollups read all series of one minute; rows arrive nearly in time order, so a block range index is enough.
CREATE INDEX decoded_data_time ON decoded_data USING brin ("timestamp") WITH (pages_per_range = 32);

-- Readings that are text (card readers). The text is part of the key: two cards in one instant are two events.
CREATE TABLE telemetry_events (
    "timestamp"  timestamptz NOT NULL,
    device_id    integer NOT NULL,
    datapoint_id integer NOT NULL,
    value        text NOT NULL CHECK (length(value) <= 1023),
    received_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (device_id, datapoint_id, "timestamp", value)
) PARTITION BY RANGE ("timestamp");

-- Make the daily partitions of both tables for the given days; safe to call from several processes at once.
CREATE FUNCTION ensure_partitions(days date[]) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    parent text;
    day    date;
    child  text;
    made   integer := 0;
BEGIN
    FOREACH day IN ARRAY days LOOP
        FOREACH parent IN ARRAY ARRAY['decoded_data', 'telemetry_events'] LOOP
            child := parent || '_' || to_char(day, 'YYYYMMDD');
            CONTINUE WHEN to_regclass(child) IS NOT NULL;
            PERFORM pg_advisory_xact_lock(hashtext('ensure_partitions'));
            CONTINUE WHEN to_regclass(child) IS NOT NULL;
            EXECUTE format(
                'CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)',
                child, parent, day::timestamp AT TIME ZONE 'UTC', (day + 1)::timestamp AT TIME ZONE 'UTC');
            made := made + 1;
        END LOOP;
    END LOOP;
    RETURN made;
END $$;

-- What could not be stored as a reading, kept with the reason until someone replays or purges it.
CREATE TABLE dead_letters (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    received_at timestamptz NOT NULL DEFAULT now(),
    topic       bytea NOT NULL,
    payload     bytea NOT NULL,
    -- A stable code such as decode.crc_mismatch; the detail is for people.
    reason      text NOT NULL,
    detail      text NOT NULL DEFAULT '',
    replayed_at timestamptz
);
CREATE INDEX dead_letters_reason ON dead_letters (reason, id);
CREATE INDEX dead_letters_open ON dead_letters (id) WHERE replayed_at IS NULL;

-- Minutes whose rollup is out of date, written in the transaction that stores the rows.
-- device_id is NULL for fresh minutes (recompute all series of it) and set for late rows (that device only).
CREATE TABLE rollup_pending (
    minute    timestamptz NOT NULL,
    device_id integer
);
