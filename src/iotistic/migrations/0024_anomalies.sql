-- Anomalies: what agents report, and what the watch over stored readings finds of devices without one.

CREATE TABLE anomalies (
    id            uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    -- A fleet device, or the uuid of a controller or sensor that is none: so there is no foreign key.
    device_uuid   uuid NOT NULL,
    -- The id that the device, or the watch, gave it: told again it is the same anomaly.
    name          text NOT NULL CHECK (length(name) BETWEEN 1 AND 100),
    origin        text NOT NULL CHECK (origin IN ('agent', 'stream')),
    fingerprint   text NOT NULL CHECK (length(fingerprint) <= 64),
    source        text NOT NULL CHECK (source IN ('system', 'sensor', 'container')),
    metric        text NOT NULL CHECK (length(metric) BETWEEN 1 AND 255),
    unit          text NOT NULL CHECK (length(unit) <= 32),
    severity      text NOT NULL CHECK (severity IN ('info', 'warning', 'critical')),
    method        text NOT NULL CHECK (length(method) <= 32),
    trend         text NOT NULL CHECK (length(trend) <= 16),
    -- The worst value, in the unit of the metric; `deviation` in that of the method.
    value         double precision NOT NULL,
    expected_low  double precision NOT NULL,
    expected_high double precision NOT NULL,
    baseline      double precision NOT NULL,
    deviation     double precision NOT NULL,
    confidence    double precision NOT NULL,
    recent        double precision[] NOT NULL CHECK (cardinality(recent) <= 20),
    samples       bigint NOT NULL CHECK (samples >= 0),
    count         bigint NOT NULL CHECK (count > 0),
    -- By the clock of who measured; `is_restamped`: that could not be believed, and this is when it was heard.
    first_at      timestamptz NOT NULL,
    last_at       timestamptz NOT NULL,
    is_restamped  boolean NOT NULL DEFAULT false,
    is_simulated  boolean NOT NULL DEFAULT false,
    -- Of 'stream': the series.
    series_device_id    integer,
    series_datapoint_id integer,
    verdict       text CHECK (verdict IN ('expected', 'wrong')),
    judged_at     timestamptz,
    judged_by     text,
    -- 'waiting' to be taken to whoever watches, 'sent' in a target, 'learned'.
    verdict_state text CHECK (verdict_state IN ('waiting', 'sent', 'learned')),
    -- By our clock: when it was told first, and when there was last something new about it.
    received_at   timestamptz NOT NULL,
    heard_at      timestamptz NOT NULL,
    UNIQUE (device_uuid, name),
    CHECK ((verdict IS NULL) = (judged_at IS NULL) AND (verdict IS NULL) = (verdict_state IS NULL)),
    CHECK ((origin = 'stream') = (series_device_id IS NOT NULL AND series_datapoint_id IS NOT NULL))
);
CREATE INDEX anomalies_newest ON anomalies (first_at DESC, id DESC);
CREATE INDEX anomalies_of_a_device ON anomalies (device_uuid, first_at DESC, id DESC);
CREATE INDEX anomalies_of_a_metric ON anomalies (metric, first_at DESC, id DESC);
CREATE INDEX anomalies_heard ON anomalies (heard_at);
CREATE INDEX anomalies_judged ON anomalies (judged_at) WHERE verdict IS NOT NULL;
CREATE INDEX anomalies_untaught ON anomalies (judged_at) WHERE verdict_state = 'waiting';
CREATE INDEX anomalies_of_a_series ON anomalies (series_device_id, series_datapoint_id) WHERE verdict IS NOT NULL;

-- Whoever removes a device removes what was found about it.
CREATE FUNCTION forget_anomalies() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM anomalies WHERE device_uuid IN (SELECT uuid FROM changed);
    RETURN NULL;
END $$;
CREATE TRIGGER fleet_devices_anomalies AFTER DELETE ON fleet_devices
    REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION forget_anomalies();
CREATE TRIGGER devices_anomalies AFTER DELETE ON devices
    REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION forget_anomalies();

-- What other domains may read: anomalies of which nobody has said that they are none.
CREATE VIEW standing_anomalies AS
    SELECT a.device_uuid, coalesce(f.name, d.devicename, '') AS device_name, a.origin, a.metric, a.severity, a.value,
           a.first_at, a.last_at, a.received_at, a.heard_at
    FROM anomalies a LEFT JOIN fleet_devices f ON f.uuid = a.device_uuid LEFT JOIN devices d ON d.uuid = a.device_uuid
    WHERE a.verdict IS NULL AND NOT a.is_simulated;

-- The watch over stored readings: one row for each series that is or was watched. Detector, cursor and open
-- incidents are of one moment, so whoever goes on from a row finds the same anomalies under the same names.
CREATE TABLE anomaly_series (
    device_id    integer NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
    datapoint_id integer NOT NULL REFERENCES datapoints (id) ON DELETE CASCADE,
    -- Time of the last reading that `state` has taken in; every one after it is to be read.
    read_until   timestamptz NOT NULL,
    state        bytea,
    incidents    bytea,
    seen         bigint NOT NULL DEFAULT 0,
    is_learning  boolean NOT NULL DEFAULT true,
    value        double precision,
    baseline     double precision,
    saved_at     timestamptz NOT NULL,
    PRIMARY KEY (device_id, datapoint_id)
) WITH (fillfactor = 70);
CREATE INDEX anomaly_series_saved ON anomaly_series (saved_at);

-- How the watch stands, for people; written by the one process that watches.
CREATE TABLE anomaly_stream (
    only_row  boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    mode      text NOT NULL DEFAULT 'off',
    looked_at timestamptz,
    watching  integer NOT NULL DEFAULT 0,
    learning  integer NOT NULL DEFAULT 0,
    unwatched integer NOT NULL DEFAULT 0,
    readings  bigint NOT NULL DEFAULT 0,
    behind_s  double precision NOT NULL DEFAULT 0
);
INSERT INTO anomaly_stream DEFAULT VALUES;
