-- Alerts: rules, what they said of which subject, and the queue of those who are to be told.

CREATE TABLE alert_rules (
    id          uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    name        text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    -- What is judged: 'telemetry', 'logs' or 'devices'.
    stream      text NOT NULL CHECK (stream IN ('telemetry', 'logs', 'devices')),
    severity    text NOT NULL CHECK (severity IN ('info', 'warning', 'critical')),
    -- Condition, selection and duration, as the API took them.
    definition  jsonb NOT NULL,
    targets     uuid[] NOT NULL DEFAULT '{}',
    is_enabled  boolean NOT NULL DEFAULT true,
    -- Counts changes of what is judged: states of an older one mean nothing any more.
    version     integer NOT NULL DEFAULT 1,
    created_at  timestamptz NOT NULL,
    created_by  text NOT NULL,
    updated_at  timestamptz NOT NULL
);
CREATE UNIQUE INDEX alert_rules_name ON alert_rules (lower(name));

-- How far a rule is evaluated; a row for each rule that is enabled. Its lock makes one process evaluate a rule
-- at a time, and lets people change the rule itself meanwhile.
CREATE TABLE alert_rule_work (
    rule_id         uuid PRIMARY KEY REFERENCES alert_rules ON DELETE CASCADE,
    -- From when on the rule judges: what was measured before is not its business.
    started_at      timestamptz NOT NULL,
    -- Time of the data up to which (inclusive) the rule has judged all that stood there at that moment.
    evaluated_until timestamptz NOT NULL,
    -- Where the log source is read on.
    log_cursor      text,
    -- When this rule was evaluated last, by the clock; the longest ago comes first.
    looked_at       timestamptz NOT NULL DEFAULT to_timestamp(0),
    -- Why the last look failed; empty when it did not.
    fault           text NOT NULL DEFAULT ''
);
CREATE INDEX alert_rule_work_order ON alert_rule_work (looked_at);

-- How many readings a rule has judged in a minute: what stands there beyond that has come late.
CREATE TABLE alert_rule_minutes (
    rule_id  uuid NOT NULL REFERENCES alert_rules ON DELETE CASCADE,
    minute   timestamptz NOT NULL,
    readings bigint NOT NULL,
    PRIMARY KEY (rule_id, minute)
);

-- What a rule knows of a subject (a series, a device), as the evaluator wrote it. No row: nothing of note.
CREATE TABLE alert_states (
    rule_id uuid NOT NULL REFERENCES alert_rules ON DELETE CASCADE,
    subject text NOT NULL,
    state   bytea NOT NULL,
    PRIMARY KEY (rule_id, subject)
);

-- Minutes in which readings were stored. device_id NULL: of any device; set: late rows of that device.
CREATE TABLE alert_marks (
    minute    timestamptz NOT NULL,
    device_id integer
);
CREATE INDEX alert_marks_fresh ON alert_marks (minute) WHERE device_id IS NULL;
ALTER TABLE alert_marks SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000);

-- Minutes that a rule has to look at once more, out of the marks; each rule works off its own.
CREATE TABLE alert_late (
    rule_id   uuid NOT NULL REFERENCES alert_rules ON DELETE CASCADE,
    minute    timestamptz NOT NULL,
    device_id integer,
    UNIQUE NULLS NOT DISTINCT (rule_id, minute, device_id)
);

-- Everything that stores readings marks their minutes for the rollups, in the transaction that stores them; so
-- whoever sees a mark sees its rows, and no row is without one. The marks are a few a batch, not one a reading.
CREATE FUNCTION mark_for_alerts() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM alert_rule_work) THEN
        INSERT INTO alert_marks (minute, device_id) SELECT DISTINCT minute, device_id FROM fresh;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER rollup_pending_alerts AFTER INSERT ON rollup_pending
    REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION mark_for_alerts();

CREATE TABLE alerts (
    id              uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    -- An alert outlives its rule.
    rule_id         uuid REFERENCES alert_rules ON DELETE SET NULL,
    rule_name       text NOT NULL,
    severity        text NOT NULL CHECK (severity IN ('info', 'warning', 'critical')),
    -- SHA-256 of rule and subject: one alert of it is open at a time.
    fingerprint     text NOT NULL CHECK (length(fingerprint) = 64),
    subject         text NOT NULL,
    device_uuid     uuid,
    device_name     text NOT NULL DEFAULT '',
    metric          text NOT NULL DEFAULT '',
    state           text NOT NULL CHECK (state IN ('pending', 'firing', 'acknowledged', 'silenced', 'resolved')),
    -- What was measured when it fired; NULL where nothing was.
    value           double precision,
    -- Times of the data: since when the condition held, when that had lasted long enough, when it ended.
    since           timestamptz NOT NULL,
    fired_at        timestamptz,
    resolved_at     timestamptz,
    resolved_reason text,
    acknowledged_at timestamptz,
    acknowledged_by text,
    -- Found in readings that came after their time had been judged.
    is_late         boolean NOT NULL DEFAULT false,
    -- By the clock.
    created_at      timestamptz NOT NULL,
    CHECK ((state = 'resolved') = (resolved_at IS NOT NULL)),
    CHECK (state = 'pending' OR fired_at IS NOT NULL)
);
-- The last line of defence against the same alert twice.
CREATE UNIQUE INDEX alerts_open ON alerts (fingerprint) WHERE state <> 'resolved';
CREATE INDEX alerts_newest ON alerts (created_at DESC, id DESC);
CREATE INDEX alerts_of_a_subject ON alerts (fingerprint, since);
CREATE INDEX alerts_of_a_device ON alerts (device_uuid, created_at DESC);
CREATE INDEX alerts_silenced ON alerts (id) WHERE state = 'silenced';
CREATE INDEX alerts_of_a_rule ON alerts (rule_id);

CREATE TABLE alert_silences (
    id          uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    -- NULL: any rule, any device; one of them is given.
    rule_id     uuid REFERENCES alert_rules ON DELETE CASCADE,
    device_uuid uuid,
    starts_at   timestamptz NOT NULL,
    until       timestamptz NOT NULL CHECK (until > starts_at),
    comment     text NOT NULL DEFAULT '' CHECK (length(comment) <= 1000),
    created_by  text NOT NULL,
    created_at  timestamptz NOT NULL,
    CHECK (rule_id IS NOT NULL OR device_uuid IS NOT NULL)
);
CREATE INDEX alert_silences_until ON alert_silences (until);

-- Whom alerts are told. No secret stands here: webhooks are signed with one derived from the generation.
CREATE TABLE alert_targets (
    id                  uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    name                text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    -- {kind: webhook, url} or {kind: mail, addresses}.
    channel             jsonb NOT NULL,
    least_severity      text NOT NULL CHECK (least_severity IN ('info', 'warning', 'critical')),
    is_enabled          boolean NOT NULL DEFAULT true,
    secret_generation   integer NOT NULL DEFAULT 1,
    -- Until then messages are signed with the secret before as well.
    former_secret_until timestamptz,
    -- The circuit: after failures in a row nothing is sent before `resting_until`.
    failures            integer NOT NULL DEFAULT 0,
    resting_until       timestamptz,
    created_at          timestamptz NOT NULL,
    created_by          text NOT NULL
);
CREATE UNIQUE INDEX alert_targets_name ON alert_targets (lower(name));

-- What is to be told, written in the transaction that raises the alert. `id` is the idempotency key: it stays
-- the same for every attempt, and for a replay.
CREATE TABLE alert_deliveries (
    id           uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    target_id    uuid NOT NULL REFERENCES alert_targets ON DELETE CASCADE,
    alert_id     uuid REFERENCES alerts ON DELETE CASCADE,
    event        text NOT NULL CHECK (event IN ('alert.firing', 'alert.resolved', 'alert.test')),
    payload      text NOT NULL,
    state        text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'delivered', 'dead')),
    attempts     integer NOT NULL DEFAULT 0,
    due_at       timestamptz NOT NULL,
    -- While it is being tried: from when on others may believe the one who tries to be dead.
    sending_until timestamptz,
    last_fault   text NOT NULL DEFAULT '',
    created_at   timestamptz NOT NULL,
    ended_at     timestamptz,
    CHECK ((state = 'waiting') = (ended_at IS NULL))
);
-- One message of each kind for an alert and a target.
CREATE UNIQUE INDEX alert_deliveries_once ON alert_deliveries (target_id, alert_id, event) WHERE alert_id IS NOT NULL;
CREATE INDEX alert_deliveries_due ON alert_deliveries (due_at) WHERE state = 'waiting';
CREATE INDEX alert_deliveries_sending ON alert_deliveries (target_id) WHERE state = 'waiting' AND sending_until IS NOT NULL;
CREATE INDEX alert_deliveries_newest ON alert_deliveries (created_at DESC, id DESC);
CREATE INDEX alert_deliveries_alert ON alert_deliveries (alert_id);

-- What alerts read of devices of fleets: who they are, and what they said last.
CREATE VIEW device_standings AS
    SELECT d.uuid, d.name, d.fleet_id, d.is_active, d.created_at,
           lower(regexp_replace(d.mac_address, '[^0-9A-Fa-f]', '', 'g')) AS mac,
           s.reported_at, s.fields
    FROM fleet_devices d LEFT JOIN device_states s ON s.device_uuid = d.uuid;
