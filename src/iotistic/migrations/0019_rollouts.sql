-- Changes of many devices' targets, in waves that can be stopped and taken back.

CREATE TABLE rollouts (
    id            uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    name          text NOT NULL CHECK (length(name) BETWEEN 1 AND 255),
    state         text NOT NULL CHECK (state IN ('running', 'paused', 'halted', 'cancelling', 'rolling_back',
                                                 'completed', 'cancelled', 'rolled_back')),
    -- What is changed, for whom, and how: as it was asked for.
    change        jsonb NOT NULL,
    selection     jsonb NOT NULL,
    policy        jsonb NOT NULL,
    created_at    timestamptz NOT NULL,
    created_by    text NOT NULL,
    -- Parts that still wait then are given up.
    expires_at    timestamptz NOT NULL,
    -- The wave that devices begin in now; counted from 0.
    wave          integer NOT NULL DEFAULT 0,
    -- Failures that were known when somebody let it go on all the same.
    forgiven      integer NOT NULL DEFAULT 0,
    -- Why it was stopped.
    halt_code     text NOT NULL DEFAULT '',
    halt_reason   text NOT NULL DEFAULT '',
    halt_facts    jsonb NOT NULL DEFAULT '{}',
    ended_at      timestamptz,
    -- When the loop looks at it again; whoever changes something sets it to now.
    look_at       timestamptz NOT NULL
);
CREATE INDEX rollouts_newest ON rollouts (created_at DESC, id DESC);
CREATE INDEX rollouts_due ON rollouts (look_at) WHERE state IN ('running', 'paused', 'halted', 'cancelling', 'rolling_back');

CREATE TABLE rollout_parts (
    rollout_id   uuid NOT NULL REFERENCES rollouts ON DELETE CASCADE,
    -- A device that is removed takes its part with it: nothing waits for what is not there.
    device_uuid  uuid NOT NULL REFERENCES fleet_devices ON DELETE CASCADE,
    wave         integer NOT NULL,
    -- Its place in the wave: by chance.
    place        integer NOT NULL,
    state        text NOT NULL,
    -- When it ends at the latest, whatever the device does.
    deadline     timestamptz,
    code         text NOT NULL DEFAULT '',
    reason       text NOT NULL DEFAULT '',
    from_version bigint,
    to_version   bigint,
    back_version bigint,
    started_at   timestamptz,
    settled_at   timestamptz,
    ended_at     timestamptz,
    -- The newest report that was looked at.
    report_at    timestamptz,
    baseline     jsonb NOT NULL DEFAULT '{}',
    predicted    jsonb NOT NULL DEFAULT '{}',
    actual       jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (rollout_id, device_uuid),
    -- No part can be stuck: what has not ended has a time at which it does.
    CHECK ((state IN ('waiting', 'updating', 'watching', 'rolling_back')) = (deadline IS NOT NULL))
) WITH (fillfactor = 70);
-- A device is in one rollout at a time; the newer one takes it over in the transaction that makes it.
CREATE UNIQUE INDEX rollout_parts_active ON rollout_parts (device_uuid)
    WHERE state IN ('waiting', 'updating', 'watching', 'rolling_back');
CREATE INDEX rollout_parts_states ON rollout_parts (rollout_id, state, wave, place);
CREATE INDEX rollout_parts_device ON rollout_parts (device_uuid);

CREATE TABLE rollout_events (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    rollout_id  uuid NOT NULL REFERENCES rollouts ON DELETE CASCADE,
    at          timestamptz NOT NULL,
    kind        text NOT NULL,
    device_uuid uuid,
    code        text NOT NULL DEFAULT '',
    reason      text NOT NULL DEFAULT '',
    by          text NOT NULL DEFAULT 'rollout',
    facts       jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX rollout_events_rollout ON rollout_events (rollout_id, id);

-- How long steps took on devices, the newest first: what predictions learn from.
CREATE TABLE rollout_step_times (
    step       text NOT NULL CHECK (length(step) BETWEEN 1 AND 32),
    -- The image or repository that it was about; empty where that does not matter.
    topic      text NOT NULL CHECK (length(topic) <= 512),
    seconds    real[] NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (step, topic)
);
