-- What devices should be (targets), and what they say they are (reports).

CREATE TABLE device_targets (
    device_uuid uuid PRIMARY KEY REFERENCES fleet_devices ON DELETE CASCADE,
    version     bigint NOT NULL CHECK (version > 0),
    -- What is in force, as the JSON text that a poll answers: nothing is put together again for each poll.
    document    text NOT NULL,
    etag        text NOT NULL,
    deployed_at timestamptz NOT NULL,
    deployed_by text NOT NULL,
    -- What was set and not deployed yet ({apps, config} as JSON text); a device never sees it.
    draft       text,
    drafted_at  timestamptz,
    drafted_by  text,
    CHECK ((draft IS NULL) = (drafted_at IS NULL) AND (draft IS NULL) = (drafted_by IS NULL))
);

CREATE TABLE device_target_history (
    device_uuid uuid NOT NULL REFERENCES fleet_devices ON DELETE CASCADE,
    version     bigint NOT NULL,
    document    text NOT NULL,
    etag        text NOT NULL,
    deployed_at timestamptz NOT NULL,
    deployed_by text NOT NULL,
    PRIMARY KEY (device_uuid, version)
);

-- Each field that a device ever reported, with its newest value: a report that does not mention a field keeps it.
CREATE TABLE device_states (
    device_uuid uuid PRIMARY KEY REFERENCES fleet_devices ON DELETE CASCADE,
    -- 4 MiB: a device that reports ever new fields fills no disk.
    fields      jsonb NOT NULL CHECK (jsonb_typeof(fields) = 'object' AND pg_column_size(fields) <= 4194304),
    reported_at timestamptz NOT NULL
);
