-- Loads of the processes that store messages, and who grants backlogs.

-- name: report
-- Say how a process is doing.
INSERT INTO stage_loads (lane, process, started_at, stored, delay_s, waiting, away)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (lane, process) DO UPDATE SET
    started_at = excluded.started_at, reported_at = excluded.reported_at, stored = excluded.stored,
    delay_s = excluded.delay_s, waiting = excluded.waiting, away = excluded.away;

-- name: forget_loads
-- Drop reports of processes that are long gone.
DELETE FROM stage_loads WHERE reported_at < clock_timestamp() - interval '10 minutes';

-- name: loads
-- What all processes said last, and how long ago that was.
SELECT lane, process, extract(epoch FROM started_at)::float8 AS started_s, stored, delay_s, waiting, away,
       extract(epoch FROM clock_timestamp() - reported_at)::float8 AS age_s
FROM stage_loads;

-- name: become_granter
-- Tell whether this session is now the one that grants backlogs; it is until it ends.
SELECT pg_try_advisory_lock(hashtext('catchup')) AS granting;
