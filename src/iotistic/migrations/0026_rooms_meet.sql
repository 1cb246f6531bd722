-- Where rooms of the control plane meet: logs and the rules on them, devices that are announced before they
-- come, and the names of agents beside their readings.

-- Logs, in the order in which they became readable. ------------------------------------------------------------

-- One row for each part of an upload, written in the transaction that keeps its lines. `seq` of a line is drawn
-- before the commit, so uploads of two devices become readable in another order than that of their numbers.
-- `place` is the number of the transaction: whoever reads only below the oldest transaction that still runs
-- (pg_snapshot_xmin) sees everything that stands there, for good. Daily partitions, by when the part came.
CREATE TABLE device_log_arrivals (
    place         bigint NOT NULL,
    device_number bigint NOT NULL,
    -- The lines of this part are those of its device between the two: one upload of a device at a time.
    first_seq     bigint NOT NULL,
    last_seq      bigint NOT NULL,
    lines         integer NOT NULL,
    at            timestamptz NOT NULL
) PARTITION BY RANGE (at);
CREATE INDEX device_log_arrivals_order ON device_log_arrivals (place, first_seq);
-- To clear away what a removed device left.
CREATE INDEX device_log_arrivals_device ON device_log_arrivals (device_number, at);

-- Transactions are numbered anew in another cluster, where a backup may be restored. What is added to their
-- numbers grows then by more than a cluster ever numbers, so that no place comes before one that was read.
CREATE TABLE device_log_numbering (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    cluster  bigint NOT NULL,
    ahead    bigint NOT NULL DEFAULT 0
);
INSERT INTO device_log_numbering (cluster) SELECT system_identifier FROM pg_control_system();

CREATE FUNCTION device_log_ahead() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    here  bigint := (SELECT system_identifier FROM pg_control_system());
    found bigint;
BEGIN
    SELECT ahead INTO found FROM device_log_numbering WHERE cluster = here;
    IF found IS NULL THEN
        UPDATE device_log_numbering SET cluster = here, ahead = ahead + (1::bigint << 48) WHERE cluster <> here;
        SELECT ahead INTO STRICT found FROM device_log_numbering WHERE cluster = here;
    END IF;
    RETURN found;
END $$;

CREATE OR REPLACE FUNCTION ensure_device_partitions(parent text, days date[]) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    day   date;
    child text;
    made  integer := 0;
BEGIN
    IF parent NOT IN ('device_metrics', 'device_processes', 'device_logs', 'device_log_arrivals') THEN
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

-- Devices that are announced before they come. -----------------------------------------------------------------

ALTER TABLE fleet_devices
    -- 'pending': an operator has announced it, and it was not here yet.
    ADD COLUMN provisioning_state text NOT NULL DEFAULT 'registered'
        CHECK (provisioning_state IN ('pending', 'registered'));

-- A MAC as it is compared: without separators and capitals.
CREATE FUNCTION plain_mac(written text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT translate(lower(written), ':-. ', '')
$$;
-- The last line of defence: what a device finds by its MAC is one.
CREATE UNIQUE INDEX fleet_devices_awaited ON fleet_devices (plain_mac(mac_address))
    WHERE provisioning_state = 'pending' AND mac_address <> '';

-- A device that comes takes over the row that waits for it, and brings its own uuid: tags, target and jobs that
-- were made for it follow.
DO $$
DECLARE
    known record;
BEGIN
    FOR known IN
        SELECT conname, conrelid::regclass AS owner, a.attname AS named
        FROM pg_constraint c JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]
        WHERE c.contype = 'f' AND c.confrelid = 'fleet_devices'::regclass AND c.confdeltype = 'c'
          AND c.confupdtype = 'a' AND c.conparentid = 0
    LOOP
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', known.owner, known.conname);
        EXECUTE format(
            'ALTER TABLE %s ADD CONSTRAINT %I FOREIGN KEY (%I) REFERENCES fleet_devices ON DELETE CASCADE ON UPDATE CASCADE',
            known.owner, known.conname, known.named);
    END LOOP;
END $$;

-- Names of agents beside their readings. -----------------------------------------------------------------------
-- Readings know a device by the row in `devices` that was made when it first sent one. It is called after what it
-- called itself, its uuid; here it gets its name, once, when it becomes known on either side or is renamed. The way
-- of a reading meets none of this, and a name that somebody gave in the registry stays.

CREATE FUNCTION name_device_like_its_agent() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    -- It may have been registered under its uuid as the key that it gives itself.
    agent uuid := CASE WHEN NEW.externalkey ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
                       THEN NEW.externalkey::uuid ELSE NEW.uuid END;
BEGIN
    NEW.devicename := coalesce((SELECT name FROM fleet_devices WHERE uuid = agent), NEW.devicename);
    RETURN NEW;
END $$;
CREATE TRIGGER devices_named BEFORE INSERT ON devices FOR EACH ROW
    WHEN (NEW.macaddress IS NULL AND lower(NEW.devicename) IN (NEW.uuid::text, lower(NEW.externalkey)))
    EXECUTE FUNCTION name_device_like_its_agent();

CREATE FUNCTION rename_device_of_agent() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    before text := CASE TG_OP WHEN 'UPDATE' THEN OLD.name END;
    found  integer;
BEGIN
    FOR found IN
        SELECT id FROM devices
        WHERE (uuid = NEW.uuid OR externalkey = NEW.uuid::text)
          AND devicename <> NEW.name AND devicename IN (uuid::text, externalkey, before)
    LOOP
        -- One by one: an update of no row would tell every worker that the metadata had changed.
        UPDATE devices SET devicename = NEW.name WHERE id = found;
    END LOOP;
    RETURN NULL;
END $$;
CREATE TRIGGER fleet_devices_named AFTER INSERT OR UPDATE OF name, uuid ON fleet_devices
    FOR EACH ROW EXECUTE FUNCTION rename_device_of_agent();

UPDATE devices d SET devicename = f.name FROM fleet_devices f
WHERE (d.uuid = f.uuid OR d.externalkey = f.uuid::text) AND d.devicename IN (d.uuid::text, d.externalkey);
