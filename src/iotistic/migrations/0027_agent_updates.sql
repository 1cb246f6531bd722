-- Updates of agents that people ordered, and what became of each.

CREATE TABLE agent_updates (
    id           uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    -- A device that was announced gets its own uuid when it comes.
    device_uuid  uuid NOT NULL REFERENCES fleet_devices ON DELETE CASCADE ON UPDATE CASCADE,
    -- Three numbers, or latest: what that turned out to be stands in `found_version`.
    version      text NOT NULL CHECK (length(version) BETWEEN 1 AND 64),
    found_version text NOT NULL DEFAULT '',
    from_version text NOT NULL DEFAULT '',
    is_forced    boolean NOT NULL DEFAULT false,
    not_before   timestamptz,
    status       text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'acknowledged', 'scheduled',
                     'in_progress', 'succeeded', 'failed', 'superseded', 'canceled')),
    code         text NOT NULL DEFAULT '',
    message      text NOT NULL DEFAULT '',
    ordered_by   text NOT NULL,
    ordered_at   timestamptz NOT NULL,
    heard_at     timestamptz,
    ended_at     timestamptz,
    -- When it is given up unless the device says something.
    deadline_at  timestamptz NOT NULL,
    -- Whether the broker holds the order for the device (retained), and when that is looked at again.
    is_held      boolean NOT NULL DEFAULT false,
    tell_at      timestamptz
);
-- One order at a time: a newer one takes the place of the older.
CREATE UNIQUE INDEX agent_updates_open ON agent_updates (device_uuid)
    WHERE status IN ('pending', 'acknowledged', 'scheduled', 'in_progress');
CREATE INDEX agent_updates_device ON agent_updates (device_uuid, ordered_at DESC, id);
CREATE INDEX agent_updates_tell ON agent_updates (tell_at) WHERE tell_at IS NOT NULL;
CREATE INDEX agent_updates_deadline ON agent_updates (deadline_at)
    WHERE status IN ('pending', 'acknowledged', 'scheduled', 'in_progress');
