-- Readings in a TimescaleDB hypertable where the server has the extension, in plain partitions elsewhere.
--
-- The functions below are all that the program knows of either: days are made, listed and dropped by them,
-- under the same names. An empty table becomes a hypertable here; one with readings is moved by
-- `iotistic db to-hypertable`, while readings come in.

-- A partitioned table has the kind `p`; TimescaleDB's chunks hang on an ordinary table.
CREATE FUNCTION is_hypertable(parent text) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT coalesce((SELECT relkind = 'r' FROM pg_class WHERE oid = to_regclass(quote_ident(parent))), false)
$$;

-- The extension can be created: it is on the server's disk, and the server has loaded its loader.
-- (Without the loader CREATE EXTENSION would end the connection.) A database that shall keep plain partitions
-- says so beforehand: ALTER DATABASE ... SET timescaledb.disable_load = on.
CREATE FUNCTION timescaledb_offered() RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'timescaledb')
       AND coalesce(current_setting('timescaledb.disable_load', true), 'on') = 'off'
$$;

-- Daily partitions of readings and events for the given UTC days; returns how many were made.
-- A hypertable makes its chunks itself, with the first row.
CREATE OR REPLACE FUNCTION ensure_partitions(days date[]) RETURNS integer LANGUAGE sql AS $$
    SELECT coalesce(sum(ensure_partition(
        parent, parent || '_' || to_char(day, 'YYYYMMDD'),
        day::timestamp AT TIME ZONE 'UTC', (day + 1)::timestamp AT TIME ZONE 'UTC')), 0)::integer
    FROM (SELECT DISTINCT day FROM unnest(days) day) d,
         unnest(ARRAY['decoded_data', 'telemetry_events']) parent
    WHERE NOT is_hypertable(parent)
$$;

-- Partitions of a table with their bounds; `upper_bound` is exclusive. A chunk goes by the name that a
-- plain partition of its day would have; `relation` is the table itself.
DROP FUNCTION partitions_of(text);
CREATE FUNCTION partitions_of(parent text)
RETURNS TABLE (name text, lower_bound timestamptz, upper_bound timestamptz, analyzed_at timestamptz, relation regclass)
LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF is_hypertable(parent) THEN
        RETURN QUERY
        SELECT parent || '_' || to_char(k.range_start AT TIME ZONE 'UTC', 'YYYYMMDD'), k.range_start, k.range_end,
               greatest(pg_stat_get_last_analyze_time(c.oid), pg_stat_get_last_autoanalyze_time(c.oid)),
               c.oid::regclass
        FROM timescaledb_information.chunks k
        JOIN pg_namespace n ON n.nspname = k.chunk_schema
        JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = k.chunk_name
        WHERE k.hypertable_schema = current_schema() AND k.hypertable_name = parent;
    ELSE
        RETURN QUERY
        SELECT c.relname::text, bounds[1]::timestamptz, bounds[2]::timestamptz,
               greatest(pg_stat_get_last_analyze_time(c.oid), pg_stat_get_last_autoanalyze_time(c.oid)),
               c.oid::regclass
        FROM pg_inherits i
        JOIN pg_class c ON c.oid = i.inhrelid,
             regexp_match(pg_get_expr(c.relpartbound, c.oid), 'FROM \(''([^'']+)''\) TO \(''([^'']+)''\)') bounds
        WHERE i.inhparent = to_regclass(quote_ident(parent)) AND bounds IS NOT NULL;
    END IF;
END $$;

-- Rows stored in a table: the statistics of its partitions, which follow the truth within a minute or so.
CREATE FUNCTION estimated_rows(parent text) RETURNS bigint LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF is_hypertable(parent) THEN  -- what is compressed counts in no statistics of the chunk itself
        RETURN (SELECT coalesce(sum(greatest(approximate_row_count(p.relation), s.n_live_tup, 0)), 0)
                FROM partitions_of(parent) p LEFT JOIN pg_stat_all_tables s ON s.relid = p.relation);
    END IF;
    RETURN (SELECT coalesce(sum(greatest(c.reltuples, s.n_live_tup, 0)), 0)
            FROM partitions_of(parent) p
            JOIN pg_class c ON c.oid = p.relation
            LEFT JOIN pg_stat_all_tables s ON s.relid = p.relation);
END $$;

-- Drop one partition; the caller sets lock_timeout, since it waits for every reader.
CREATE OR REPLACE FUNCTION drop_partition(parent text, child text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF is_hypertable(parent) THEN
        PERFORM drop_chunks(to_regclass(quote_ident(parent)), older_than => p.upper_bound, newer_than => p.lower_bound)
        FROM partitions_of(parent) p WHERE p.name = child;
    ELSE
        EXECUTE format('ALTER TABLE %I DETACH PARTITION %I', parent, child);
        EXECUTE format('DROP TABLE %I', child);
    END IF;
END $$;

-- One row. Readings older than `staged_after` go to late_readings first; NULL: all go straight to their place.
CREATE TABLE readings_store (
    only_row     boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    staged_after interval
);
INSERT INTO readings_store DEFAULT VALUES;

-- Readings for days that are compressed, until they are merged day by day: each merge unpacks what it
-- touches once, and not once a batch.
CREATE TABLE late_readings (LIKE decoded_data INCLUDING DEFAULTS);

-- Put the late readings of one day where they belong and mark their minutes; returns how many were not there yet.
CREATE FUNCTION merge_late_readings(day date) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    start_at CONSTANT timestamptz := day::timestamp AT TIME ZONE 'UTC';
    end_at   CONSTANT timestamptz := (day + 1)::timestamp AT TIME ZONE 'UTC';
    merged   bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('merge_late_readings'));
    PERFORM set_config('timescaledb.max_tuples_decompressed_per_dml_transaction', '0', true);
    CREATE TEMPORARY TABLE IF NOT EXISTS late_batch (LIKE late_readings) ON COMMIT DELETE ROWS;
    WITH taken AS (
        DELETE FROM late_readings WHERE "timestamp" >= start_at AND "timestamp" < end_at RETURNING *
    )
    INSERT INTO late_batch SELECT * FROM taken;
    -- Of two readings with one key the first to arrive stays.
    INSERT INTO decoded_data
    SELECT DISTINCT ON (device_id, datapoint_id, "timestamp") * FROM late_batch
    ORDER BY device_id, datapoint_id, "timestamp", received_at
    ON CONFLICT DO NOTHING;
    GET DIAGNOSTICS merged = ROW_COUNT;
    INSERT INTO rollup_pending (minute, device_id)
    SELECT DISTINCT date_trunc('minute', "timestamp", 'UTC'), device_id FROM late_batch;
    DELETE FROM late_batch;
    RETURN merged;
END $$;

-- An empty hypertable of the columns and key of decoded_data, with a chunk for each UTC day.
CREATE FUNCTION create_readings_hypertable(name text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE TABLE %I (LIKE decoded_data INCLUDING ALL)', name);
    PERFORM create_hypertable(to_regclass(quote_ident(name)), by_range('timestamp', interval '1 day'),
                              create_default_indexes => false);
END $$;

-- Compression with its policy, on the full edition; does nothing on Apache's, nor the second time.
-- Readings for days that may be compressed are staged a day earlier than the policy looks at them.
CREATE FUNCTION compress_readings() RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('timescaledb.license', true) IS DISTINCT FROM 'timescale' OR NOT is_hypertable('decoded_data')
       OR EXISTS (SELECT FROM readings_store WHERE staged_after IS NOT NULL) THEN
        RETURN false;
    END IF;
    EXECUTE $sql$
        ALTER TABLE decoded_data SET (timescaledb.compress, timescaledb.compress_segmentby = 'device_id, datapoint_id',
                                      timescaledb.compress_orderby = '"timestamp"')
    $sql$;
    PERFORM add_compression_policy('decoded_data', compress_after => interval '7 days', if_not_exists => true);
    UPDATE readings_store SET staged_after = interval '6 days';
    RETURN true;
END $$;

-- While an installation moves: what is stored in decoded_data is stored in its successor as well.
CREATE FUNCTION copy_to_hypertable() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO decoded_data_next SELECT * FROM fresh ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;

-- Begin to move: the empty successor, what keeps it up with new rows, and a note of the days that are copied.
CREATE FUNCTION begin_move() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM create_readings_hypertable('decoded_data_next');
    CREATE TABLE decoded_data_moved (day date PRIMARY KEY, rows bigint NOT NULL);
    CREATE TRIGGER copy_to_hypertable AFTER INSERT ON decoded_data
        REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION copy_to_hypertable();
END $$;

-- Put the successor in the place of decoded_data, which is kept as decoded_data_plain.
CREATE FUNCTION finish_move() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    LOCK TABLE decoded_data IN ACCESS EXCLUSIVE MODE;
    DROP TRIGGER IF EXISTS copy_to_hypertable ON decoded_data;
    ALTER TABLE decoded_data RENAME TO decoded_data_plain;
    ALTER INDEX decoded_data_pkey RENAME TO decoded_data_plain_pkey;
    ALTER TABLE decoded_data_next RENAME TO decoded_data;
    ALTER INDEX decoded_data_next_pkey RENAME TO decoded_data_pkey;
    -- Days that retention dropped after they had been copied.
    PERFORM drop_chunks('decoded_data', older_than => (SELECT raw_kept_from FROM rollup_state));
    PERFORM compress_readings();
END $$;

-- Give the move up: everything goes on in decoded_data as before.
CREATE FUNCTION abandon_move() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    DROP TRIGGER IF EXISTS copy_to_hypertable ON decoded_data;
    DROP TABLE IF EXISTS decoded_data_next;  -- a hypertable is dropped by itself
    DROP TABLE IF EXISTS decoded_data_moved;
END $$;

-- A table without readings becomes a hypertable now, if it can.
DO $$
BEGIN
    IF NOT timescaledb_offered() THEN
        RETURN;
    END IF;
    LOCK TABLE decoded_data IN ACCESS EXCLUSIVE MODE;
    IF EXISTS (SELECT FROM decoded_data) THEN
        RAISE NOTICE 'decoded_data has readings: it is moved by `iotistic db to-hypertable`';
        RETURN;
    END IF;
    CREATE EXTENSION IF NOT EXISTS timescaledb;
    PERFORM create_readings_hypertable('decoded_data_next');
    PERFORM finish_move();
    DROP TABLE decoded_data_plain;
EXCEPTION WHEN insufficient_privilege THEN
    RAISE NOTICE 'no right to use the extension timescaledb: plain partitions stay';
END $$;
