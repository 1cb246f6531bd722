-- Jobs: what devices are asked to run, when, and what became of it on each of them.
-- Documents, selections and details are JSON as text: they are read whole or not at all, and text takes every
-- character that JSON may escape.

CREATE TABLE job_templates (
    id          uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    name        text NOT NULL CHECK (length(name) BETWEEN 1 AND 255),
    description text NOT NULL DEFAULT '' CHECK (length(description) <= 2000),
    category    text NOT NULL DEFAULT '' CHECK (length(category) <= 255),
    document    text NOT NULL CHECK (length(document) <= 262144),
    is_active   boolean NOT NULL DEFAULT true,
    created_by  text NOT NULL,
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL
);
CREATE UNIQUE INDEX job_templates_name ON job_templates (lower(name));

-- Programs that documents call by name. They are kept here; a device runs those in its own folder only.
CREATE TABLE job_handlers (
    id             uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    name           text NOT NULL CHECK (length(name) BETWEEN 1 AND 255),
    description    text NOT NULL DEFAULT '' CHECK (length(description) <= 2000),
    script_type    text NOT NULL CHECK (script_type IN ('bash', 'python', 'node')),
    script_content text NOT NULL CHECK (length(script_content) <= 262144),
    -- Given to a step that names the handler and no arguments.
    default_args   text[] NOT NULL DEFAULT '{}',
    created_by     text NOT NULL,
    created_at     timestamptz NOT NULL,
    updated_at     timestamptz NOT NULL
);
CREATE UNIQUE INDEX job_handlers_name ON job_handlers (name);

CREATE TABLE scheduled_jobs (
    id              uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    name            text NOT NULL CHECK (length(name) BETWEEN 1 AND 255),
    document        text NOT NULL,
    template_id     uuid REFERENCES job_templates ON DELETE SET NULL,
    selection       text NOT NULL,
    -- What its maker was allowed to see; NULL is everything. Each round selects within it.
    scope           uuid[],
    timeout_s       integer NOT NULL CHECK (timeout_s > 0),
    wait_s          integer NOT NULL CHECK (wait_s > 0),
    attempts        smallint NOT NULL CHECK (attempts BETWEEN 1 AND 10),
    backoff_s       integer NOT NULL CHECK (backoff_s > 0),
    -- How long a round lasts at most, whatever its devices are at; NULL is as long as they take.
    lasts_s         integer CHECK (lasts_s > 0),
    cron_expression text,
    interval_s      integer CHECK (interval_s >= 60),
    time_zone       text NOT NULL DEFAULT 'UTC',
    -- No round before it; intervals are counted from it, so that they do not drift.
    begins_at       timestamptz NOT NULL,
    ends_at         timestamptz,
    max_executions  integer CHECK (max_executions > 0),
    executions      integer NOT NULL DEFAULT 0,
    -- Moments that passed while nobody was there to act on them, and that were not made up for.
    missed          bigint NOT NULL DEFAULT 0,
    is_active       boolean NOT NULL DEFAULT true,
    -- NULL once no further moment comes.
    next_due_at     timestamptz,
    last_due_at     timestamptz,
    created_by      text NOT NULL,
    created_at      timestamptz NOT NULL,
    updated_at      timestamptz NOT NULL,
    CHECK ((cron_expression IS NULL) <> (interval_s IS NULL))
);
CREATE INDEX scheduled_jobs_due ON scheduled_jobs (next_due_at) WHERE is_active;
CREATE INDEX scheduled_jobs_newest ON scheduled_jobs (created_at DESC, id DESC);

CREATE TABLE job_executions (
    id             uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    name           text NOT NULL CHECK (length(name) BETWEEN 1 AND 255),
    document       text NOT NULL,
    template_id    uuid REFERENCES job_templates ON DELETE SET NULL,
    selection      text NOT NULL,
    scope          uuid[],
    timeout_s      integer NOT NULL CHECK (timeout_s > 0),
    wait_s         integer NOT NULL CHECK (wait_s > 0),
    attempts       smallint NOT NULL CHECK (attempts BETWEEN 1 AND 10),
    backoff_s      integer NOT NULL CHECK (backoff_s > 0),
    lasts_s        integer CHECK (lasts_s > 0),
    execution_type text NOT NULL CHECK (execution_type IN ('oneTime', 'recurring', 'continuous')),
    schedule_id    uuid REFERENCES scheduled_jobs ON DELETE SET NULL,
    -- The moment of the schedule that it belongs to.
    due_at         timestamptz,
    status         text NOT NULL DEFAULT 'QUEUED' CHECK (status IN
        ('QUEUED', 'IN_PROGRESS', 'SUCCEEDED', 'FAILED', 'TIMED_OUT', 'REJECTED', 'CANCELED')),
    starts_at      timestamptz NOT NULL,
    -- When its devices were chosen; NULL until then.
    opened_at      timestamptz,
    -- When it is over on every device, whatever they are at.
    ends_at        timestamptz,
    reason         text NOT NULL DEFAULT '',
    canceled_by    text,
    created_by     text NOT NULL,
    created_at     timestamptz NOT NULL,
    started_at     timestamptz,
    finished_at    timestamptz,
    -- However many processes look at a schedule, and however often they die: one execution for each moment.
    UNIQUE (schedule_id, due_at),
    CHECK ((finished_at IS NULL) = (status IN ('QUEUED', 'IN_PROGRESS')))
);
CREATE INDEX job_executions_newest ON job_executions (created_at DESC, id DESC);
CREATE INDEX job_executions_unopened ON job_executions (starts_at) WHERE opened_at IS NULL AND finished_at IS NULL;
CREATE INDEX job_executions_open ON job_executions (id) WHERE opened_at IS NOT NULL AND finished_at IS NULL;
CREATE INDEX job_executions_over ON job_executions (finished_at) WHERE finished_at IS NOT NULL;

CREATE TABLE device_job_status (
    job_id         uuid NOT NULL REFERENCES job_executions ON DELETE CASCADE,
    device_uuid    uuid NOT NULL REFERENCES fleet_devices ON DELETE CASCADE,
    status         text NOT NULL DEFAULT 'QUEUED' CHECK (status IN
        ('QUEUED', 'IN_PROGRESS', 'SUCCEEDED', 'FAILED', 'TIMED_OUT', 'REJECTED', 'CANCELED')),
    -- Which try it is; a report about an earlier one changes nothing.
    attempt        smallint NOT NULL DEFAULT 1,
    -- Counts changes: `versionNumber` on the wire.
    version        integer NOT NULL DEFAULT 1,
    queued_at      timestamptz NOT NULL,
    -- Not handed out before; later than queued_at for a further try.
    available_at   timestamptz NOT NULL,
    -- Every part has one, so that none is open for ever.
    deadline       timestamptz NOT NULL,
    handed_at      timestamptz,
    started_at     timestamptz,
    finished_at    timestamptz,
    reason         text NOT NULL DEFAULT '',
    exit_code      integer,
    stdout         text NOT NULL DEFAULT '',
    stderr         text NOT NULL DEFAULT '',
    executed_steps integer NOT NULL DEFAULT 0,
    failed_step    text NOT NULL DEFAULT '',
    details        text NOT NULL DEFAULT '{}',
    -- The end as the device told it, which may come after it was cancelled or timed out here.
    said           text,
    -- The device names the try in its reports: it understands more than earlier agents do.
    is_numbered    boolean NOT NULL DEFAULT false,
    -- How often a poll told it of the cancellation.
    cancel_told    smallint NOT NULL DEFAULT 0,
    -- When the device is to be told over MQTT; NULL when there is nothing to tell.
    notify_at      timestamptz,
    -- A poll has something to hand out.
    waits          boolean NOT NULL GENERATED ALWAYS AS (status = 'QUEUED' OR (status = 'CANCELED'
        AND started_at IS NOT NULL AND is_numbered AND said IS NULL AND cancel_told < 3)) STORED,
    PRIMARY KEY (job_id, device_uuid),
    CHECK ((finished_at IS NULL) = (status IN ('QUEUED', 'IN_PROGRESS')))
);
CREATE INDEX device_job_status_waits ON device_job_status (device_uuid, queued_at) WHERE waits;
CREATE INDEX device_job_status_open ON device_job_status (job_id) WHERE finished_at IS NULL;
CREATE INDEX device_job_status_deadline ON device_job_status (deadline) WHERE finished_at IS NULL;
CREATE INDEX device_job_status_notify ON device_job_status (notify_at) WHERE notify_at IS NOT NULL;
CREATE INDEX device_job_status_device ON device_job_status (device_uuid, queued_at DESC, job_id DESC);
