-- Rollups of decoded_data (1 minute, 1 hour), what is left to roll, and how far everything is rolled.

-- The roller takes markers oldest first; each marker stands in exactly one of the two indexes.
CREATE INDEX rollup_pending_fresh ON rollup_pending (minute) WHERE device_id IS NULL;
CREATE INDEX rollup_pending_late ON rollup_pending (minute, device_id) WHERE device_id IS NOT NULL;
-- A queue: every row is deleted seconds after it was written, so its size says nothing about its dead rows.
ALTER TABLE rollup_pending SET (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000,
    autovacuum_vacuum_insert_threshold = -1, autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 50000);

-- Rollups probe the key of every series instead: what a minute costs then depends neither on the size of
-- the day nor on late rows. A few late rows in every block range (1 % spread over half a day, measured) widened its
-- summary to hours, and each minute read the whole day; unsummarised ranges did so anyway.
DROP INDEX decoded_data_time;

-- Monthly partitions in UTC. "bucket" is the start of the minute.
CREATE TABLE decoded_1m (
    bucket       timestamptz NOT NULL,
    device_id    integer NOT NULL,
    datapoint_id integer NOT NULL,
    min          double precision NOT NULL,
    max          double precision NOT NULL,
    avg          double precision NOT NULL,
    count        bigint NOT NULL,
    PRIMARY KEY (device_id, datapoint_id, bucket)
) PARTITION BY RANGE (bucket);

-- Yearly partitions in UTC. "bucket" is the start of the hour.
CREATE TABLE decoded_1h (
    bucket       timestamptz NOT NULL,
    device_id    integer NOT NULL,
    datapoint_id integer NOT NULL,
    min          double precision NOT NULL,
    max          double precision NOT NULL,
    avg          double precision NOT NULL,
    count        bigint NOT NULL,
    PRIMARY KEY (device_id, datapoint_id, bucket)
) PARTITION BY RANGE (bucket);

-- Hours whose minutes changed. device_id NULL: all series of the hour. Written by the roller only.
CREATE TABLE rollup_pending_hours (
    hour      timestamptz NOT NULL,
    device_id integer,
    UNIQUE NULLS NOT DISTINCT (hour, device_id)
);

-- One row; whoever holds its lock is the one roller at work.
CREATE TABLE rollup_state (
    only_row           boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    -- Every minute before this is exact unless it stands in rollup_pending.
    rolled_until       timestamptz NOT NULL DEFAULT to_timestamp(0),
    -- Every hour before this is exact unless it stands in rollup_pending_hours or one of its minutes
    -- in rollup_pending.
    hours_rolled_until timestamptz NOT NULL DEFAULT to_timestamp(0),
    -- Readings (and minutes) before these were dropped by retention, so they can no longer be rolled from.
    raw_kept_from      timestamptz NOT NULL DEFAULT to_timestamp(0),
    minutes_kept_from  timestamptz NOT NULL DEFAULT to_timestamp(0)
);
INSERT INTO rollup_state DEFAULT VALUES;

-- Make one partition, or do nothing when it is there. A table made apart and then attached never waits
-- for readers and writers of its parent, nor makes them wait, as CREATE TABLE ... PARTITION OF would.
CREATE FUNCTION ensure_partition(parent text, child text, lower_bound timestamptz, upper_bound timestamptz)
RETURNS integer LANGUAGE plpgsql AS $$
BEGIN
    IF to_regclass(quote_ident(child)) IS NOT NULL THEN
        RETURN 0;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('ensure_partitions'));
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', child, parent);
    EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                   parent, child, lower_bound, upper_bound);
    RETURN 1;
EXCEPTION WHEN duplicate_table THEN
    -- Whoever held the lock before us made it. Looking again would not see it: the name was looked up
    -- once in this statement, and the answer is cached until the statement ends.
    RETURN 0;
END $$;

-- Daily partitions of readings and events for the given UTC days; returns how many were made.
CREATE OR REPLACE FUNCTION ensure_partitions(days date[]) RETURNS integer LANGUAGE sql AS $$
    SELECT coalesce(sum(ensure_partition(
        parent, parent || '_' || to_char(day, 'YYYYMMDD'),
        day::timestamp AT TIME ZONE 'UTC', (day + 1)::timestamp AT TIME ZONE 'UTC')), 0)::integer
    FROM (SELECT DISTINCT day FROM unnest(days) day) d,
         unnest(ARRAY['decoded_data', 'telemetry_events']) parent
$$;

-- The month of decoded_1m and the year of decoded_1h around each given instant; returns how many were made.
CREATE FUNCTION ensure_rollup_partitions(instants timestamptz[]) RETURNS integer LANGUAGE sql AS $$
    SELECT coalesce(sum(ensure_partition(
        parent, parent || '_' || to_char(start, name_format),
        start AT TIME ZONE 'UTC', (start + width) AT TIME ZONE 'UTC')), 0)::integer
    FROM (SELECT DISTINCT parent, name_format, width, date_trunc(unit, instant AT TIME ZONE 'UTC') AS start
          FROM unnest(instants) instant,
               (VALUES ('decoded_1m', 'month', 'YYYYMM', interval '1 month'),
                       ('decoded_1h', 'year', 'YYYY', interval '1 year')) v (parent, unit, name_format, width)) d
$$;

-- Partitions of a table with their bounds; `upper_bound` is exclusive.
CREATE FUNCTION partitions_of(parent text)
RETURNS TABLE (name text, lower_bound timestamptz, upper_bound timestamptz, analyzed_at timestamptz)
LANGUAGE sql STABLE AS $$
    SELECT c.relname::text, bounds[1]::timestamptz, bounds[2]::timestamptz,
           greatest(pg_stat_get_last_analyze_time(c.oid), pg_stat_get_last_autoanalyze_time(c.oid))
    FROM pg_inherits i
    JOIN pg_class c ON c.oid = i.inhrelid,
         regexp_match(pg_get_expr(c.relpartbound, c.oid), 'FROM \(''([^'']+)''\) TO \(''([^'']+)''\)') bounds
    WHERE i.inhparent = to_regclass(quote_ident(parent)) AND bounds IS NOT NULL
$$;

-- Detach and drop in one transaction; the caller sets lock_timeout, since both wait for every reader.
CREATE FUNCTION drop_partition(parent text, child text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('ALTER TABLE %I DETACH PARTITION %I', parent, child);
    EXECUTE format('DROP TABLE %I', child);
END $$;
