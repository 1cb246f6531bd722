-- How the processes that store messages are doing, for whoever decides how fast backlogs may come.

-- One row a process, written twice a second. It says nothing that outlives the process, so it is not logged:
-- after a crash of the database the next reports fill it again.
CREATE UNLOGGED TABLE stage_loads (
    lane        text NOT NULL,
    process     text NOT NULL,
    started_at  timestamptz NOT NULL,
    reported_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- Messages since `started_at`; behind Kafka, where a record is a reading, those that carried a stamp.
    stored      bigint NOT NULL,
    -- The longest time from receipt to commit within the last second.
    delay_s     double precision NOT NULL,
    waiting     bigint NOT NULL,
    -- What the process needs and cannot reach.
    away        text,
    PRIMARY KEY (lane, process)
) WITH (fillfactor = 50);
