-- Background work as one list: what is done by itself, when it is done next, and what became of it.

CREATE TABLE upkeep_tasks (
    name        text PRIMARY KEY CHECK (name ~ '^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?$'),
    summary     text NOT NULL CHECK (length(summary) <= 500),
    -- Five fields of cron, in UTC, or 'every N s', counted from 1970.
    schedule    text NOT NULL CHECK (length(schedule) BETWEEN 1 AND 200),
    deadline_s  double precision NOT NULL CHECK (deadline_s > 0),
    is_enabled  boolean NOT NULL DEFAULT true,
    next_due_at timestamptz NOT NULL,
    -- The newest moment that was acted on, whatever came of it: a clock that is behind does not act on it again.
    last_due_at timestamptz,
    -- A further try of what failed or was lost; NULL when there is none to come.
    retry_at    timestamptz,
    -- Tries in a row that did not succeed.
    tries       smallint NOT NULL DEFAULT 0,
    -- When a process that carries it out last said so.
    seen_at     timestamptz NOT NULL
);

CREATE TABLE upkeep_runs (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    task        text NOT NULL REFERENCES upkeep_tasks ON DELETE CASCADE,
    -- 'schedule', 'retry', or 'asked' by somebody.
    cause       text NOT NULL CHECK (cause IN ('schedule', 'retry', 'asked')),
    asked_by    text,
    -- The moment of the schedule that it belongs to, and how many before it nobody was there to act on.
    due_at      timestamptz,
    missed      integer NOT NULL DEFAULT 0,
    asked_at    timestamptz NOT NULL,
    started_at  timestamptz,
    finished_at timestamptz,
    -- Measured by a steady clock; the two times above may be apart by something else when a clock was set.
    duration_s  double precision,
    -- 'waiting' for a process, 'running'; 'late' is over its deadline, 'lost' died with its process, 'stopped' was
    -- given up because its process was told to end.
    outcome     text NOT NULL CHECK (outcome IN
        ('waiting', 'running', 'succeeded', 'failed', 'late', 'lost', 'stopped')),
    -- JSON as text: read whole or not at all.
    output      text NOT NULL DEFAULT '{}' CHECK (length(output) <= 16384),
    error_code  text NOT NULL DEFAULT '' CHECK (length(error_code) <= 200),
    error       text NOT NULL DEFAULT '' CHECK (length(error) <= 2000),
    process     text NOT NULL DEFAULT '',
    -- By the clock of the database, which is one for all processes. What its process does not renew is lost.
    lease_until timestamptz,
    CHECK ((finished_at IS NULL) = (outcome IN ('waiting', 'running'))),
    CHECK ((lease_until IS NOT NULL) = (outcome = 'running'))
);
-- However many processes look, and whatever their clocks say: one at a time.
CREATE UNIQUE INDEX upkeep_runs_open ON upkeep_runs (task) WHERE finished_at IS NULL;
CREATE INDEX upkeep_runs_newest ON upkeep_runs (task, id DESC);

-- Keys that their devices should have replaced by now; those that were replaced end by themselves.
CREATE INDEX device_api_keys_due ON device_api_keys (due_at, device_uuid) WHERE ends_at IS NULL;
CREATE INDEX device_api_keys_ended ON device_api_keys (ends_at) WHERE ends_at IS NOT NULL;
